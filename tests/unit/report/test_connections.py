from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
import yaml

from conntrack.entry import Counters
from conntrack.layout import SCTP, TCP, UDP, Status
from conntrack.query import Seen, look
from conntrack.services import NO_SERVICES
from kproxy.report.connections import CSV_COLUMNS, FORMATS, duration, line, lines, moment, nat, place, progress
from tests.unit.conntrack.cluster import cart, dns, flow, known, plan

SERVICES = known(plan(dns("10.244.1.1:53"), cart("10.244.2.1:8080")))
WEB = look(SERVICES, flow(TCP, "10.96.0.1", 80, "10.244.2.1", 8080, client="10.244.9.1"))
STALE = look(SERVICES, flow(UDP, "10.96.0.10", 53, "10.244.1.7", 53))
V6 = look(NO_SERVICES, flow(UDP, "fd00::2", 53, "fd00::2", 53, replied=False))
FLOWS = [WEB, STALE, V6]


def text(form: str, flows: list[Seen]) -> str:
    return "".join(lines(form, flows))


def test_json_and_yaml_are_the_same_list() -> None:
    found = json.loads(text("json", FLOWS))
    assert yaml.safe_load(text("yaml", FLOWS)) == found
    assert found[0]["service"] == "shop/cart"
    assert found[0]["original"]["destination"] == "10.96.0.1"
    assert found[0]["status"] == ["SEEN_REPLY", "CONFIRMED"]
    assert "stale" not in found[0]
    assert found[1]["stale"] == "its endpoint does not serve any more"
    assert "service" not in found[2]


def test_csv_has_a_column_for_everything() -> None:
    rows = list(csv.DictReader(io.StringIO(text("csv", FLOWS))))
    assert list(rows[0]) == list(CSV_COLUMNS)
    assert [row["service"] for row in rows] == ["shop/cart", "kube-system/dns", ""]
    assert rows[0]["endpoint"] == "10.244.2.1"
    assert rows[0]["packets"] == ""


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_an_empty_list(form: str) -> None:
    shown = text(form, [])
    if form in ("json", "yaml"):
        assert yaml.safe_load(shown) == []
    else:
        assert len(shown.splitlines()) == 1, "the headings alone"


def test_tables_line_up_and_wide_ones_show_counters() -> None:
    counted = msgspec.structs.replace(
        WEB.entry, original_counters=Counters(3, 300), reply_counters=Counters(2, 2000), start_ns=1_700_000_000 * 10**9
    )
    head, row = text("wide", [look(SERVICES, counted)]).splitlines()
    assert row[head.index("ENDPOINT") :].startswith("10.244.2.1:8080 ")
    assert "3/2" in row
    assert "300/2000" in row
    assert "2023-11-14T22:13:20Z" in row
    assert row.endswith("shop/cart")
    assert "STALE" in text("table", [STALE])


@pytest.mark.parametrize("form", FORMATS)
def test_flows_are_printed_as_they_come(form: str) -> None:
    """Nothing is asked for beyond what is being printed: a million flows never sit in memory."""
    asked = 0

    def source() -> object:
        nonlocal asked
        for _ in range(1000):
            asked += 1
            yield WEB

    pieces = lines(form, source())
    for _ in range(3):
        next(pieces)
    assert asked <= 3


def test_one_flow_on_a_line_of_its_own() -> None:
    assert json.loads(line("json", WEB))["protocol"] == "tcp"
    assert line("csv", WEB).count("\n") == 1
    assert line("table", V6).count("\n") == 1


def test_words() -> None:
    assert place("fd00::1", 80) == "[fd00::1]:80"
    assert place("10.0.0.1", None) == "10.0.0.1"
    assert [duration(number) for number in (None, 0, 119, 120, 7199, 7200, 431999)] == [
        "-", "0s", "119s", "2m", "119m", "2h", "119h",
    ]  # fmt: skip
    assert moment(None) == ""
    assert nat(WEB.entry) == "dnat"
    assert nat(V6.entry) == "-"


def test_progress_is_the_state_or_how_far_it_came() -> None:
    assert progress(WEB.entry) == "ESTABLISHED"
    assert progress(V6.entry) == "UNREPLIED"
    assert progress(STALE.entry) == "REPLIED"
    assert progress(msgspec.structs.replace(STALE.entry, status=Status.ASSURED | Status.SEEN_REPLY)) == "ASSURED"
    assert progress(flow(SCTP, "10.0.0.1", 1, "10.0.0.1", 1, state=99)) == "99"
