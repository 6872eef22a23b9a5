from __future__ import annotations

import pytest

from conntrack.entry import Counters, Entry
from conntrack.layout import TCP, UDP
from conntrack.load import Load, Sample, loads, name_of
from conntrack.query import EVERYTHING, Query, client_of
from conntrack.services import NO_SERVICES, Services
from conntrack.stats import OTHER
from kproxy.core.values import ObjectKey
from tests.unit.conntrack.cluster import cart, dns, flow, known, plan
from tests.unit.conntrack.messages import flow_message

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080")))


def counted(entry: Entry, sent: int, answered: int) -> Entry:
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
    return Entry(**fields | {"original_counters": Counters(1, sent), "reply_counters": Counters(1, answered)})


DNS = flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53, replied=False)
WEB = [flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080) for _ in range(2)]
OUT = flow(TCP, "203.0.113.9", 443, "203.0.113.9", 443)


def sample(*flows: Entry, services: Services = SERVICES, query: Query = EVERYTHING) -> Sample:
    found = Sample(services, query)
    found.add([flow_message(entry) for entry in flows])
    return found


def test_flows_new_ones_and_those_unreplied() -> None:
    found = loads(sample(DNS), sample(DNS, *WEB, OUT), {"shop/cart": 6}, 2.0, "flows")
    assert found == [
        Load("shop/cart", 2, 0, 3.0, None),
        Load(OTHER, 1, 0, 0.0, None),
        Load("kube-system/dns:dns", 1, 1, 0.0, None),
    ]


def test_bytes_per_second_where_the_kernel_counts() -> None:
    before = sample(*(counted(entry, 100, 200) for entry in WEB), counted(OUT, 5000, 0))
    now = sample(*(counted(entry, 400, 500) for entry in WEB), counted(DNS, 80, 0))
    by_bytes = loads(before, now, {}, 2.0, "bytes")
    assert [(one.name, one.bytes_per_s) for one in by_bytes] == [("shop/cart", 600.0), ("kube-system/dns:dns", 40.0)]


def test_flows_that_ended_do_not_make_the_rate_negative() -> None:
    before, now = sample(*(counted(entry, 900, 0) for entry in WEB)), sample(counted(WEB[0], 900, 0))
    assert loads(before, now, {}, 1.0, "bytes")[0].bytes_per_s == 0
    assert loads(None, now, {}, 1.0, "bytes")[0].bytes_per_s is None


@pytest.mark.parametrize(("sort", "first"), [("flows", "shop/cart"), ("new", "kube-system/dns:dns")])
def test_sorting(sort: str, first: str) -> None:
    assert loads(None, sample(DNS, *WEB), {"kube-system/dns:dns": 9}, 1.0, sort)[0].name == first


@pytest.mark.parametrize(
    ("entry", "services", "name"),
    [
        (DNS, SERVICES, "kube-system/dns:dns"),
        (OUT, SERVICES, OTHER),
        (OUT, NO_SERVICES, "203.0.113.9:443/tcp"),
    ],
)
def test_events_and_tables_give_flows_the_same_name(entry: Entry, services: Services, name: str) -> None:
    assert name_of(services, EVERYTHING, entry) == name
    assert set(sample(entry, services=services).flows) == {name}


GONE = flow(TCP, "10.96.0.1", 80, "10.244.2.9", 8080)
ANY_PROTOCOL = Query(client=client_of("0.0.0.0/0"))


def test_what_no_serving_endpoint_answers_is_counted_apart() -> None:
    (found,) = loads(None, sample(*WEB, GONE), {}, 1.0, "flows")
    assert (found.flows, found.stale) == (3, 1)


def test_counting_one_by_one_is_counting_in_bulk() -> None:
    flows = [DNS, *(counted(entry, 100, 200) for entry in WEB), GONE, counted(OUT, 5, 0)]
    bulk, single = sample(*flows), sample(*flows, query=ANY_PROTOCOL)
    for what in ("flows", "unreplied", "stale", "bytes", "accounting"):
        assert getattr(bulk, what) == getattr(single, what), what


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(protocol=UDP), {"kube-system/dns:dns"}),
        (Query(service=ObjectKey("shop", "cart")), {"shop/cart"}),
        (Query(stale=True), {"shop/cart"}),
        (Query(endpoint=("203.0.113.9", 443)), {OTHER}),
    ],
)
def test_only_what_is_wanted_is_counted(query: Query, names: set[str]) -> None:
    flows = [DNS, GONE, OUT]
    assert set(sample(*flows, query=query).flows) == names
    assert {name_of(SERVICES, query, entry) for entry in flows} == names | {None}


def test_a_flow_that_begins_has_no_state_to_ask_for() -> None:
    assert name_of(SERVICES, Query(state="ESTABLISHED"), DNS) == "kube-system/dns:dns"
