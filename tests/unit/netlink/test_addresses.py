"""Address messages: what is ours in them, and what is no message."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.netlink.addresses import IFA_ADDRESS, IFA_LOCAL, RTM_DELADDR, RTM_NEWADDR, dump_request, read_addresses
from kproxy.netlink.attributes import Malformed, attribute
from kproxy.netlink.messages import Message, walk

HEAD = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 2)


def told(*attributes: bytes, kind: int = RTM_NEWADDR) -> Message:
    return Message(kind, 0, 1, 0, HEAD + b"".join(attributes))


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def test_the_local_end_of_a_point_to_point_link_is_ours() -> None:
    message = told(attribute(IFA_ADDRESS, packed("192.0.2.2")), attribute(IFA_LOCAL, packed("192.0.2.1")))
    assert read_addresses([message]) == {"192.0.2.1"}


def test_ipv6_has_no_local_attribute_and_is_read_all_the_same() -> None:
    assert read_addresses([told(attribute(IFA_ADDRESS, packed("2001:db8::1")))]) == {"2001:db8::1"}


def test_one_link_alone_or_all_but_one() -> None:
    message = told(attribute(IFA_LOCAL, packed("192.0.2.1")))  # of link 2
    assert read_addresses([message], link=2) == read_addresses([message], without=3) == {"192.0.2.1"}
    assert read_addresses([message], link=3) == read_addresses([message], without=2) == frozenset()


def test_other_messages_are_not_addresses() -> None:
    assert read_addresses([told(attribute(IFA_LOCAL, packed("192.0.2.1")), kind=RTM_DELADDR), told()]) == frozenset()


@pytest.mark.parametrize("payload", [b"", HEAD[:5], HEAD + attribute(IFA_LOCAL, b"abc"), HEAD + b"\xff\x00\x01\x00"])
def test_what_does_not_add_up_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        read_addresses([Message(RTM_NEWADDR, 0, 1, 0, payload)])


def test_a_dump_is_asked_for_both_families() -> None:
    (request,) = walk(dump_request(7))
    assert (request.sequence, request.payload[0]) == (7, socket.AF_UNSPEC)


@settings(deadline=None, max_examples=200)
@given(payload=st.binary(max_size=40))
def test_any_bytes_are_addresses_or_malformed(payload: bytes) -> None:
    try:
        found = read_addresses([Message(RTM_NEWADDR, 0, 1, 0, payload)])
    except Malformed:
        return
    assert len(found) <= 1
