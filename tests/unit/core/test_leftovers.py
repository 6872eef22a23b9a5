"""How many connections go through virtual servers of a proxy, as /proc/net/ip_vs counts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kproxy.core.leftovers import VirtualServer, carried, virtual_servers
from kproxy.core.values import Protocol

LISTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600050:0050 rr persistent 10800 FFFFFFFF
  -> 0A400201:1F90      Masq    1      3          4
  -> 0A40010A:1F90      Masq    1      0          10
UDP  0A600050:0035 rr
  -> 0A40010A:14E9      Masq    1      0          100
TCP  [fd00:0010:0096:0000:0000:0000:0000:000a]:0050 rr
  -> [fd00:0010:0064:0001:0000:0000:0000:0010]:1F90      Masq    1      1000          0
FWM  00000007 rr
  -> 0A40010A:1F90      Masq    1      10000          0
"""
TCP = VirtualServer(Protocol.TCP, "10.96.0.80", 80)
UDP = VirtualServer(Protocol.UDP, "10.96.0.80", 53)
SIX = VirtualServer(Protocol.TCP, "fd00:10:96::a", 80)


def test_connections_of_the_named_servers_count_active_or_closing() -> None:
    assert virtual_servers(LISTED) == [TCP, UDP, SIX]
    assert [carried(LISTED, {one}) for one in (TCP, UDP, SIX)] == [17, 100, 1000]
    assert carried(LISTED, {TCP, SIX}) == 1017
    assert carried(LISTED, set()) == 0


@given(st.text())
def test_any_listing_gives_a_number(text: str) -> None:
    assert carried(text, {TCP}) >= 0
