from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conntrack.entry import address_bytes, address_text
from conntrack.layout import TCP, UDP
from conntrack.services import NO_SERVICES, index
from kproxy.core.plan import ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.unit.conntrack.cluster import (
    CART,
    DNS,
    NODE_ADDRESSES,
    at,
    cart,
    dns,
    known,
    node_port,
    plan,
    port,
)

PLAN = plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080"))
SERVICES = known(PLAN)


def named(services: object, protocol: int, address: str, number: int | None) -> str | None:
    door = services.door(protocol, address_bytes(address), number)
    return None if door is None else str(door)


WHERE: dict[tuple[int, str, int | None], str | None] = {
    (UDP, "10.96.0.10", 53): "kube-system/dns:dns",
    (TCP, "10.96.0.1", 80): "shop/cart",
    (TCP, "198.51.100.1", 80): "shop/cart",
    (TCP, "192.0.2.11", 30080): "shop/cart",
    (TCP, "198.18.0.11", 30080): "shop/cart",
    (UDP, "192.0.2.11", 30080): None,
    (TCP, "10.96.0.1", 81): None,
    (TCP, "10.96.0.10", 53): None,
    (TCP, "203.0.113.7", 30080): None,
    (TCP, "127.0.0.1", 30080): None,
    (TCP, "::1", 30080): None,
    (TCP, "2001:db8:2::11", 30080): None,  # the plan is one of IPv4
    (TCP, "10.96.0.1", None): None,
}


@pytest.mark.parametrize(("place", "name"), WHERE.items(), ids=map(str, WHERE))
def test_an_address_and_port_lead_to_a_service_port(place: tuple[int, str, int | None], name: str | None) -> None:
    assert named(SERVICES, *place) == name


_BYTES = st.sampled_from([0, 1, 2])
_PORTS = st.sampled_from([1, 2, 257, 514])
_SOCKETS = st.one_of(
    *(
        st.lists(
            st.tuples(st.lists(_BYTES, min_size=size, max_size=size).map(bytes), st.sampled_from([1, 2, 257, 514]))
        )
        for size in (4, 16)
    )
)


@given(_SOCKETS, st.data())
def test_an_endpoint_is_told_from_others_wherever_its_bytes_appear(
    sockets: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    """Few different bytes, so that an endpoint's stand across the border of two others often."""
    serving = sockets[: data.draw(st.integers(0, len(sockets)))]
    family = Family.IPV6 if sockets and len(sockets[0][0]) == 16 else Family.IPV4
    texts = (f"[{address_text(address)}]:{number}" for address, number in serving)
    made = ServicePlan(CART, (port(Protocol.TCP, (at("192.0.2.1", 80),), *texts),))
    door = known(plan(made, family=family)).door(TCP, address_bytes("192.0.2.1"), 80)
    assert [door.serves(one) for one in sockets] == [one in serving for one in sockets]


def test_node_ports_only_where_the_plan_takes_them() -> None:
    only = known(plan(cart("10.244.2.1:8080"), node_ports=frozenset({"192.0.2.11"})))
    assert named(only, TCP, "192.0.2.11", 30080) == "shop/cart"
    assert named(only, TCP, "198.18.0.11", 30080) is None


def test_loopback_by_its_own_switch_and_ipv4_only() -> None:
    services = known(plan(cart("10.244.2.1:8080"), loopback_node_ports=True, node_ports=frozenset({"192.0.2.11"})))
    assert named(services, TCP, "127.0.0.1", 30080) == "shop/cart"
    assert named(services, TCP, "127.3.2.1", 30080) == "shop/cart"
    v6 = ServicePlan(CART, (port(Protocol.TCP, (node_port(30080),), "[fd00::1]:80", name=""),))
    assert named(known(plan(v6, family=Family.IPV6)), TCP, "::1", 30080) is None
    assert named(known(plan(v6, family=Family.IPV6)), TCP, "2001:db8:2::11", 30080) == "shop/cart"


def test_an_exact_address_comes_before_a_node_port() -> None:
    own = ServicePlan(ObjectKey("a", "own"), (port(Protocol.TCP, (at("192.0.2.11", 30080),), "10.244.7.7:1"),))
    assert named(known(plan(own, cart("10.244.2.1:8080"))), TCP, "192.0.2.11", 30080) == "a/own:main"


def test_what_did_not_change_is_taken_from_before() -> None:
    after = plan(dns("10.244.1.1:53", "10.244.1.2:53"), PLAN.services[CART])
    later = index([after], NODE_ADDRESSES, SERVICES)
    assert later == index([after], NODE_ADDRESSES)
    assert later.made_of[Family.IPV4, CART] is SERVICES.made_of[Family.IPV4, CART]
    assert later.made_of[Family.IPV4, DNS] is not SERVICES.made_of[Family.IPV4, DNS]


def test_a_service_that_is_gone_has_no_door() -> None:
    later = index([plan(PLAN.services[DNS])], NODE_ADDRESSES, SERVICES)
    assert named(later, TCP, "10.96.0.1", 80) is None


def test_both_families_side_by_side() -> None:
    v6 = ServicePlan(CART, (port(Protocol.TCP, (at("fd00:96::1", 80),), "[fd00:244::1]:8080"),))
    services = index([PLAN, plan(v6, family=Family.IPV6)], NODE_ADDRESSES)
    assert named(services, TCP, "10.96.0.1", 80) == named(services, TCP, "fd00:96::1", 80).removesuffix(":main")


def test_no_services_know_nothing() -> None:
    assert named(NO_SERVICES, TCP, "192.0.2.11", 80) is None
