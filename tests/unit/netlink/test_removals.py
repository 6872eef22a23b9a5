"""Answers about what is to be removed that lie about lengths."""

from __future__ import annotations

import pytest

from kproxy.netlink.attributes import Malformed, attribute, nested, u16
from kproxy.netlink.messages import Message, netfilter
from kproxy.netlink.removals import set_ports


def members(*each: bytes) -> Message:
    return Message(6 << 8 | 7, 0, 1, 0, netfilter(2, nested(8, *(nested(7, one) for one in each))))


def test_the_ports_of_a_set() -> None:
    assert set_ports([members(u16(4, 30080), u16(4, 30081)), members(u16(4, 30082)), members()]) == {
        30080,
        30081,
        30082,
    }


def test_a_port_of_another_length_is_no_port() -> None:
    with pytest.raises(Malformed, match="port of 4 bytes"):
        set_ports([members(attribute(4, b"\0\0\0\1"))])
