"""What kproxy and kube-proxy may have left on this machine, in the order in which it can be taken away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kproxy.core.document import Change, diff
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.leftovers import KUBE_PROXY, Signs, in_order, signs_of
from kproxy.core.values import Family, Value
from kproxy.effects import process
from kproxy.effects.leftovers import (
    Chains,
    Remains,
    Table,
    VirtualServers,
    named_counters,
    named_link,
    named_sets,
    read_ip_vs,
)
from kproxy.effects.xtables import Variant, lacking, read_proc, standing_tools
from kproxy.errors import UnsupportedHost
from kproxy.ports import Backend
from kproxy.wiring.backends import backends_of

IPVS = "ipvs"
BY_NAME = frozenset({"iptables", "nftables"})
"""Backends whose leavings are found by name, whatever version and iptables variant wrote them."""


class Known(Value, frozen=True):
    """What a backend finds of its own when it looks at the kernel."""

    backend: Backend
    family: Family

    def find(self) -> Sequence[str]:
        """The removal, as the backend writes changes."""
        change = self._at_kernel(commit=False)
        return self.backend.render_change(self.family, change).splitlines() if change else ()

    def commands(self) -> Sequence[str]:
        """What goes by no name that `all_remains` looks for, as the commands that would remove it."""
        if self.backend.name != IPVS:
            return self.find()
        from backends.ipvs.render import removals  # noqa: PLC0415 - only where IPVS is

        return removals(self.family, self._at_kernel(commit=False))

    def kept(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def remove(self) -> None:
        """Everything that the backend knows as its own."""
        self._at_kernel(commit=True)

    def _at_kernel(self, *, commit: bool) -> Change:
        try:
            kernel = self.backend.open(self.family)
        except UnsupportedHost:  # what this kernel cannot do, nobody has left in it
            return diff({}, {})
        try:
            change = diff(kernel.observe(), {})
            if commit and change:
                kernel.apply(change)
        finally:
            kernel.close()
        return change


def commands(remains: Iterable[Remains]) -> list[str]:
    """All of it as commands that remove it, in the order in which they can be run one by one."""
    return in_order(line for one in remains for line in (one.commands() if isinstance(one, Known) else one.find()))


def need_rights() -> None:
    """UnsupportedHost without the capability that even looking at rules needs."""
    if remedy := lacking(Variant.NFT):
        raise UnsupportedHost(f"what is left in this kernel cannot be read: {remedy}")


def all_remains(
    *, ours: bool, kube_proxy: bool, families: Iterable[Family] = tuple(Family), instance: Instance = DEFAULT
) -> list[Remains]:
    """All that may be left of an instance of ours, and of kube-proxy in any of its modes, as far as it is asked for."""
    both = tuple(families)
    found: list[Remains] = []
    if ours:
        others = (one for one in backends_of(instance) if one.name not in BY_NAME)
        found += [Known(backend, family) for backend in others for family in both]
        found += _of(signs_of(instance), both)
    if kube_proxy:
        found += _of(KUBE_PROXY, both)
    return found


def _of(signs: Signs, families: Sequence[Family]) -> Iterator[Remains]:
    """Virtual servers while their addresses and ports can still be looked up; sets and counters after the rules."""
    if signs.link:
        yield VirtualServers(signs, read_ip_vs)
    for family in families:
        for tools in standing_tools(family, process.run, read_proc):
            yield Chains(signs, tools)
        yield Table(signs.table, family)
    if signs.sets:
        yield named_sets(signs.sets)
    if signs.counters:
        yield named_counters(signs.counters)
    if signs.link:
        yield named_link(signs.link)
