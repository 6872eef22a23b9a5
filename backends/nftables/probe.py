"""A trial change that holds everything our table can: whether a kernel validates it says whether we can run there."""

from __future__ import annotations

import ipaddress

from backends.nftables.compile import compile_plan
from backends.nftables.objects import TABLE_ID
from kproxy.core.document import Addition, Change, ObjectId, Removal
from kproxy.core.plan import (
    Action,
    Client,
    Egress,
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

_ADDRESSES = {Family.IPV4: ("192.0.2.1", "192.0.2.0/24"), Family.IPV6: ("2001:db8::1", "2001:db8::/32")}


def probe_changes(family: Family) -> tuple[Change, ...]:
    """The trial, after the table that may stand here already has gone: what it holds must not be in the way."""
    trial = probe_change(family)
    table = trial.added[TABLE_ID]
    standing = Change({TABLE_ID: table}, {}, {})
    gone = Change({}, {}, {TABLE_ID: Removal(table.owner, table.content)})
    return standing, gone, trial


def probe_change(family: Family) -> Change:
    """The addition of a table with every set, map, chain and kind of rule, and an element in each."""
    document = compile_plan(probe_plan(family), None).document
    added: dict[ObjectId, Addition] = {}
    for owner, fragment in document.items():
        added.update((key, Addition(owner, content)) for key, content in fragment.items())
    return Change(added, {}, {})


def probe_plan(family: Family) -> NodePlan:
    """A plan that needs every feature; addresses are of the documentation ranges (RFC 5737, RFC 3849)."""
    address, text = _ADDRESSES[family]
    network = ipaddress.ip_network(text)
    endpoint = Endpoint(address, 8080, True)
    frontends = (
        Frontend(FrontendKind.CLUSTER, address, 80),
        Frontend(FrontendKind.LOAD_BALANCER, address, 81, (network,)),
        Frontend(FrontendKind.NODE_PORT, None, 30080),
    )
    routes = (
        Route(Client.POD, False, Action.CLUSTER),
        Route(Client.NODE, True, Action.CLUSTER),
        Route(Client.ANY, False, Action.LOCAL),
    )
    refused = (Route(Client.ANY, False, Action.REJECT),)
    ports = (
        PortPlan("plain", Protocol.TCP, frontends, 0, (endpoint,), (endpoint,), (endpoint,), routes, routes),
        PortPlan("sticky", Protocol.UDP, frontends, 60, (endpoint,), (endpoint,), (endpoint,), routes, routes),
        PortPlan("refused", Protocol.SCTP, frontends, 0, (), (), (), refused, refused),
    )
    key = ObjectKey("kproxy", "probe")
    return NodePlan(
        family,
        {key: ServicePlan(key, ports)},
        pods=(network,),
        loopback_node_ports=True,
        cluster_ranges=(network,),
        unlisted=Unlisted.REJECT,
        unallocated=Unallocated.DROP,
        egress=Egress((network,)),
    )
