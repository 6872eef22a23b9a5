from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from conntrack import layout
from conntrack.entry import FIELDS, Counters, Entry, Tuple, entry_of
from conntrack.events import Kind, read_events
from conntrack.layout import ICMP, TCP, UDP, Status
from conntrack.wire import Reader, learn, split
from kproxy.core.values import Family
from kproxy.netlink.attributes import Malformed, attribute, nested, u16, u32
from kproxy.netlink.messages import NLM_F_DUMP_INTR, NLM_F_MULTI, message, netfilter
from tests import conntrack_oracle
from tests.unit.conntrack.messages import FLOW_KIND, done, flow_message

DATA = Path(__file__).parents[2] / "data" / "conntrack"

FLOW = Entry(
    Family.IPV4,
    TCP,
    Tuple("10.0.0.1", "10.96.0.1", 40000, 80),
    Tuple("10.244.0.5", "10.0.0.1", 8080, 40000),
    3,
    Status.SEEN_REPLY | Status.ASSURED | Status.CONFIRMED | Status.DST_NAT,
    431999,
    id=77,
    use=1,
)


def read(*messages: bytes) -> list[Entry]:
    return [entry_of(row) for row in Reader(FIELDS).rows(messages)]


@pytest.mark.parametrize("name", ["plain", "accounting"])
def test_captures_of_a_kernel_say_what_conntrack_tools_said(name: str) -> None:
    part = split((DATA / f"{name}.bin").read_bytes())
    reader = Reader(FIELDS)
    ours = sorted((entry_of(row) for row in reader.rows(part.flows)), key=lambda entry: entry.id)
    theirs = sorted(conntrack_oracle.read((DATA / f"{name}.txt").read_text()), key=lambda entry: entry.id)
    assert reader.undecodable == 0
    assert len(ours) >= 17
    assert [conntrack_oracle.comparable(entry) for entry in ours] == theirs
    assert {entry.original_counters is None for entry in ours} == {name == "plain"}


def test_captured_events_are_one_flow_from_first_packet_to_end() -> None:
    events = list(read_events(Reader(FIELDS), split((DATA / "events.bin").read_bytes()).flows))
    assert [event.kind for event in events] == [Kind.NEW, Kind.UPDATE, Kind.DESTROY]
    assert {event.entry.id for event in events} == {events[0].entry.id}
    assert {event.entry.original.destination for event in events} == {"10.96.0.1"}
    assert {event.entry.reply.source for event in events} == {"10.244.0.5"}
    assert [event.entry.replied for event in events] == [False, True, True]


def test_flows_of_one_shape_are_read_together_and_keep_their_own_values() -> None:
    flows = [msgspec.structs.replace(FLOW, mark=number, id=number) for number in range(300)]
    assert read(*map(flow_message, flows)) == flows


def test_two_shapes_of_one_size_are_told_apart() -> None:
    labels = attribute(22, b"\0" * 4)
    zoned = u32(layout.MARK_MASK, 1)
    one, other = flow_message(FLOW, labels), flow_message(msgspec.structs.replace(FLOW, mark=9), zoned)
    assert len(one) == len(other)
    reader = Reader(("mark", "id"))
    for _ in range(2):  # learning, and knowing
        assert sorted(reader.rows([one, other, one])) == [(0, 77), (0, 77), (9, 77)]


def test_a_header_that_differs_anywhere_is_another_shape() -> None:
    shape = learn(flow_message(FLOW))
    original = flow_message(FLOW)
    assert shape.fits(original)
    for offset, _ in shape.headers:
        changed = bytearray(original)
        changed[offset * 4 + 3] ^= 0x40
        assert not shape.fits(bytes(changed))
        assert not shape.fits_all(original + bytes(changed))


def test_fields_come_in_the_asked_order_and_are_none_where_a_flow_has_none() -> None:
    reader = Reader(("state", "original_icmp_id", "protocol", "zone"))
    ping = Entry(Family.IPV4, ICMP, Tuple("10.0.0.1", "10.0.0.2", None, None, 8, 0, 99), Tuple("10.0.0.2", "10.0.0.1"))
    assert reader.row(flow_message(FLOW)) == (3, None, TCP, None)
    assert reader.row(flow_message(ping)) == (None, 99, ICMP, None)


