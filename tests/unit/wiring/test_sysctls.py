"""Which kernel parameters a configuration asks for, how they are written, and what is said where they cannot be."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from kproxy.config import Config
from kproxy.config.fields import IPVS, Conntrack, KubeProxyConfiguration
from kproxy.effects.network import PROC_SYS, Refused, Sysctl
from kproxy.wiring import sysctls
from kproxy.wiring.backends import find_backend
from kproxy.wiring.question import Asked
from kproxy.wiring.sysctls import MAX, MODULES, conntrack_max, initialise, of_backend, set_conntrack, timeouts
from tests.fakes.namespace import in_new_namespace

ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
CLOSE_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
QUIET = Conntrack(max_per_core=0, tcp_established_timeout_s=0.0, tcp_close_wait_timeout_s=0.0)


class Log:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def warning(self, event: str, **values: Any) -> None:
        self.said.append({"event": event, **values})

    info = warning


class Kernel:
    """Parameters by name; those of `fixed` cannot be written."""

    def __init__(self, values: dict[str, str], fixed: frozenset[str] = frozenset()) -> None:
        self.values, self.fixed = values, fixed
        self.asked: list[Path] = []

    def ensure(self, sysctl: Sysctl, root: Path) -> Refused | None:
        self.asked.append(root)
        found = self.values.get(sysctl.name, "")
        if found == sysctl.value:
            return None
        if sysctl.name in self.fixed:
            return Refused(sysctl, found, "Read-only file system")
        self.values[sysctl.name] = sysctl.value
        return None


@pytest.mark.parametrize(
    ("settings", "cpus", "expected"),
    [
        ({}, 2, 131072),
        ({}, 8, 262144),
        ({}, 512, 1048576),
        ({"min": 2000000}, 512, 2000000),
        ({"max_per_core": 0}, 64, 0),
        ({"max_per_core": 0, "min": 5}, 64, 0),
        ({"max_per_core": 1, "min": 0}, 3, 3),
    ],
)
def test_the_limit_grows_with_the_cores_within_bounds(settings: dict, cpus: int, expected: int) -> None:
    assert conntrack_max(Conntrack(**settings), cpus) == expected


def test_time_outs_of_0_are_left_to_the_kernel_and_parts_of_a_second_count_as_one() -> None:
    assert [(one.sysctl.name, one.sysctl.value) for one in timeouts(Conntrack())] == [
        (ESTABLISHED, "86400"),
        (CLOSE_WAIT, "3600"),
    ]
    assert list(timeouts(QUIET)) == []
    (one,) = timeouts(Conntrack(tcp_established_timeout_s=0, tcp_close_wait_timeout_s=0, udp_timeout_s=1.2))
    assert one.sysctl == Sysctl("net.netfilter.nf_conntrack_udp_timeout", "2")


def test_what_is_configured_is_set_and_nothing_is_said() -> None:
    log, kernel = Log(), Kernel({MAX: "65536", ESTABLISHED: "432000", CLOSE_WAIT: "3600"})
    set_conntrack(Conntrack(), log, 2, kernel.ensure)  # type: ignore[arg-type]
    assert kernel.values == {MAX: "131072", ESTABLISHED: "86400", CLOSE_WAIT: "3600"} | (
        {sysctls.BUCKETS: kernel.values[sysctls.BUCKETS]} if MODULES in kernel.asked else {}
    )
    assert log.said == []


def test_each_refusal_is_told_with_its_consequence() -> None:
    log, kernel = Log(), Kernel({MAX: "65536"}, frozenset({MAX, ESTABLISHED}))
    set_conntrack(Conntrack(), log, 2, kernel.ensure)  # type: ignore[arg-type]
    assert [(said["sysctl"], said["found"], said["reason"]) for said in log.said] == [
        (f"{MAX}=131072", "65536", "Read-only file system"),
        (f"{ESTABLISHED}=86400", "", "Read-only file system"),
    ]
    assert log.said[0]["consequence"] == "new connections are dropped as soon as that many are tracked"
    assert MODULES not in kernel.asked


def test_a_higher_limit_that_cannot_be_lowered_is_nothing_to_speak_of() -> None:
    log, kernel = Log(), Kernel({MAX: "375000"}, frozenset({MAX}))
    set_conntrack(Conntrack(), log, 2, kernel.ensure)  # type: ignore[arg-type]
    assert log.said == []


@pytest.mark.parametrize(("found", "written"), [("16384", "32768"), ("32768", None), ("262144", None), ("?", None)])
def test_buckets_are_only_ever_more(
    found: str, written: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "nf_conntrack" / "parameters" / "hashsize"
    place.parent.mkdir(parents=True)
    place.write_text(found)
    monkeypatch.setattr(sysctls, "MODULES", tmp_path)
    kernel = Kernel({})
    set_conntrack(Conntrack(), Log(), 2, kernel.ensure)  # type: ignore[arg-type]
    assert kernel.values.get(sysctls.BUCKETS) == written


@pytest.mark.parametrize(
    ("backend", "settings", "expected"),
    [
        ("iptables", {}, ["route_localnet"]),
        ("nftables", {}, []),
        ("nftables", {"conntrack": Conntrack(tcp_be_liberal=True)}, ["nf_conntrack_tcp_be_liberal"]),
    ],
)
def test_what_a_backend_needs_is_known_before_it_runs(backend: str, settings: dict, expected: list[str]) -> None:
    config = Config(proxy=KubeProxyConfiguration(**settings))
    assert [one.sysctl.name.rpartition(".")[2] for one in of_backend(find_backend(backend), config)] == expected


def test_ipvs_needs_its_own_parameters_too() -> None:
    config = Config(proxy=KubeProxyConfiguration(ipvs=IPVS(strict_arp=True)))
    wanted = {one.sysctl.name: one.sysctl.value for one in of_backend(import_module("backends.ipvs").BACKEND, config)}
    assert wanted == {
        "net.ipv4.vs.conntrack": "1",
        "net.ipv4.vs.expire_nodest_conn": "1",
        "net.ipv4.vs.expire_quiescent_template": "1",
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.arp_ignore": "1",
        "net.ipv4.conf.all.arp_announce": "2",
    }


@pytest.mark.root
def test_initialising_sets_what_this_namespace_has_and_leaves_the_machine_alone() -> None:
    names = (MAX, ESTABLISHED, CLOSE_WAIT, "net.ipv4.conf.all.route_localnet")
    machine = {name: read(name) for name in names}

    def body() -> tuple[dict[str, str], list[dict[str, Any]]]:
        log = Log()
        initialise(Asked(backend="iptables"), Config(), log)  # type: ignore[arg-type]
        return {name: read(name) for name in names}, log.said

    inside, said = in_new_namespace(body)
    assert (inside[ESTABLISHED], inside[CLOSE_WAIT], inside[names[3]]) == ("86400", "3600", "1")
    assert {name: read(name) for name in names} == machine
    assert said[0]["event"] == "backend chosen"


def read(name: str) -> str:
    return (PROC_SYS / name.replace(".", "/")).read_text().strip()
