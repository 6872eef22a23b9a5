from __future__ import annotations

import msgspec
import pytest

from conntrack.entry import Entry, Tuple
from conntrack.layout import SCTP, TCP, UDP
from conntrack.services import Services
from conntrack.stale import Draining, Judge, Reason, Stale, judge_entry
from kproxy.core.plan import FrontendKind, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.unit.conntrack.cluster import CART, DNS, NODE_ADDRESSES, at, cart, dns, flow, index, known, plan, port
from tests.unit.conntrack.messages import flow_message

SERVING = ("10.244.1.1:53", "10.244.1.2:53")
SCTP_PORT = ServicePlan(ObjectKey("tel", "sig"), (port(Protocol.SCTP, (at("10.96.0.7", 2905),), "10.244.1.9:2905"),))
CLUSTER = known(plan(dns(*SERVING), cart("10.244.2.1:8080"), SCTP_PORT))
EMPTY = known(plan(dns(), cart(), ServicePlan(SCTP_PORT.service, (port(Protocol.SCTP, (at("10.96.0.7", 2905),)),))))


def reason(services: Services, entry: Entry) -> Reason | None:
    _door, found = judge_entry(services, entry)
    by_message = [one.reason for one in Judge(services).stale([flow_message(entry)])]
    assert by_message == ([found] if found else []), "the two ways of judging must agree"
    return found


KEPT: dict[str, Entry] = {
    "a serving endpoint": flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53),
    "the other serving endpoint": flow(UDP, "10.96.0.10", 53, "10.244.1.2", 53),
    "through the NodePort": flow(UDP, "192.0.2.11", 30053, "10.244.1.2", 53),
    "unanswered, to a serving endpoint": flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53, replied=False),
    "another port of the ClusterIP": flow(UDP, "10.96.0.10", 54, "10.244.1.9", 54),
    "the same port by another protocol": flow(TCP, "10.96.0.10", 53, "10.244.1.9", 53),
    "a stranger with the NodePort's number": flow(UDP, "203.0.113.7", 30053, "203.0.113.7", 30053),
    "a pod with the NodePort's number": flow(UDP, "10.244.5.5", 30053, "10.244.5.5", 30053),
    "loopback, which takes no NodePorts": flow(UDP, "127.0.0.1", 30053, "127.0.0.1", 30053),
    "to the endpoint itself": flow(UDP, "10.244.1.9", 53, "10.244.1.9", 53),
    "the frontend as a client": flow(UDP, "10.244.1.9", 53, "10.244.1.9", 53, client="10.96.0.10"),
    "in a zone": flow(UDP, "10.96.0.10", 53, "10.244.1.9", 53, zone=7),
    "TCP, untranslated but answered": flow(TCP, "198.51.100.1", 80, "198.51.100.1", 80),
    "SCTP to a serving endpoint": flow(SCTP, "10.96.0.7", 2905, "10.244.1.9", 2905),
}
GONE: dict[str, tuple[Entry, Reason]] = {
    "an endpoint that is gone": (flow(UDP, "10.96.0.10", 53, "10.244.1.9", 53), Reason.NOT_SERVING),
    "unanswered, too": (flow(UDP, "10.96.0.10", 53, "10.244.1.9", 53, replied=False), Reason.NOT_SERVING),
    "the endpoint's old port": (flow(UDP, "10.96.0.10", 53, "10.244.1.1", 5353), Reason.NOT_SERVING),
    "through the NodePort": (flow(UDP, "192.0.2.11", 30053, "10.244.1.9", 53), Reason.NOT_SERVING),
    "through the NodePort on the second address": (
        flow(UDP, "198.18.0.11", 30053, "10.244.1.9", 53),
        Reason.NOT_SERVING,
    ),
    "another Service's endpoint": (flow(UDP, "10.96.0.10", 53, "10.244.2.1", 8080), Reason.NOT_SERVING),
    "never translated": (flow(UDP, "10.96.0.10", 53, "10.96.0.10", 53, replied=False), Reason.NOT_TRANSLATED),
    "never translated, but answered": (
        flow(UDP, "10.96.0.10", 53, "10.96.0.10", 53),
        Reason.NOT_TRANSLATED,
    ),
    "SCTP": (flow(SCTP, "10.96.0.7", 2905, "10.244.1.8", 2905), Reason.NOT_SERVING),
    "a SYN older than the rules": (flow(TCP, "10.96.0.1", 80, "10.96.0.1", 80, replied=False), Reason.NOT_TRANSLATED),
    "TCP to an endpoint that is gone": (flow(TCP, "10.96.0.1", 80, "10.244.2.9", 8080), Reason.NOT_SERVING),
}


@pytest.mark.parametrize("entry", KEPT.values(), ids=KEPT)
def test_what_is_nobodys_business_or_in_order_is_kept(entry: Entry) -> None:
    assert reason(CLUSTER, entry) is None


