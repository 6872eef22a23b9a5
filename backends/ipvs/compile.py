"""From a NodePlan to a Document of virtual servers, set members, addresses and a few chains.

What Services share (addresses, hairpin pairs) has owners of its own. The
previous result only saves work: a Service whose plan and slots are the very
same keeps its fragment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from backends.ipvs.base import base_fragment
from backends.ipvs.names import allocate
from backends.ipvs.objects import NO_MARK, Member, Vip
from backends.ipvs.services import Slots, hairpins, marked_pools, service_fragment, settings_for, vips
from kproxy.core.document import BASE, Fragment, Owner
from kproxy.core.plan import NodePlan, ServicePlan, Unlisted
from kproxy.core.values import ObjectKey, Value
from kproxy.ports import Compiled, Unsupported

VIPS: Final[Owner] = "vips"
HAIRPINS: Final[Owner] = "hairpins"


class Part(Value, frozen=True):
    """One Service, compiled, and what it was compiled from."""

    plan: ServicePlan
    keys: tuple[str, ...]
    slots: Slots
    fragment: Fragment
    vips: frozenset[str]
    hairpins: frozenset[Member]


class Parts(Compiled, frozen=True):
    """A compiled plan, with what the next one may take over."""

    parts: Mapping[ObjectKey, Part]

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        """What IPVS cannot do; docs/backends/ipvs.md has the reasons."""
        found = []
        if self.plan.loopback_node_ports:
            found.append(LOOPBACK)
        if self.plan.unlisted is Unlisted.PASS:
            found.append(UNLISTED)
        return tuple(found)


LOOPBACK: Final = Unsupported(
    "NodePorts on 127.0.0.1", "they are closed: IPVS sends nothing from a loopback address to another host"
)
UNLISTED: Final = Unsupported(
    "rejectUnlistedPorts: false",
    "they are refused: on an address that the node has, its own ports would answer",
)


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Parts:
    """The Document of a plan."""
    last = previous.parts if isinstance(previous, Parts) and previous.plan.family is plan.family else {}
    keys = {key: _keys(service, last.get(key)) for key, service in plan.services.items()}
    slots = allocate(one for several in keys.values() for one in several)
    parts = {key: _part(plan, service, keys[key], slots, last.get(key)) for key, service in plan.services.items()}
    base = base_fragment(plan)
    addresses: Fragment = {Vip(one): True for part in parts.values() for one in part.vips}
    pairs: Fragment = {one: NO_MARK for part in parts.values() for one in part.hairpins}
    if isinstance(previous, Parts):
        base = _kept(previous, BASE, base)
        addresses, pairs = _kept(previous, VIPS, addresses), _kept(previous, HAIRPINS, pairs)
    document: dict[Owner, Fragment] = {BASE: base}
    document.update({owner: shared for owner, shared in ((VIPS, addresses), (HAIRPINS, pairs)) if shared})
    document.update({str(key): part.fragment for key, part in parts.items() if part.fragment})
    return Parts(plan, document, parts)


def _keys(service: ServicePlan, last: Part | None) -> tuple[str, ...]:
    return last.keys if last is not None and last.plan is service else marked_pools(service)


def _part(
    plan: NodePlan, service: ServicePlan, keys: tuple[str, ...], slots: dict[str, int], last: Part | None
) -> Part:
    at = settings_for(plan, service, slots, keys)
    if last is not None and last.plan is service and last.slots == at:
        return last
    fragment = service_fragment(service, at)
    if last is not None and last.fragment == fragment:
        fragment = last.fragment
    return Part(service, keys, at, fragment, vips(service), hairpins(service, plan.family))


def _kept(previous: Compiled, owner: Owner, fragment: Fragment) -> Fragment:
    """The previous fragment itself if it is equal, so that `diff` need not look into it."""
    before = previous.document.get(owner)
    return before if before is not None and before == fragment else fragment
