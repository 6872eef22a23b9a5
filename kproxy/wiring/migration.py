"""From options and this node to the report before a migration, and the last step of one: kube-proxy's rules go.

Rules kept: the report writes nothing; kube-proxy's rules go only when kproxy's read back as the cluster asks for them;
what IPVS still carries for kube-proxy stays for as long as these connections last, but no longer than is allowed.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kproxy.core.host import Host, Settings
from kproxy.core.leftovers import KUBE_PROXY
from kproxy.core.migration import NFTABLES, Way
from kproxy.core.migration_checks import differences
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family
from kproxy.effects import machine
from kproxy.effects.leftovers import Remains, VirtualServers
from kproxy.effects.only_reading import only_reading
from kproxy.errors import ConfigError, KproxyError
from kproxy.ports import Backend
from kproxy.report.migration import Migration, back, steps
from kproxy.wiring.asked import Subject, look_into_whole
from kproxy.wiring.audit import audit_node, standing_proxies
from kproxy.wiring.backends import OURS, find_backend
from kproxy.wiring.cleanup import all_remains
from kproxy.wiring.offline import Node, plan_families, plans_of
from kproxy.wiring.question import Asked

AUTO: Final = "auto"
AGAIN_S: Final = 1.0


def migration(asked: Asked, old: str, new: str, proxy: str, *, here: bool) -> tuple[Migration, tuple[str, ...]]:
    """The report, with remarks for the user; `here`: whether this machine is the node.

    `old` is a backend's or mode's name, or `auto`: what stands in this kernel. ConfigError unless that is one.
    """
    subject = look_into_whole(asked)
    way = _way(old, new or subject.backend_name(asked) or NFTABLES, proxy, asked.families)
    backend = find_backend(way.new)
    node = subject.live_node(backend) if here else subject.offline_node(backend)
    plans = plans_of(plan_families(node, backend, asked.families))
    before = _plans_before(way, subject, node, asked.families)
    options = _options(asked)
    report = Migration(
        way=way,
        services=len({key for plan in plans.values() for key in plan.services}),
        items=differences(way, before, plans, node.host.addresses),
        unsupported=tuple(_unsupported(backend, plans)),
        steps=steps(way, options),
        back=back(way, options),
    )
    return report, subject.remarks


def _way(old: str, new: str, proxy: str, families: Sequence[Family]) -> Way:
    if new not in OURS:
        find_backend(new)  # raises for an unknown one
    if old != AUTO:
        return Way(proxy or KUBE_PROXY.proxy, old, new)
    with only_reading():
        found = [one for one in standing_proxies(families) if proxy in ("", one[0])]
    if len(found) == 1:
        return Way(*found[0], new)
    stands = ", ".join(f"{name} ({mode})" for name, mode in found)
    raise ConfigError(
        f"--from auto: in this kernel stand rules of {stands or 'no service proxy'}; say --from and --proxy"
    )


def _plans_before(way: Way, subject: Subject, node: Node, families: Sequence[Family]) -> Mapping[Family, NodePlan]:
    """The plans as the old proxy has them."""
    backend = find_backend(way.old)
    settings = subject.config.settings_for(way.old)
    if not way.is_of_kube_proxy:
        return plans_of(plan_families(_with(node, settings), backend, families))
    settings = msgspec.structs.replace(settings, reject_unlisted=None, egress_masquerade=False)
    plans = plans_of(plan_families(_with(node, settings), backend, families))
    if way.old == "iptables":
        return plans
    # Its other modes never serve NodePorts on loopback, whatever nodePortAddresses lists.
    return {family: msgspec.structs.replace(plan, loopback_node_ports=False) for family, plan in plans.items()}


def _with(node: Node, settings: Settings) -> Node:
    host: Host = node.host
    return Node(node.snapshot, settings, host)


def _unsupported(backend: Backend, plans: Mapping[Family, NodePlan]) -> Iterator[str]:
    for family, plan in plans.items():
        for one in backend.compile(plan, None).unsupported:
            whose = f"{one.service}, " if one.service else ""
            yield f"{whose}{family.label}: {one.what}: {one.instead}"


def _options(asked: Asked) -> str:
    """The options that say which configuration and node are meant, as they were given."""
    words: list[str] = []
    for name, value in (("--config", asked.config), ("--node-name", asked.node_name)):
        words += [name, value] if value else []
    return shlex.join(words)


class TakeOver:
    """The last step: kproxy's rules are read back, then kube-proxy's are removed."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._remains = all_remains(ours=False, kube_proxy=True, families=asked.families)

    def still_running(self) -> list[str]:
        """The processes of kube-proxy in this network namespace, as far as they can be seen from here."""
        return [f"{one.name} (process {one.pid})" for one in machine.processes((KUBE_PROXY.proxy,))]

    def lines(self) -> list[str]:
        """What is to go, one line each."""
        return [line for one in self._remains for line in one.find()]

    def kept(self) -> list[str]:
        """What of kube-proxy's stays, and why."""
        return [line for one in self._remains for line in one.kept()]

    def differences(self) -> list[str]:
        """In what kproxy's own rules are not as the cluster asks; KproxyError if it has none here."""
        audits = audit_node(look_into_whole(self._asked), self._asked.families, "kproxy")
        return [
            f"{one.service}: {one.where}: {one.kind}: {one.what}"
            for audit in audits
            for one in audit.differences
            if not one.known
        ]

    def connections(self) -> int:
        """How many connections go through kube-proxy's virtual servers."""
        return sum(one.connections() for one in self._remains if isinstance(one, VirtualServers))

    def wait(self, drain_s: float, told: Callable[[int], None]) -> int:
        """Wait for these connections to end, `drain_s` at most; how many are left. `told` hears of each look."""
        deadline = time.monotonic() + drain_s
        while (left := self.connections()) and time.monotonic() < deadline:
            told(left)
            time.sleep(min(AGAIN_S, max(deadline - time.monotonic(), 0.0)))
        return left

    def remove(self) -> list[str]:
        """Remove all that can be; why something could not, and what is left."""
        refused: list[str] = []
        for one in self._remains:
            refused += _refusal(one)
        return [*refused, *(f"left: {line}" for line in self.lines())]


def _refusal(one: Remains) -> list[str]:
    try:
        one.remove()
    except KproxyError as error:
        return [str(error)]
    return []
