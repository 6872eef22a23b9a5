from __future__ import annotations

from collections.abc import Iterable

import pytest

from conntrack import check
from conntrack.check import Finding, Pressure, Severity
from conntrack.counters import Limits
from conntrack.entry import Entry, address_bytes
from conntrack.layout import TCP, UDP, Status
from conntrack.stats import Tally
from tests.unit.conntrack.cluster import cart, dns, flow, known, plan
from tests.unit.conntrack.messages import flow_message

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080")))


def stale(*flows: Entry) -> list[Finding]:
    tally = Tally(clients=False)
    tally.add([flow_message(entry) for entry in flows])
    return check.ranked(check.stale_flows(tally, SERVICES))


def test_each_kind_of_stale_flow_is_a_finding_of_its_own() -> None:
    found = stale(
        flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53),
        flow(UDP, "10.96.0.10", 53, "10.244.1.8", 53),
        flow(UDP, "10.96.0.10", 53, "10.96.0.10", 53, replied=False),
        flow(TCP, "10.96.0.1", 80, "10.244.2.7", 8080),
        flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080),
    )
    assert [(one.severity, one.kind, one.service, one.flows) for one in found] == [
        (Severity.ERROR, "stale", "kube-system/dns", 2),
        (Severity.ERROR, "not-translated", "kube-system/dns", 1),
        (Severity.WARNING, "dead-endpoint", "shop/cart", 1),
    ]
    assert all(one.remedy and one.what for one in found)


def test_a_clean_table_has_no_findings() -> None:
    assert stale(flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53), flow(UDP, "9.9.9.9", 53, "9.9.9.9", 53)) == []


@pytest.mark.parametrize(
    ("entries", "severity"), [(79, None), (80, Severity.WARNING), (94, Severity.WARNING), (95, Severity.ERROR)]
)
def test_a_table_that_fills_up(entries: int, severity: Severity | None) -> None:
    assert [one.severity for one in check.full_table(Limits(entries, 100))] == ([severity] if severity else [])


def test_a_table_without_limit_is_never_full() -> None:
    assert list(check.full_table(Limits(10**9, 0))) == []


def pressure(flows: Iterable[Entry]) -> Pressure:
    found = Pressure()
    found.add([flow_message(entry) for entry in flows])
    return found


def masqueraded(destination: str, own: str) -> Entry:
    entry = flow(TCP, destination, 443, destination, 443, status=Status.SRC_NAT | Status.SEEN_REPLY)
    return type(entry)(
        entry.family,
        entry.protocol,
        entry.original,
        type(entry.reply)(destination, own, 443, 1024),
        entry.state,
        entry.status,
        id=entry.id,
    )


def test_source_ports_are_counted_by_destination_and_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SOURCE_PORTS", 10)
    flows = [masqueraded("203.0.113.9", "192.0.2.11") for _ in range(8)]
    flows += [masqueraded("203.0.113.9", "198.18.0.11") for _ in range(7)]
    flows += [flow(TCP, "203.0.113.9", 443, "203.0.113.9", 443) for _ in range(20)]
    (found,) = check.source_ports(pressure(flows))
    assert (found.severity, found.kind, found.flows) == (Severity.WARNING, "source-ports", 8)
    assert "192.0.2.11" in found.what
    assert "203.0.113.9:443/tcp" in found.what
    (worse,) = check.source_ports(pressure([*flows, *(masqueraded("203.0.113.9", "192.0.2.11") for _ in range(2))]))
    assert worse.severity is Severity.ERROR
    place = (TCP, address_bytes("203.0.113.9"), 443)
    assert [one.flows for one in check.source_ports(pressure(flows), {place})] == [8]
    assert list(check.source_ports(pressure(flows), {(TCP, address_bytes("203.0.113.8"), 443)})) == []


def test_only_harmful_counters_and_only_while_they_grow() -> None:
    before = {"drop": 5, "found": 1, "insert_failed": 2}
    after = {"drop": 5, "found": 90, "insert_failed": 4, "early_drop": 1}
    assert {one.what for one in check.growing_counters(before, after)} == {
        "insert_failed grew by 2 while this was looked at",
        "early_drop grew by 1 while this was looked at",
    }


def test_errors_first_then_the_largest() -> None:
    small, large = (Finding(Severity.ERROR, "stale", name, "", flows=flows) for name, flows in (("a", 1), ("b", 9)))
    warning = Finding(Severity.WARNING, "table", "c", "", flows=100)
    assert check.ranked([warning, small, large]) == [large, small, warning]
