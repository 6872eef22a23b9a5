"""The kernel parameters that a node's configuration asks for, of connection tracking above all, as kube-proxy has them.

Rules kept: one is written only where it differs, and only if the configuration speaks of it; a refusal is told once,
with what comes of it, and keeps nothing else from working. Nobody puts them back: other programs rely on them by then.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kproxy.agent import BE_LIBERAL, ROUTE_LOCALNET
from kproxy.config import Config
from kproxy.config.fields import Conntrack
from kproxy.core.node_facts import loopback_takes_node_ports
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, Value
from kproxy.effects.logs import Logger
from kproxy.effects.network import PROC_SYS, Refused, Sysctl, ensure
from kproxy.ports import Backend
from kproxy.wiring.backends import choose, close_all, finder
from kproxy.wiring.cluster import instance_of
from kproxy.wiring.question import Asked

MOST_BY_CORES: Final = 1 << 20
"""Above this, more cores do not ask for more tracked connections (kube-proxy 1.36)."""
MAX: Final = "net.netfilter.nf_conntrack_max"
BUCKETS: Final = "nf_conntrack.parameters.hashsize"
PER_BUCKET: Final = 4
MODULES: Final = Path("/sys/module")

Ensure = Callable[[Sysctl, Path], Refused | None]


class Wanted(Value, frozen=True):
    """A parameter, and what is worse while it is not so."""

    sysctl: Sysctl
    consequence: str


def conntrack_max(conntrack: Conntrack, cpus: int) -> int:
    """How many connections may be tracked; 0: as many as the kernel has it."""
    if not conntrack.max_per_core:
        return 0
    return max(min(conntrack.max_per_core * cpus, MOST_BY_CORES), conntrack.min)


def timeouts(conntrack: Conntrack) -> Iterator[Wanted]:
    """The time-outs that are not 0, which leaves them as they are."""
    named = {
        "tcp_timeout_established": (conntrack.tcp_established_timeout_s, "idle TCP connections"),
        "tcp_timeout_close_wait": (conntrack.tcp_close_wait_timeout_s, "half-closed TCP connections"),
        "udp_timeout": (conntrack.udp_timeout_s, "UDP flows without a reply"),
        "udp_timeout_stream": (conntrack.udp_stream_timeout_s, "idle UDP flows"),
    }
    for name, (time_s, whose) in named.items():
        if time_s:
            sysctl = Sysctl(f"net.netfilter.nf_conntrack_{name}", str(math.ceil(time_s)))
            yield Wanted(sysctl, f"{whose} are remembered for as long as the kernel has it")


def set_conntrack(conntrack: Conntrack, log: Logger, cpus: int | None = None, ensure_at: Ensure = ensure) -> None:
    """Bring connection tracking's parameters to what is configured, and tell what cannot be."""
    most = conntrack_max(conntrack, cpus or os.cpu_count() or 1)
    if most and _set_max(most, log, ensure_at):
        _raise_buckets(most // PER_BUCKET, log, ensure_at)
    for one in timeouts(conntrack):
        _tell(ensure_at(one.sysctl, PROC_SYS), one.consequence, log)


def _set_max(most: int, log: Logger, ensure_at: Ensure) -> bool:
    """Whether the limit is as wanted. One that is higher and stays so does no harm, and is not spoken of."""
    refused = ensure_at(Sysctl(MAX, str(most)), PROC_SYS)
    if refused and not (refused.found.isdigit() and int(refused.found) > most):
        _tell(refused, "new connections are dropped as soon as that many are tracked", log)
    return refused is None


def _raise_buckets(least: int, log: Logger, ensure_at: Ensure) -> None:
    """Let the table of connections have so many buckets or more."""
    try:
        found = (MODULES / BUCKETS.replace(".", "/")).read_text(encoding="ascii").strip()
    except OSError:
        return
    if found.isdigit() and int(found) < least:
        _tell(ensure_at(Sysctl(BUCKETS, str(least)), MODULES), "a full table of connections is slow to search", log)


def _tell(refused: Refused | None, consequence: str, log: Logger) -> None:
    if refused:
        log.warning(
            "sysctl cannot be set",
            sysctl=f"{refused.sysctl.name}={refused.sysctl.value}",
            found=refused.found,
            reason=refused.reason,
            consequence=consequence,
        )


def initialise(asked: Asked, config: Config, log: Logger) -> None:
    """All that needs more than CAP_NET_ADMIN: load the modules by opening the backend's doors, and set parameters.

    UnsupportedHost if no backend works here.
    """
    chosen = choose(asked.backend or config.proxy.mode, asked.families, finder(instance_of(asked, config)))
    close_all(chosen.kernels.values())
    log.info("backend chosen", backend=chosen.backend.name, why=chosen.why)
    set_conntrack(config.proxy.conntrack, log)
    for one in of_backend(chosen.backend, config):
        _tell(ensure(one.sysctl), one.consequence, log)


def of_backend(backend: Backend, config: Config) -> Iterator[Wanted]:
    """What the agent sets later, when it is needed."""
    settings = config.settings_for(backend.name)
    if backend.name == "ipvs":
        from backends.ipvs.base import base_fragment  # noqa: PLC0415 - only where it is used
        from backends.ipvs.objects import Sysctl as Parameter  # noqa: PLC0415

        fragment = base_fragment(NodePlan(Family.IPV4, {}, ipvs=settings.ipvs))
        for key, content in fragment.items():
            if isinstance(key, Parameter):
                yield Wanted(Sysctl(key.name, str(content)), "IPVS does not serve Services as it should")
    if loopback_takes_node_ports(settings, backend.traits, Family.IPV4):
        yield Wanted(ROUTE_LOCALNET, "NodePorts do not answer on 127.0.0.1")
    if config.proxy.conntrack.tcp_be_liberal:
        yield Wanted(BE_LIBERAL, "TCP packets outside the window are still found invalid")
