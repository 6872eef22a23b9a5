"""From a NodePlan to a Document of virtual servers, set members, addresses and a few chains.

What Services share (addresses, hairpin pairs) is counted and has owners of
its own. The previous result only saves work: a Service whose plan and slots
are the very same keeps its fragment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from backends.ipvs.base import base_fragment
from backends.ipvs.names import allocate
from backends.ipvs.objects import NO_MARK, Member, Vip
from backends.ipvs.services import hairpins, keeps_by_hash, marked_pools, service_fragment, settings_for, vips
from kproxy.core.changes import changed_keys, recount
from kproxy.core.document import BASE, NOTHING, Fragment, Owner, edited
from kproxy.core.plan import Ipvs, NodePlan, ServicePlan, Unlisted
from kproxy.core.values import ObjectKey
from kproxy.ports import Compiled, Unsupported

VIPS: Final[Owner] = "vips"
HAIRPINS: Final[Owner] = "hairpins"


class Parts(Compiled, frozen=True):
    """A compiled plan, and what the next one goes on with."""

    pools: Mapping[ObjectKey, tuple[str, ...]] = {}
    """The pools that are reached by a mark, of the Services that have any."""
    slots: Mapping[str, int] = {}
    vips: Mapping[str, int] = {}
    """How many Services have an address."""
    hairpins: Mapping[Member, int] = {}

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        """What IPVS cannot do; docs/backends/ipvs.md has the reasons."""
        found = []
        if self.plan.loopback_node_ports:
            found.append(LOOPBACK)
        if self.plan.unlisted is Unlisted.PASS:
            found.append(UNLISTED)
        found += (_hashed(key) for key, keys in self.pools.items() if keeps_by_hash(self.plan.services[key], keys))
        return tuple(found)


LOOPBACK: Final = Unsupported(
    "NodePorts on 127.0.0.1", "they are closed: IPVS sends nothing from a loopback address to another host"
)
UNLISTED: Final = Unsupported(
    "rejectUnlistedPorts: false",
    "they are refused: on an address that the node has, its own ports would answer",
)


def _hashed(service: ObjectKey) -> Unsupported:
    return Unsupported(
        "affinity with a time on NodePorts, and where a frontend has two pools",
        "a client is kept there by the hash of its address (mh): persistence by mark cannot change the port",
        service,
    )


def compile_plan(plan: NodePlan, previous: Compiled | None) -> Parts:
    """The Document of a plan."""
    last = previous if isinstance(previous, Parts) and previous.plan.family is plan.family else None
    last = last or Parts(NodePlan(plan.family, {}), {})
    before, after = last.plan.services, plan.services
    changed = changed_keys(before, after)
    pools = _pools(last.pools, {key: after.get(key) for key in changed})
    slots = last.slots if pools is last.pools else allocate(one for several in pools.values() for one in several)
    stale = changed.union(
        key for key, several in pools.items() if any(slots[one] != last.slots.get(one) for one in several)
    )
    if _frame(plan) != _frame(last.plan):
        stale = stale.union(after)
    fragments = {str(key): _fragment(plan, after.get(key), slots, pools.get(key, ())) for key in sorted(stale)}
    come, gone = ([services[key] for key in changed if key in services] for services in (after, before))
    addresses = recount(last.vips, map(vips, come), map(vips, gone))
    pairs = recount(
        last.hairpins, (hairpins(one, plan.family) for one in come), (hairpins(one, plan.family) for one in gone)
    )
    fragments[BASE] = base_fragment(plan)
    if addresses is not last.vips:
        fragments[VIPS] = {Vip(one): True for one in addresses}
    if pairs is not last.hairpins:
        fragments[HAIRPINS] = dict.fromkeys(pairs, NO_MARK)
    return Parts(plan, edited(last.document, fragments), pools, slots, addresses, pairs)


def _pools(
    before: Mapping[ObjectKey, tuple[str, ...]], changed: Mapping[ObjectKey, ServicePlan | None]
) -> Mapping[ObjectKey, tuple[str, ...]]:
    """The marked pools after some Services changed; the very same mapping if theirs did not."""
    found = {key: marked_pools(service) if service else () for key, service in changed.items()}
    if all(before.get(key, ()) == several for key, several in found.items()):
        return before
    return {key: several for key, several in {**before, **found}.items() if several}


def _frame(plan: NodePlan) -> tuple[int, Ipvs]:
    """What every Service's fragment depends on."""
    return plan.masquerade_bit, plan.ipvs


def _fragment(plan: NodePlan, service: ServicePlan | None, slots: Mapping[str, int], keys: tuple[str, ...]) -> Fragment:
    return service_fragment(service, settings_for(plan, service, slots, keys)) if service else NOTHING
