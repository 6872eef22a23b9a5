"""The fingerprint of virtual servers, on /proc/net/ip_vs as Linux 6.1 writes it."""

from __future__ import annotations

import pytest

from backends.ipvs.glance import fingerprint
from kproxy.core.values import Family

TABLE = b"""\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600050:0050 rr  flag-3
  -> 0A40010A:1F90      Masq    1      0          0         \n\
  -> 0A40010B:1F90      Masq    1      12         3456      \n\
TCP  [fd00:0010:0096:0000:0000:0000:0000:0050]:0050 rr  flag-3
  -> [fd00:0010:0064:0001:0000:0000:0000:0010]:1F90      Masq    1      0          7         \n\
FWM  580F6EB2 rr \n\
  -> 0A40010A:1F90      Masq    1      0          0         \n"""
IPV4, IPV6 = Family.IPV4, Family.IPV6


def prints(table: bytes = TABLE, sets: bytes = b"") -> tuple[bytes, bytes]:
    return fingerprint(IPV4, table, sets), fingerprint(IPV6, table, sets)


def test_connections_make_no_difference() -> None:
    assert prints(TABLE.replace(b"12         3456", b"0          0   ")) == prints()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"0A600050:0050 rr", b"0A600050:0050 sh"),
        (b"0A600050:0050", b"0A600051:0050"),
        (b"0A40010B:1F90      Masq    1 ", b"0A40010B:1F90      Masq    0 "),
        (b"0A40010B:1F90      Masq", b"0A40010B:1F91      Masq"),
    ],
)
def test_servers_and_weights_make_one_in_their_family(before: bytes, after: bytes) -> None:
    changed = prints(TABLE.replace(before, after, 1))
    assert (changed[0] != prints()[0], changed[1] == prints()[1]) == (True, True)


def test_the_other_familys_servers_make_none() -> None:
    changed = prints(TABLE.replace(b"[fd00:0010:0096", b"[fd00:0010:0097"))
    assert (changed[0] == prints()[0], changed[1] != prints()[1]) == (True, True)


def test_members_of_sets_make_one() -> None:
    assert prints(sets=b"member")[0] != prints()[0]
