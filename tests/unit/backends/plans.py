"""Small plans to compile, by hand, for every backend."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from kproxy.core.plan import (
    Action,
    Client,
    Endpoint,
    Frontend,
    FrontendKind,
    NodePlan,
    PortPlan,
    Route,
    ServicePlan,
    Unallocated,
    Unlisted,
)
from kproxy.core.values import Family, ObjectKey, Protocol

OF_FAMILY: Mapping[Family, Mapping[str, Any]] = {
    Family.IPV4: {
        "pods": (ipaddress.ip_network("10.64.0.0/16"),),
        "node_ports": frozenset({"192.0.2.11"}),
        "cluster_ranges": (ipaddress.ip_network("10.96.0.0/16"),),
    },
    Family.IPV6: {
        "pods": (ipaddress.ip_network("fd00:64::/32"),),
        "node_ports": frozenset({"2001:db8::11"}),
        "cluster_ranges": (ipaddress.ip_network("fd00:96::/112"),),
    },
}
TO_CLUSTER = (Route(Client.POD, False, Action.CLUSTER), Route(Client.ANY, True, Action.CLUSTER))
FROM_OUTSIDE = (Route(Client.ANY, True, Action.CLUSTER),)
TO_LOCAL = (
    Route(Client.POD, False, Action.CLUSTER),
    Route(Client.NODE, True, Action.CLUSTER),
    Route(Client.ANY, False, Action.LOCAL),
)
REFUSED = (Route(Client.ANY, False, Action.REJECT),)


def endpoints(*addresses: str, local: Iterable[str] = ()) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(address, 8080, address in local) for address in addresses)


def port(
    *frontends: Frontend,
    cluster: tuple[Endpoint, ...] = (),
    local: tuple[Endpoint, ...] = (),
    name: str = "http",
    protocol: Protocol = Protocol.TCP,
    affinity_s: int = 0,
    internal: tuple[Route, ...] = TO_CLUSTER,
    external: tuple[Route, ...] = FROM_OUTSIDE,
) -> PortPlan:
    return PortPlan(name, protocol, frontends, affinity_s, cluster, local, cluster, internal, external)


def cluster_ip(address: str, number: int = 80) -> Frontend:
    return Frontend(FrontendKind.CLUSTER, address, number)


def node_port(number: int) -> Frontend:
    return Frontend(FrontendKind.NODE_PORT, None, number)


def service(name: str, *ports: PortPlan) -> ServicePlan:
    return ServicePlan(ObjectKey("shop", name), ports)


def plan(*services: ServicePlan, family: Family = Family.IPV4, **others: Any) -> NodePlan:
    settings: dict[str, Any] = {
        "unlisted": Unlisted.REJECT,
        "unallocated": Unallocated.DROP,
        **OF_FAMILY[family],
    }
    return NodePlan(family, {one.service: one for one in services}, **{**settings, **others})
