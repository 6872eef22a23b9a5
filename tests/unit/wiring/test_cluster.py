"""Sources read once, and what machine this is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from kproxy.config import Config, read_config
from kproxy.core.host import Host
from kproxy.core.model import Event, Kind, Node, Replaced
from kproxy.core.snapshot import Snapshot, fold
from kproxy.errors import ApiDenied, ApiError, ConfigError, ParseError
from kproxy.wiring.cluster import load_config, node_addresses, node_name, open_source, read_files, read_source
from kproxy.wiring.offline import offline_host

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
ALL = tuple(Replaced(kind, ()) for kind in Kind)


def config(body: str) -> Config:
    return read_config(HEAD + body, "c.yaml")


class Spoken:
    """A source that says what it is told to, at once."""

    def __init__(self, *said: Sequence[Event] | Exception) -> None:
        self.said = said
        self.stopped = False

    def start(self, put: Callable[[Sequence[Event]], None], fail: Callable[[Exception], None]) -> None:
        for one in self.said:
            if isinstance(one, Exception):
                fail(one)
            else:
                put(one)

    def stop(self) -> None:
        self.stopped = True


def test_a_source_is_read_until_it_is_complete_and_then_stopped() -> None:
    source = Spoken(ALL[:2], ParseError("Service a/b", "spec", "bad"), ALL[2:], ApiError("late"))
    gathered = read_source(source)
    assert gathered.snapshot.complete == set(Kind)
    assert gathered.problems == ("Service a/b: spec: bad", "late")
    assert source.stopped


def test_a_server_that_refuses_is_an_error_at_once() -> None:
    source = Spoken(ApiDenied("403: not for you"))
    with pytest.raises(ApiDenied, match="not for you"):
        read_source(source)
    assert source.stopped


def test_a_server_that_does_not_answer_is_an_error_with_the_last_reason() -> None:
    with pytest.raises(ApiError, match=r"no complete answer within 0.01 s: connection refused"):
        read_source(Spoken(ApiError("connection refused")), timeout_s=0.01)


def test_what_is_not_needed_is_not_waited_for_long() -> None:
    gathered = read_source(Spoken(ALL[:2]), timeout_s=0.01)
    assert gathered.snapshot.synced


def test_files_are_a_snapshot_with_their_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "kind: Service\napiVersion: v1\nmetadata: {name: x, namespace: y}\nspec: {ports: 3}\n"
    )
    gathered = read_files([str(tmp_path)])
    assert gathered.snapshot.synced
    assert "a.yaml:4: Service y/x: spec.ports" in gathered.problems[0]


def test_the_node_is_named_by_option_then_configuration_then_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Machine-7")
    named = config("hostnameOverride: Worker-1\n")
    assert [node_name("Other", named), node_name("", named), node_name("", Config())] == [
        "other",
        "worker-1",
        "machine-7",
    ]


def test_primary_addresses_are_the_options_then_bind_address() -> None:
    bound = config("bindAddress: 192.0.2.1\n")
    assert node_addresses((), bound) == ("192.0.2.1",)
    assert node_addresses(("192.0.2.2", "2001:DB8::2"), bound) == ("192.0.2.2", "2001:db8::2")
    assert node_addresses((), Config()) == ()
    with pytest.raises(ConfigError, match="at most one address per family"):
        node_addresses(("192.0.2.2", "192.0.2.3"), bound)
    with pytest.raises(ConfigError, match="must be an IP address"):
        node_addresses(("192.0.2.2/24",), bound)


def test_an_offline_host_has_the_addresses_that_are_written_down() -> None:
    snapshot = fold(Snapshot(), [Replaced(Kind.NODE, (Node("a", ("192.0.2.1", "2001:db8::1"), (), ""),))])
    loopback = {"127.0.0.1", "::1"}
    assert offline_host("a", ("198.51.100.1",), snapshot) == Host(
        "a", ("198.51.100.1",), frozenset(loopback | {"198.51.100.1", "192.0.2.1", "2001:db8::1"})
    )
    assert offline_host("b", (), snapshot) == Host("b", (), frozenset(loopback))


def test_a_configuration_file_is_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert msgspec.structs.replace(load_config(str(path)), warnings=()) == Config()
    assert load_config(None) == Config()
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"--config .*c\.yaml: byte 0 is not UTF-8"):
        load_config(str(path))
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(str(tmp_path))


def test_a_kubeconfig_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="kubeconfig /nowhere/config"):
        open_source("kubernetes", "node-a", "/nowhere/config")
