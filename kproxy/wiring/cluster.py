"""Where Services come from, and what machine this is: sources, snapshots and hosts for the commands."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from kproxy.config import Config, read_config
from kproxy.config.flags import config_of_flags, ignored, over
from kproxy.core.host import Host
from kproxy.core.instance import DEFAULT, Instance, instance_named
from kproxy.core.model import Event, Kind
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Value, canonical_address, family_of
from kproxy.effects.network import local_addresses
from kproxy.effects.patience import told_when_long
from kproxy.errors import ApiDenied, ApiError, ConfigError, KproxyError
from kproxy.ports import Source
from kproxy.wiring.question import KUBERNETES, Asked

SYNC_TIMEOUT_S = 30.0
NODE_WAIT_S = 3.0
READING = "reading manifests"


class Gathered(Value, frozen=True):
    """What was read of a cluster, once."""

    snapshot: Snapshot
    problems: tuple[str, ...] = ()
    """What could not be used, each with its place or name."""


def load_config(path: str | None) -> Config:
    """The configuration in a file, or the defaults without one; ConfigError if it cannot be used."""
    if path is None:
        return Config()
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: byte {error.start} is not UTF-8 text") from error
    return read_config(text, path)


def instance_of(asked: Asked, config: Config) -> Instance:
    """The instance that is meant: the option's, else the configuration's; ConfigError for an impossible name."""
    return instance_named(asked.instance) or config.instance


def configured(asked: Asked) -> tuple[Config, tuple[str, ...]]:
    """The configuration of a command line, and remarks about it; ConfigError if it cannot be used.

    With a file, all of kube-proxy's flags but a few are ignored, as kube-proxy does.
    """
    if asked.config is None:
        config = config_of_flags(asked.flags)
        return config, config.warnings
    config = over(load_config(asked.config), asked.flags)
    unused = ", ".join(f"--{name}" for name in ignored(asked.flags))
    return config, (*config.warnings, f"{unused}: not used, because --config is given") if unused else config.warnings


def node_name(named: str, config: Config) -> str:
    """This node's name: the option, hostnameOverride, or the machine's hostname, in lower case (as kube-proxy)."""
    return (named or config.proxy.hostname_override or socket.gethostname()).strip().lower()


def node_addresses(texts: Iterable[str], config: Config) -> tuple[str, ...]:
    """The primary addresses that are given: the options, else bindAddress; at most one per family, or ConfigError."""
    given = []
    for text in texts:
        try:
            given.append(canonical_address(text))
        except ValueError as error:
            raise ConfigError(f"--node-ip {text[:80]!r}: it must be an IP address such as 192.0.2.11") from error
    if len({family_of(address) for address in given}) != len(given):
        raise ConfigError(f"--node-ip {', '.join(given)}: at most one address per family")
    return tuple(given) or config.primary


def live_host(name: str, primary: tuple[str, ...]) -> Host:
    """This machine as it is now; ObserveFailed if its addresses cannot be read."""
    return Host(name, primary, local_addresses())


def open_source(
    source: str,
    node: str,
    kubeconfig: str,
    master: str = "",
    began: Callable[[str], None] | None = None,
    instance: Instance = DEFAULT,
) -> Source:
    """The source of a name: `kubernetes`, or a directory of manifests; ConfigError if it cannot be used.

    `began` is told the kind of every watch of an API server that is begun again.
    """
    if source == KUBERNETES:
        from kproxy.effects.kube import KubernetesSource  # noqa: PLC0415 - the client package takes half a second
        from kproxy.effects.kube_client import open_server  # noqa: PLC0415

        try:
            return KubernetesSource(open_server(kubeconfig, master), node, began=began, instance=instance)
        except ConfigError as error:
            hint = "" if kubeconfig else "; or read manifests with --source DIR"
            raise ConfigError(f"{error}{hint}") from error
    from kproxy.effects.files import DirectorySource  # noqa: PLC0415 - only where manifests are read

    return DirectorySource(source, instance=instance)


def read_files(paths: Sequence[str], instance: Instance = DEFAULT) -> Gathered:
    """What manifests say to an instance; ConfigError for a path that does not exist."""
    from kproxy.effects.files import read_manifests  # noqa: PLC0415 - only where manifests are read

    with told_when_long(READING):
        said = read_manifests(paths, instance)
    return Gathered(fold(Snapshot(), (*said.events, said.flaws)), tuple(str(problem) for problem in said.problems))


def read_source(source: Source, timeout_s: float = SYNC_TIMEOUT_S) -> Gathered:
    """What a source says now, once Services, EndpointSlices and (within a moment) the Node are complete.

    ApiDenied at once if the server refuses; ApiError with the last trouble if it takes longer than `timeout_s`.
    """
    inbox: queue.SimpleQueue[Sequence[Event] | Exception] = queue.SimpleQueue()
    source.start(inbox.put, inbox.put)
    try:
        return _gather(inbox, timeout_s)
    finally:
        source.stop()


def _gather(inbox: queue.SimpleQueue[Sequence[Event] | Exception], timeout_s: float) -> Gathered:
    snapshot = Snapshot()
    problems: dict[str, Exception] = {}
    deadline = time.monotonic() + timeout_s
    while not _is_whole(snapshot):
        try:
            heard = inbox.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            if snapshot.synced:
                break
            raise ApiError(f"no complete answer within {timeout_s:g} s{_because(problems)}") from None
        if isinstance(heard, ApiDenied) and not snapshot.synced:
            raise heard
        if isinstance(heard, Exception):
            problems[str(heard)] = heard
        else:
            snapshot = fold(snapshot, heard)
            if snapshot.synced:
                deadline = min(deadline, time.monotonic() + NODE_WAIT_S)
    while not inbox.empty():
        late = inbox.get()
        if isinstance(late, KproxyError):
            problems[str(late)] = late
    return Gathered(snapshot, tuple(problems))


def _is_whole(snapshot: Snapshot) -> bool:
    return set(Kind) <= snapshot.complete


def _because(problems: Collection[str]) -> str:
    return f": {list(problems)[-1]}" if problems else ""
