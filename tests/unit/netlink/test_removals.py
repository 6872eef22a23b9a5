"""The bytes of removals whose kernel side these tests do not have, and answers that lie about lengths."""

from __future__ import annotations

import pytest

from kproxy.core.values import Protocol
from kproxy.netlink.attributes import Malformed, attribute, nested, u16
from kproxy.netlink.messages import Message, netfilter
from kproxy.netlink.removals import delete_server, set_ports


def test_a_virtual_server_is_named_as_ip_vs_h_lays_it_out() -> None:
    assert delete_server(Protocol.TCP, "10.96.0.1", 443).hex(" ", 4) == (
        "03010000 30000180 06000100 02000000 06000200 06000000 14000300 0a600001 "
        "00000000 00000000 00000000 06000400 01bb0000"
    )
    assert delete_server(Protocol.UDP, "fd00::1", 53).hex(" ", 4) == (
        "03010000 30000180 06000100 0a000000 06000200 11000000 14000300 fd000000 "
        "00000000 00000000 00000001 06000400 00350000"
    )


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
