"""The words in which a migration is told: from whose rules to which, and things that will differ."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Final

from kproxy.core.node_facts import is_loopback
from kproxy.core.plan import Frontend, NodePlan, PortPlan, ServicePlan
from kproxy.core.values import Value, family_of

KUBE_PROXY: Final = "kube-proxy"
IPVS: Final = "ipvs"
NFTABLES: Final = "nftables"


class Weight(enum.StrEnum):
    """How much a difference matters."""

    LOST = "lost"
    """What some client can do now it cannot do afterwards."""
    DIFFERS = "differs"
    """It goes on, in another way."""
    NEW = "new"
    """What nobody can do now is possible afterwards, wanted or not."""


class Way(Value, frozen=True):
    """From whose rules, and which backend's or mode's, to which backend of kproxy."""

    proxy: str
    """`kube-proxy` or `kproxy`."""
    old: str
    new: str

    @property
    def is_of_kube_proxy(self) -> bool:
        """Whether what differs on purpose between the two proxies counts."""
        return self.proxy == KUBE_PROXY


class Item(Value, frozen=True):
    """One thing that will differ."""

    code: str
    """A short name that stays the same from version to version."""
    weight: Weight
    what: str
    remedy: str
    services: tuple[str, ...] = ()
    """`namespace/name` of those that meet it; empty: the whole node does."""


class Both(Value, frozen=True):
    """The two plans of one family, and what else decides."""

    way: Way
    old: NodePlan
    new: NodePlan
    addresses: frozenset[str]
    """This node's addresses, loopback included."""

    @property
    def changes_backend(self) -> bool:
        """Whether another kind of rules follows."""
        return self.way.old != self.way.new

    def local(self, plan: NodePlan) -> frozenset[str]:
        """The addresses, loopback aside, on which a plan takes NodePorts."""
        own = {one for one in self.addresses if family_of(one) is plan.family and not is_loopback(one)}
        return frozenset(own) if plan.node_ports is None else plan.node_ports & own

    def with_frontend(self, wanted: Callable[[PortPlan, Frontend], bool]) -> tuple[str, ...]:
        """The Services of the new plan that have such a frontend."""
        return named(
            one
            for one in self.new.services.values()
            if any(wanted(port, f) for port in one.ports for f in port.frontends)
        )


def named(services: Iterable[ServicePlan]) -> tuple[str, ...]:
    """Services by name, in order."""
    return tuple(sorted(str(one.service) for one in services))