def test_rows_come_with_their_own_messages() -> None:
    messages = [flow_message(msgspec.structs.replace(FLOW, id=number)) for number in range(5)]
    for (identity,), own in Reader(("id",)).with_messages(messages):
        assert messages[identity] == own


BROKEN = {
    "cut": flow_message(FLOW)[:-4],
    "empty": b"\0" * 20,
    "short": flow_message(FLOW)[:16],
    "an unknown family": flow_message(FLOW)[:16] + b"\x11" + flow_message(FLOW)[17:],
    "no tuples": message(FLOW_KIND, NLM_F_MULTI, 7, netfilter(layout.AF_INET, u32(layout.MARK, 1))),
    "an odd mark": flow_message(FLOW, attribute(layout.MARK, b"\0" * 3)),
    "an IPv6 address in an IPv4 flow": flow_message(
        FLOW, nested(layout.TUPLE_ORIG, nested(layout.TUPLE_IP, attribute(layout.IP_V6_SRC, b"\0" * 16)))
    ),
    "a long address": flow_message(
        FLOW, nested(layout.TUPLE_ORIG, nested(layout.TUPLE_IP, attribute(layout.IP_V4_SRC, b"\0" * 8)))
    ),
    "an attribute longer than its container": flow_message(FLOW, nested(layout.HELP, b"\xff\xff\x01\x00")),
    "an attribute shorter than its header": flow_message(FLOW, b"\x03\x00\x01\x00"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_counted_and_the_rest_is_read(broken: bytes) -> None:
    reader = Reader(("id",))
    assert list(reader.rows([flow_message(FLOW), broken, flow_message(FLOW)])) == [(77,), (77,)]
    assert reader.undecodable == 1
    assert reader.row(broken) is None
    with pytest.raises(Malformed):
        learn(broken)


def test_unknown_attributes_are_passed_over() -> None:
    extra = (attribute(99, b"text"), nested(98, u16(1, 2)), attribute(22, b"\x01" * 16))
    assert read(flow_message(FLOW, *extra)) == [FLOW]


def test_many_shapes_do_not_fill_the_memory() -> None:
    reader = Reader(("id",))
    for number in range(3000):
        assert reader.row(flow_message(FLOW, attribute(1000 + number, b""))) == (77,)
    assert sum(map(len, reader._known.values())) <= 1024


def test_a_buffer_is_cut_into_flows_and_others() -> None:
    one = flow_message(FLOW)
    part = split(one + one + done(NLM_F_MULTI | NLM_F_DUMP_INTR))
    assert part.flows == [one, one]
    assert part.others == [done(NLM_F_MULTI | NLM_F_DUMP_INTR)]
    assert part.flags & NLM_F_DUMP_INTR
    assert not split(one + done()).flags & NLM_F_DUMP_INTR


@pytest.mark.parametrize("length", [0, 15, 4096])
def test_a_buffer_whose_lengths_do_not_add_up_is_refused(length: int) -> None:
    with pytest.raises(Malformed):
        split(length.to_bytes(4, "little") + flow_message(FLOW)[4:])


def test_udp_has_no_state() -> None:
    flow = Entry(Family.IPV6, UDP, Tuple("fd00::1", "fd00::2", 1, 2), Tuple("fd00::2", "fd00::1", 2, 1), id=3)
    (entry,) = read(flow_message(flow))
    assert (entry.state, entry.state_name, entry.protocol_name) == (None, "", "udp")


def test_counters_are_whole_numbers_of_64_bits() -> None:
    counted = msgspec.structs.replace(
        FLOW, original_counters=Counters(2**63, 2**64 - 1), reply_counters=Counters(0, 1), start_ns=2**62
    )
    assert read(flow_message(counted)) == [counted]