@pytest.mark.parametrize(("entry", "why"), GONE.values(), ids=GONE)
def test_what_no_serving_endpoint_answers_is_stale(entry: Entry, why: Reason) -> None:
    assert reason(CLUSTER, entry) is why


@pytest.mark.parametrize(
    "entry",
    [
        flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53),
        flow(UDP, "192.0.2.11", 30053, "10.244.1.1", 53),
        flow(SCTP, "10.96.0.7", 2905, "10.244.1.9", 2905),
    ],
)
def test_a_service_without_endpoints_keeps_no_flow(entry: Entry) -> None:
    assert reason(CLUSTER, entry) is None
    assert reason(EMPTY, entry) is Reason.NO_ENDPOINTS


def test_a_service_that_is_gone_takes_no_flow_with_it() -> None:
    entry = flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53)
    assert reason(known(plan(cart("10.244.2.1:8080"))), entry) is None


def test_zones_of_one_direction_are_not_ours_either() -> None:
    entry = GONE["an endpoint that is gone"][0]
    for side in ("original", "reply"):
        zoned = msgspec.structs.replace(getattr(entry, side), zone=3)
        assert reason(CLUSTER, msgspec.structs.replace(entry, **{side: zoned})) is None


def test_icmp_is_never_ours() -> None:
    ping = Entry(Family.IPV4, 1, Tuple("10.0.0.1", "10.96.0.10", None, None, 8, 0, 1), Tuple("10.96.0.10", "10.0.0.1"))
    assert reason(CLUSTER, ping) is None


def test_ipv6_is_judged_by_its_own_plan() -> None:
    service = ServicePlan(DNS, (port(Protocol.UDP, (at("fd00:96::a", 53),), "[fd00:244::1]:53"),))
    services = index([plan(dns(*SERVING)), plan(service, family=Family.IPV6)], NODE_ADDRESSES)
    assert reason(services, flow(UDP, "fd00:96::a", 53, "fd00:244::1", 53)) is None
    assert reason(services, flow(UDP, "fd00:96::a", 53, "fd00:244::2", 53)) is Reason.NOT_SERVING


def stale(entry: Entry) -> Stale:
    (found,) = Judge(CLUSTER).stale([flow_message(entry)])
    return found


def test_only_tcp_that_was_translated_or_answered_drains() -> None:
    assert stale(GONE["TCP to an endpoint that is gone"][0]).drains
    assert not stale(GONE["a SYN older than the rules"][0]).drains
    assert not stale(GONE["an endpoint that is gone"][0]).drains


def dead(endpoint: str = "10.244.2.9") -> Stale:
    return stale(flow(TCP, "10.96.0.1", 80, endpoint, 8080))


def test_a_drain_counts_from_when_the_endpoint_was_first_seen_gone() -> None:
    one, other = dead(), dead()
    draining, due = Draining().after([one], {CART: 30}, 100.0)
    assert (due, draining.next_due({CART: 30})) == ((), 130.0)
    draining, due = draining.after([one, other], {CART: 30}, 129.0)
    assert due == ()
    draining, due = draining.after([one, other], {CART: 30}, 130.0)
    assert due == (one, other)


def test_an_endpoint_that_came_back_drains_from_zero_again() -> None:
    draining, _ = Draining().after([dead()], {CART: 30}, 100.0)
    draining, _ = draining.after([], {CART: 30}, 110.0)
    assert draining.next_due({CART: 30}) is None
    draining, due = draining.after([dead()], {CART: 30}, 131.0)
    assert (due, draining.next_due({CART: 30})) == ((), 161.0)


def test_endpoints_drain_each_by_its_own_time() -> None:
    first, second = dead("10.244.2.8"), dead("10.244.2.9")
    draining, _ = Draining().after([first], {CART: 30}, 100.0)
    draining, _ = draining.after([first, second], {CART: 30}, 120.0)
    assert draining.after([first, second], {CART: 30}, 131.0)[1] == (first,)
    assert draining.next_due({CART: 30}) == 130.0


def test_services_that_did_not_ask_never_drain() -> None:
    draining, due = Draining().after([dead()], {DNS: 0}, 100.0)
    assert (due, draining) == ((), Draining())
    assert Draining({(CART, (b"", 1)): 1.0}).next_due({}) is None


def test_zero_seconds_drain_at_once() -> None:
    one = dead()
    assert Draining().after([one], {CART: 0}, 100.0)[1] == (one,)


def test_a_load_balancer_address_is_a_frontend_like_any_other() -> None:
    service = ServicePlan(
        DNS, (port(Protocol.UDP, (at("198.51.100.9", 53, FrontendKind.LOAD_BALANCER),), "10.244.1.1:53"),)
    )
    services = known(plan(service))
    assert reason(services, flow(UDP, "198.51.100.9", 53, "10.244.1.2", 53)) is Reason.NOT_SERVING
    assert reason(services, flow(UDP, "198.51.100.9", 53, "10.244.1.1", 53)) is None
