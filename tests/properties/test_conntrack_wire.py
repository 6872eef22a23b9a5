"""Whatever flows a kernel tells of, in whatever mixture, each is read as it was told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from conntrack.entry import FIELDS, Entry, address_bytes, address_text, entry_of
from conntrack.stats import Tally, summarise
from conntrack.wire import Reader, bytes_words, learn, split, words_bytes
from kproxy.netlink.attributes import Malformed
from tests.unit.conntrack.messages import done, flow_message
from tests.unit.conntrack.strategies import entries


def key(entry: Entry) -> str:
    return repr(entry)


@settings(max_examples=150, deadline=None)
@given(st.lists(entries(), max_size=12))
def test_reading_inverts_telling(flows: list[Entry]) -> None:
    reader = Reader(FIELDS)
    messages = [flow_message(entry) for entry in flows]
    for _ in range(2):  # with shapes unknown, and known
        assert sorted((entry_of(row) for row in reader.rows(messages)), key=key) == sorted(flows, key=key)
    assert [entry_of(reader.row(message)) for message in messages] == flows
    assert reader.undecodable == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(entries(), min_size=1, max_size=6), st.permutations(FIELDS), st.integers(1, len(FIELDS)))
def test_any_choice_of_fields_is_a_part_of_all(flows: list[Entry], order: list[str], count: int) -> None:
    some = order[:count]
    messages = [flow_message(entry) for entry in flows]
    every, few = Reader(FIELDS), Reader(some)
    for message in messages:
        whole = dict(zip(FIELDS, every.row(message), strict=True))
        assert few.row(message) == tuple(whole[name] for name in some)


@settings(max_examples=60, deadline=None)
@given(st.lists(entries(), max_size=5), st.permutations(FIELDS), st.integers(1, len(FIELDS)))
def test_counting_by_words_tells_apart_what_rows_do(flows: list[Entry], order: list[str], count: int) -> None:
    reader = Reader(order[:count])
    messages = [flow_message(entry) for entry in [*flows, *flows]]
    for columns, joined in reader.groups(messages):
        rows = list(map(columns.row, columns.unpack.iter_unpack(joined)))
        keys = list(columns.keys(joined))
        assert [columns.row_of(words) for words in keys] == rows
        assert len(set(keys)) == len(set(rows))


@settings(max_examples=60, deadline=None)
@given(st.lists(entries(), max_size=5))
def test_counting_raw_messages_is_counting_entries(flows: list[Entry]) -> None:
    raw, typed = Tally(), Tally()
    raw.add(flow_message(entry) for entry in flows)
    for entry in flows:
        typed.add_entry(entry)
    assert summarise(raw) == summarise(typed)


@settings(max_examples=150, deadline=None)
@given(st.lists(entries(), max_size=8))
def test_a_buffer_is_cut_where_its_messages_end(flows: list[Entry]) -> None:
    messages = [flow_message(entry) for entry in flows]
    assert split(b"".join([*messages, done()])).flows == messages


@settings(max_examples=200, deadline=None)
@given(entries(), st.data())
def test_a_damaged_message_is_refused_or_read_but_never_more(entry: Entry, data: st.DataObject) -> None:
    message = bytearray(flow_message(entry))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(16, len(message) - 1))] = data.draw(st.integers(0, 255))
    reader = Reader(FIELDS)
    rows = list(reader.rows([bytes(message)]))
    assert len(rows) + reader.undecodable == 1
    for row in rows:
        entry_of(row)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_harm(garbage: bytes) -> None:
    reader = Reader(FIELDS)
    assert len(list(reader.rows([garbage]))) + reader.undecodable == 1
    for read in (learn, split):
        try:
            read(garbage)
        except Malformed:
            continue


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)))
def test_addresses_are_packed_and_written_canonically(packed: bytes) -> None:
    assert address_bytes(address_text(packed)) == packed
    assert words_bytes(bytes_words(packed)) == packed
