"""Small complete objects for tests: every field has a sensible value, a test names what it is about."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from kproxy.core.host import Host
from kproxy.core.model import (
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    ServiceType,
    SliceEndpoint,
    SlicePort,
    TrafficPolicy,
)
from kproxy.core.values import Network, ObjectKey, Protocol, family_of

NODE = "node-a"
HOST = Host(NODE, ("192.0.2.11", "2001:db8::11"), frozenset({"127.0.0.1", "::1", "192.0.2.11", "2001:db8::11"}))
CONDITIONS = {
    "ready": (True, True, False),
    "draining": (False, True, True),
    "gone": (False, False, True),
    "failing": (False, False, False),
}


def key(text: str) -> ObjectKey:
    """`namespace/name`, or a name in namespace `shop`."""
    namespace, _, name = text.rpartition("/")
    return ObjectKey(namespace or "shop", name)


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def service(name: str = "cart", **fields: Any) -> Service:
    """A Service `cart` at 10.96.0.1:80/TCP, but for the fields given."""
    plain = Service(
        key=key(name),
        created="2024-01-01T00:00:00Z",
        type=ServiceType.CLUSTER_IP,
        cluster_ips=("10.96.0.1",),
        external_ips=(),
        load_balancer_ips=(),
        source_ranges=None,
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_s=0,
        health_check_port=0,
        ports=(port(),),
    )
    return msgspec.structs.replace(plain, **fields)


def port(number: int = 80, node_port: int = 0, protocol: Protocol = Protocol.TCP, name: str = "http") -> ServicePort:
    return ServicePort(name, protocol, number, node_port)


def endpoint(address: str, node: str = NODE, condition: str = "ready", **hints: tuple[str, ...]) -> SliceEndpoint:
    """An endpoint on this node, ready, unless said otherwise; hints are `zones` and `nodes`."""
    ready, serving, terminating = CONDITIONS[condition]
    return SliceEndpoint(address, ready, serving, terminating, node, hints.get("zones", ()), hints.get("nodes", ()))


def endpoint_slice(of: str, *endpoints: SliceEndpoint, **fields: Any) -> EndpointSlice:
    """The slice of a Service: port `http` 8080/TCP, the family that of its first endpoint."""
    owner = key(of)
    plain = EndpointSlice(
        key=ObjectKey(owner.namespace, f"{owner.name}-x"),
        service=owner,
        family=family_of(endpoints[0].address if endpoints else "10.64.1.10"),
        ports=(SlicePort("http", Protocol.TCP, 8080),),
        endpoints=endpoints,
    )
    return msgspec.structs.replace(plain, **fields)


def node(**fields: Any) -> Node:
    """This node, in zone-1."""
    plain = Node(NODE, ("192.0.2.11", "2001:db8::11"), networks("10.64.1.0/24", "fd00:64:1::/64"), "zone-1")
    return msgspec.structs.replace(plain, **fields)
