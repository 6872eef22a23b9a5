"""What notifications are taken for; the bytes are those that Linux 6.18 sent, put together anew."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.core.values import Family
from kproxy.netlink.attributes import Malformed, attribute, text, u32
from kproxy.netlink.messages import message, netfilter
from kproxy.netlink.notices import Interest, Touch, read_links, read_rules

NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, DELETE_RULE, DELETE_ELEMENT, NEW_GENERATION = 0, 2, 3, 6, 8, 14, 15
IP, IP6, INET = 2, 10, 1
TABLE = [Interest(Family.IPV4, frozenset({"kproxy"})), Interest(Family.IPV6, frozenset({"kproxy"}))]
CHAINS = [Interest(Family.IPV4, frozenset({"nat", "filter"}), b"KPROXY-")]
VIPS = [Interest(Family.IPV4, link="kproxy-ipvs0"), Interest(Family.IPV6, link="kproxy-ipvs0")]
NOBODY = frozenset[Family]()
BY = "nft (process 4711)"


def rule(kind: int, table: str, *more: bytes, family: int = IP, port: int = 4711) -> bytes:
    return sent(10 << 8 | kind, netfilter(family, text(1, table), *more), port)


def generation(port: int = 4711, process: int = 4711, name: str = "nft") -> bytes:
    return sent(10 << 8 | NEW_GENERATION, netfilter(0, u32(1, 7), u32(2, process), text(3, name)), port)


def sent(kind: int, payload: bytes, port: int = 0) -> bytes:
    whole = message(kind, 0, 1, payload)
    return whole[:12] + struct.pack("=I", port) + whole[16:]


def touches(buffer: bytes, interests: list[Interest]) -> list[Touch]:
    pending, found = read_rules(NOBODY, buffer, interests)
    assert not pending
    return found


def test_a_transaction_on_our_table_is_one_touch_with_the_name_of_its_process() -> None:
    buffer = rule(DELETE_RULE, "kproxy", text(2, "dispatch")) + rule(DELETE_TABLE, "kproxy") + generation()
    assert touches(buffer, TABLE) == [Touch(Family.IPV4, 4711, BY)]


def test_each_family_is_touched_by_its_own_table() -> None:
    both = rule(DELETE_TABLE, "kproxy") + rule(DELETE_TABLE, "kproxy", family=IP6) + generation()
    assert [one.family for one in touches(both, TABLE)] == [Family.IPV4, Family.IPV6]
    assert [one.family for one in touches(rule(DELETE_ELEMENT, "kproxy", family=IP6) + generation(), TABLE)] == [
        Family.IPV6
    ]


@pytest.mark.parametrize("other", [rule(DELETE_TABLE, "firewalld"), rule(DELETE_TABLE, "kproxy", family=INET), b""])
def test_other_tables_do_not_concern_us(other: bytes) -> None:
    assert touches(other + generation(), TABLE) == []


def test_a_transaction_that_comes_in_pieces_is_told_when_it_ends() -> None:
    pending, first = read_rules(NOBODY, rule(DELETE_RULE, "kproxy"), TABLE)
    assert (pending, first) == (frozenset({Family.IPV4}), [])
    pending, second = read_rules(pending, rule(DELETE_RULE, "theirs") + generation(), TABLE)
    assert (pending, second) == (NOBODY, [Touch(Family.IPV4, 4711, BY)])
    assert read_rules(pending, generation(1, 1, "other"), TABLE) == (NOBODY, [])


@pytest.mark.parametrize(
    ("what", "concerns_us"),
    [
        (rule(NEW_RULE, "nat", text(2, "KPROXY-SERVICES")), True),
        (rule(DELETE_RULE, "nat", text(2, "PREROUTING"), attribute(4, b"\0\1jump KPROXY-SERVICES\0")), True),
        (rule(DELETE_RULE, "nat", text(2, "PREROUTING"), attribute(4, b"\0\1jump KUBE-SERVICES\0\0\0\0")), False),
        (rule(NEW_CHAIN, "nat", text(3, "PREROUTING")), False),
        (rule(DELETE_TABLE, "nat"), True),
        (rule(NEW_TABLE, "nat"), False),
        (rule(NEW_RULE, "mangle", text(2, "KPROXY-SERVICES")), False),
        (rule(NEW_RULE, "nat", text(2, "KPROXY-SERVICES"), family=IP6), False),
    ],
)
def test_in_shared_tables_only_our_chains_and_jumps_concern_us(what: bytes, *, concerns_us: bool) -> None:
    assert bool(touches(what + generation(), CHAINS)) is concerns_us


def test_a_process_without_a_name_is_known_by_its_number() -> None:
    assert touches(rule(DELETE_TABLE, "nat") + generation(name=""), CHAINS)[0].by == "process 4711"


def address(kind: int, link: int, text_address: str, port: int = 0) -> bytes:
    family = socket.AF_INET6 if ":" in text_address else socket.AF_INET
    packed = socket.inet_pton(family, text_address)
    return sent(kind, struct.pack("=BBBBI", family, len(packed) * 8, 0, 254, link) + attribute(1, packed), port)


def link(kind: int, name: str, *, is_up: bool) -> bytes:
    return sent(kind, struct.pack("=BxHiII", 0, 0, 5, int(is_up), 1) + text(3, name), 12)


def test_an_address_on_our_link_is_told_with_its_family_and_whether_it_went() -> None:
    buffer = address(21, 5, "10.96.0.10", 12) + address(20, 5, "fd00::1") + address(21, 4, "10.96.0.11")
    assert list(read_links(buffer, {"kproxy-ipvs0": 5}, VIPS)) == [
        Touch(Family.IPV4, 12, "", "10.96.0.10"),
        Touch(Family.IPV6, 0, "", "fd00::1", is_gone=False),
    ]
    assert list(read_links(buffer, {}, VIPS)) == []


@pytest.mark.parametrize(
    ("kind", "name", "is_up", "concerns_us"),
    [
        (17, "kproxy-ipvs0", True, True),
        (16, "kproxy-ipvs0", False, True),
        (16, "kproxy-ipvs0", True, False),
        (17, "eth0", True, False),
    ],
)
def test_our_link_concerns_us_when_it_goes_or_is_brought_down(
    kind: int, name: str, *, is_up: bool, concerns_us: bool
) -> None:
    found = list(read_links(link(kind, name, is_up=is_up), {}, VIPS))
    assert [one.family for one in found] == (list(Family) if concerns_us else [])


def test_lengths_that_do_not_add_up_are_an_error() -> None:
    for short in (sent(16, b"abcd"), sent(20, b"abcd"), address(20, 1, "10.0.0.1")[:-8], sent(21, bytes(8))):
        with pytest.raises(Malformed):
            list(read_links(short, {}, VIPS))


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(noise: bytes) -> None:
    whole = rule(DELETE_TABLE, "kproxy") + generation() + address(21, 5, "10.96.0.10")
    for buffer in (noise, whole + noise, sent(10 << 8 | NEW_GENERATION, noise), sent(21, noise)):
        try:
            _, found = read_rules(NOBODY, buffer, [*TABLE, *CHAINS])
            found += read_links(buffer, {"kproxy-ipvs0": 5}, VIPS)
        except Malformed:
            continue
        assert all(isinstance(one, Touch) for one in found)
