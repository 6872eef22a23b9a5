"""How a virtual server is named, byte by byte."""

from __future__ import annotations

from kproxy.core.values import Protocol
from kproxy.netlink.virtual_servers import delete_server


def test_a_virtual_server_is_named_as_ip_vs_h_lays_it_out() -> None:
    assert delete_server(Protocol.TCP, "10.96.0.1", 443).hex(" ", 4) == (
        "03010000 30000180 06000100 02000000 06000200 06000000 14000300 0a600001 "
        "00000000 00000000 00000000 06000400 01bb0000"
    )
    assert delete_server(Protocol.UDP, "fd00::1", 53).hex(" ", 4) == (
        "03010000 30000180 06000100 0a000000 06000200 11000000 14000300 fd000000 "
        "00000000 00000000 00000001 06000400 00350000"
    )
