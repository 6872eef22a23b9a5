"""Each thing that differs between two proxies is told where somebody meets it, and only there."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest

from backends.iptables import BACKEND as IPTABLES
from backends.ipvs import BACKEND as IPVS
from backends.nftables import BACKEND as NFTABLES
from kproxy.core.host import Host, Settings
from kproxy.core.migration import Item, Way, Weight
from kproxy.core.migration_checks import differences
from kproxy.core.model import Applied, EndpointSlice, Kind, Replaced, Service, ServiceCIDR, ServiceType, TrafficPolicy
from kproxy.core.plan import Ipvs, NodePlan
from kproxy.core.planner import plan_node
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, ObjectKey
from tests.fakes.stage import NODE, endpoint_slice, node, service

BACKENDS: dict[str, Any] = {"iptables": IPTABLES, "ipvs": IPVS, "nftables": NFTABLES}
ADDRESSES = frozenset({"127.0.0.1", "::1", "192.0.2.11", "198.18.0.11"})
RANGE = ServiceCIDR("kubernetes", (ipaddress.ip_network("10.96.0.0/16"),))


def plans(
    backend: str, services: list[Service], slices: list[EndpointSlice], settings: Settings
) -> dict[Family, NodePlan]:
    events = [Replaced(Kind.SERVICE, tuple(services)), Replaced(Kind.ENDPOINT_SLICE, tuple(slices))]
    snapshot = fold(Snapshot(), [*events, Replaced(Kind.NODE, (node(),)), Applied(RANGE)])
    host = Host(NODE, addresses=ADDRESSES)
    traits = BACKENDS[backend].traits
    return {family: plan_node(snapshot, settings, host, traits, family, None).plan for family in Family}


def found(
    way: Way,
    *services: Service,
    slices: list[EndpointSlice] | None = None,
    before: Settings | None = None,
    after: Settings | None = None,
) -> dict[str, Item]:
    ends = [endpoint_slice()] if slices is None else slices
    old = plans(way.old, list(services), ends, before or Settings())
    new = plans(way.new, list(services), ends, after or before or Settings())
    return {one.code: one for one in differences(way, old, new, ADDRESSES)}


def kube(old: str, new: str) -> Way:
    return Way("kube-proxy", old, new)


def ours(old: str, new: str) -> Way:
    return Way("kproxy", old, new)


CART = service()
PORT = service(node_port=30080)


def balanced(**fields: Any) -> Service:
    more = {"type": ServiceType.LOAD_BALANCER, "load_balancer_ips": ("198.51.100.1", "2001:db8:51::1")}
    return msgspec.structs.replace(PORT, **(more | fields))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_backend_after_itself_differs_in_nothing(backend: str) -> None:
    keeping = msgspec.structs.replace(balanced(health_check_port=32000), affinity_s=600)
    assert found(ours(backend, backend), keeping) == {}


def test_a_node_without_services_meets_nothing_but_the_dropped_range() -> None:
    assert found(kube("iptables", "nftables"), slices=[]).keys() == {"unallocated-addresses"}
    assert found(ours("nftables", "ipvs"), slices=[]).keys() == {"unallocated-addresses"}


def test_from_iptables_to_nftables() -> None:
    items = found(kube("iptables", "nftables"), PORT, service("web", "10.96.0.11"))
    assert items.keys() == {
        "node-port-addresses",
        "localhost-node-ports",
        "forward-accept",
        "unlisted-ports",
        "unallocated-addresses",
    }
    assert items["node-port-addresses"].what.startswith(
        "NodePorts answer on 192.0.2.11 only, no more on every address of the node (here 198.18.0.11 too)"
    )
    assert items["node-port-addresses"].services == ("shop/cart",)
    assert items["localhost-node-ports"].weight is Weight.LOST
    assert items["unlisted-ports"].services == ()
    assert [one.weight for one in items.values()] == sorted(
        (one.weight for one in items.values()), key=[Weight.LOST, Weight.DIFFERS, Weight.NEW].index
    )


def test_addresses_that_are_listed_stay_the_same() -> None:
    everywhere = Settings(node_port_addresses=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("127.0.0.0/8")))
    items = found(kube("iptables", "nftables"), PORT, before=everywhere)
    assert "node-port-addresses" not in items
    assert "localhost-node-ports" not in items


def test_from_nftables_to_iptables_more_is_open() -> None:
    items = found(ours("nftables", "iptables"), PORT)
    assert items["localhost-node-ports-open"].weight is Weight.NEW
    assert "198.18.0.11" in items["node-port-addresses-more"].what
    assert "leave the node as they are" in items["unlisted-ports"].what
    assert "forward-accept" not in items


def test_health_check_ports_are_no_longer_admitted() -> None:
    checked = balanced(health_check_port=32000, external_policy=TrafficPolicy.LOCAL)
    items = found(kube("iptables", "nftables"), checked)
    assert "32000/TCP" in items["health-check-accept"].what
    assert items["health-check-accept"].services == ("shop/cart",)
    assert "health-check-accept" not in found(kube("iptables", "ipvs"), checked)


def test_ipvs_takes_its_addresses_and_schedulers_along() -> None:
    chosen = msgspec.structs.replace(service("web", "10.96.0.11"), scheduler="lc")
    items = found(kube("ipvs", "nftables"), CART, chosen)
    assert items["vips-not-local"].weight is Weight.LOST
    assert (items["scheduler"].weight, items["scheduler"].services) == (Weight.LOST, ("shop/web",))
    back = found(ours("nftables", "ipvs"), CART)
    assert (back["vips-local"].weight, back["scheduler"].weight) == (Weight.NEW, Weight.DIFFERS)
    assert found(kube("ipvs", "iptables"), CART)["scheduler"].weight is Weight.DIFFERS


def test_only_ipvs_ends_connections_to_endpoints_that_leave() -> None:
    to = found(ours("iptables", "ipvs"), CART, before=Settings(ipvs=Ipvs(drain_s=42)))["draining"]
    assert "are ended after drainTimeout (42 s)" in to.what
    assert "tcp-drain-seconds" in found(ours("ipvs", "iptables"), CART)["draining"].remedy
    assert "are ended after" in found(kube("ipvs", "ipvs"), CART)["draining"].what
    assert "draining" not in found(kube("ipvs", "iptables"), CART)
    assert "draining" not in found(kube("iptables", "nftables"), CART)


def test_affinity_is_forgotten_and_reaches_otherwise() -> None:
    keeping = msgspec.structs.replace(CART, affinity_s=600)
    assert found(kube("nftables", "nftables"), keeping)["affinity-memory"].services == ("shop/cart",)
    assert "affinity-scope" not in found(kube("nftables", "iptables"), keeping)
    assert "each address and port" in found(ours("iptables", "ipvs"), keeping)["affinity-scope"].what


def test_in_what_kproxy_differs_from_kube_proxy_in_the_same_mode() -> None:
    fenced = balanced(source_ranges=(ipaddress.ip_network("203.0.113.0/24"),))
    rival = msgspec.structs.replace(fenced, key=ObjectKey("shop", "rival"), created="2030", cluster_ips=("10.96.0.99",))
    items = found(kube("iptables", "iptables"), fenced, rival)
    assert items["source-ranges-of-one-family"].services == ("shop/cart",)
    assert "IPv6" in items["source-ranges-of-one-family"].what
    assert items["claims"].services == ("shop/rival",)
    assert found(ours("iptables", "iptables"), fenced, rival) == {}


def test_policy_local_without_endpoints_drops() -> None:
    far = msgspec.structs.replace(
        endpoint_slice(),
        endpoints=tuple(msgspec.structs.replace(one, node="node-b") for one in endpoint_slice().endpoints),
    )
    local = msgspec.structs.replace(PORT, external_policy=TrafficPolicy.LOCAL)
    assert found(kube("ipvs", "nftables"), local, slices=[far])["local-without-endpoints"].services == ("shop/cart",)
    assert "local-without-endpoints" not in found(kube("iptables", "nftables"), local, slices=[far])


def test_egress_is_new_where_it_is_asked_for() -> None:
    asks = Settings(egress_masquerade=True, cluster_cidrs=(ipaddress.ip_network("10.64.0.0/16"),))
    assert found(kube("iptables", "iptables"), CART, before=Settings(), after=asks)["egress"].weight is Weight.NEW
