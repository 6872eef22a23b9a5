"""Our messages against those that ipvsadm and ipset send for the same wish, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.ipvs import servers, sets
from backends.ipvs.objects import NO_MARK, Balance, Kind, Mark, Member, Real, Server, Shape
from kproxy.core.values import Family, Protocol
from kproxy.netlink.attributes import HEADER, NESTED, TYPE_MASK
from kproxy.netlink.virtual_servers import DEL_SERVICE, NEW_SERVICE, delete_server

CAPTURES = json.loads((Path(__file__).parents[3] / "data" / "netlink" / "ipvs.json").read_text())["messages"]

VIP = Server(Protocol.TCP, "10.96.0.10", 80)
REAL = Real(VIP, "10.64.1.10", 8080)
BY_MARK = Server(None, "", 0, 1234)
PLACE = Member("KPROXY-4-ANY", Protocol.TCP, "10.96.0.10", 80)
FENCE = Member("KPROXY-6-ALLOWED", Protocol.UDP, "fd00::a", 53, "fd00:1::", 64)

SERVERS: dict[str, Callable[[], bytes]] = {
    "ipvsadm -A -t 10.96.0.10:80 -s wlc -p 600 -b flag-3": lambda: servers.service_request(
        NEW_SERVICE, VIP, Family.IPV4, Balance("wlc", 600)
    ),
    "ipvsadm -A -f 1234 -6 -s mh -b mh-fallback,flag-3": lambda: servers.service_request(
        NEW_SERVICE, BY_MARK, Family.IPV6, Balance("mh", by_source=True)
    ),
    "ipvsadm -D -t 10.96.0.10:80": lambda: servers.service_request(DEL_SERVICE, VIP, Family.IPV4),
    "ipvsadm -a -t 10.96.0.10:80 -r 10.64.1.10:8080 -m -w 1": lambda: servers.real_request(
        servers.NEW_DEST, REAL, Family.IPV4, 1
    ),
    "ipvsadm -e -t 10.96.0.10:80 -r 10.64.1.10:8080 -m -w 0 -x 5000": lambda: servers.real_request(
        servers.SET_DEST, REAL, Family.IPV4, 0, 5000
    ),
    "ipvsadm -d -t 10.96.0.10:80 -r 10.64.1.10:8080": lambda: servers.real_request(servers.DEL_DEST, REAL, Family.IPV4),
}
SETS: dict[str, Callable[[], bytes]] = {
    "ipset create KPROXY-4-ANY hash:ip,port family inet maxelem 4194304 skbinfo": lambda: sets.create_request(
        PLACE.set, Shape(Kind.PLACE, marks=True), Family.IPV4
    ),
    "ipset create KPROXY-6-ALLOWED hash:ip,port,net family inet6 maxelem 4194304": lambda: sets.create_request(
        FENCE.set, Shape(Kind.PLACE_AND_NETWORK), Family.IPV6
    ),
    "ipset add KPROXY-4-ANY 10.96.0.10,tcp:80 skbmark 0x4000/0x4000": lambda: sets.member_request(
        PLACE, Mark(0x4000, 0x4000)
    ),
    "ipset del KPROXY-4-ANY 10.96.0.10,tcp:80": lambda: sets.member_request(PLACE, NO_MARK),
    "ipset add KPROXY-6-ALLOWED fd00::a,udp:53,fd00:1::/64": lambda: sets.member_request(FENCE, NO_MARK),
    "ipset destroy KPROXY-6-ALLOWED": lambda: sets.set_request(FENCE.set, Family.IPV6),
}
FLAGS_OF_SERVER = (1, 7)
VERSION, REVISION = (1,), (4,)


def leaves(payload: bytes, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], tuple[int, bytes]]]:
    """Each attribute that holds no others: its path, its flags in the type, and its bytes."""
    while payload:
        length, kind = HEADER.unpack_from(payload)
        here = (*path, kind & TYPE_MASK)
        if kind & NESTED:
            yield from leaves(payload[4:length], here)
        else:
            yield here, (kind & ~TYPE_MASK, payload[4:length])
        payload = payload[(length + 3) & ~3 :]


@pytest.mark.parametrize("command", SERVERS)
def test_what_we_say_to_ipvs_is_what_ipvsadm_says(command: str) -> None:
    ours, theirs = SERVERS[command](), bytes.fromhex(CAPTURES[command])
    assert ours[:2] == theirs[:2], "command and version"
    said, known = dict(leaves(ours[4:])), dict(leaves(theirs[4:]))
    if FLAGS_OF_SERVER in said:
        # ipvsadm sets every flag there is; we leave those alone that are not ours to know.
        assert said[FLAGS_OF_SERVER][1][:4] == known[FLAGS_OF_SERVER][1][:4]
        assert said.pop(FLAGS_OF_SERVER)[1][4:] == servers.OWN_FLAGS.to_bytes(4, "little")
    assert said.items() <= known.items()
    assert said.keys() >= {key for key in known if key[0] == 1 and key[1] in (1, 2, 3, 4, 5)}, "the server's name"


@pytest.mark.parametrize("command", SETS)
def test_what_we_say_to_ip_sets_is_what_ipset_says(command: str) -> None:
    ours, theirs = SETS[command](), bytes.fromhex(CAPTURES[command])
    said, known = dict(leaves(ours[4:])), dict(leaves(theirs[4:]))
    # The oldest protocol and revisions that have what we need, so that older kernels take them.
    assert said.pop(VERSION)[1] <= known.pop(VERSION)[1]
    if REVISION in said:
        assert said.pop(REVISION)[1] <= known.pop(REVISION)[1]
    line = (7, 9)
    known.pop(line, None)  # the line number of a restore
    assert said == known


def test_a_removal_by_name_is_the_backends_own() -> None:
    assert delete_server(Protocol.TCP, "10.96.0.10", 80) == servers.service_request(DEL_SERVICE, VIP, Family.IPV4)
