"""A few Services as plans, for everything that judges flows by them."""

from __future__ import annotations

import itertools

import msgspec

from conntrack.entry import Entry, Tuple
from conntrack.layout import SCTP, TCP, UDP, Status
from conntrack.services import Services, index
from kproxy.core.host import Host
from kproxy.core.plan import Action, Client, Endpoint, Frontend, FrontendKind, NodePlan, PortPlan, Route, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol, family_of

NODE_ADDRESSES = frozenset({"127.0.0.1", "::1", "192.0.2.11", "198.18.0.11", "2001:db8:2::11"})
NODE = Host("node-a", ("192.0.2.11", "2001:db8:2::11"), NODE_ADDRESSES)
CART, DNS = ObjectKey("shop", "cart"), ObjectKey("kube-system", "dns")
BALANCED = (Route(Client.ANY, masquerade=True, action=Action.CLUSTER),)

_ids = itertools.count(1)


def endpoints(*texts: str) -> tuple[Endpoint, ...]:
    parts = (text.rsplit(":", 1) for text in texts)
    return tuple(Endpoint(address.strip("[]"), int(port), is_local=False) for address, port in parts)


def port(protocol: Protocol, frontends: tuple[Frontend, ...], *serving: str, name: str = "main") -> PortPlan:
    pool = endpoints(*serving)
    routes = BALANCED if pool else (Route(Client.ANY, masquerade=False, action=Action.REJECT),)
    return PortPlan(name, protocol, frontends, 0, pool, (), pool, routes, routes)


def at(address: str, number: int, kind: FrontendKind = FrontendKind.CLUSTER) -> Frontend:
    return Frontend(kind, address, number)


def node_port(number: int) -> Frontend:
    return Frontend(FrontendKind.NODE_PORT, None, number)


def plan(*services: ServicePlan, family: Family = Family.IPV4, **settings: object) -> NodePlan:
    made = NodePlan(family, {one.service: one for one in services})
    return msgspec.structs.replace(made, **settings)


def dns(*serving: str) -> ServicePlan:
    return ServicePlan(DNS, (port(Protocol.UDP, (at("10.96.0.10", 53), node_port(30053)), *serving, name="dns"),))


def cart(*serving: str, drain_s: int | None = None) -> ServicePlan:
    frontends = (at("10.96.0.1", 80), at("198.51.100.1", 80, FrontendKind.LOAD_BALANCER), node_port(30080))
    return ServicePlan(CART, (port(Protocol.TCP, frontends, *serving, name=""),), tcp_drain_s=drain_s)


def known(*plans: NodePlan) -> Services:
    return index(plans, NODE_ADDRESSES)


def flow(
    protocol: int,
    to: str,
    to_port: int,
    answered_by: str,
    answered_port: int,
    *,
    replied: bool = True,
    client: str = "",
    **more: object,
) -> Entry:
    number = next(_ids)
    client = client or ("fd00:244::9:9" if ":" in to else "10.244.9.9")
    entry = Entry(
        family_of(to),
        protocol,
        Tuple(client, to, 40000 + number % 20000, to_port),
        Tuple(answered_by, client, answered_port, 40000 + number % 20000),
        3 if protocol in (TCP, SCTP) else None,
        (Status.SEEN_REPLY if replied else Status(0)) | Status.CONFIRMED,
        100,
        id=number,
    )
    return msgspec.structs.replace(entry, **more)


__all__ = ["SCTP", "TCP", "UDP"]
