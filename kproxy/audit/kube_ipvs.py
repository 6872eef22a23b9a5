"""kube-proxy's virtual servers, as /proc/net/ip_vs lists them, read as frontends (pkg/proxy/ipvs, Kubernetes 1.36).

Its own are those on the addresses of kube-ipvs0, and on the node's addresses for NodePorts. A destination of weight 0
is leaving and gets no new connection. Of masquerade and source ranges the list says nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final

from kproxy.audit.standing import At, Held, Spot, Standing, merged
from kproxy.core.values import Protocol

_PLACE: Final = r"(?:([0-9A-F]{8})|\[([0-9a-f:]+)\]):([0-9A-F]{4})"
SERVER: Final = re.compile(rf"(TCP|UDP|SCTP) +{_PLACE} +\S+ *(?:persistent (\d+))?.*")
DESTINATION: Final = re.compile(rf"  -> {_PLACE} +\S+ +(-?\d+) .*")
HEAD: Final = re.compile(r"IP Virtual Server|Prot LocalAddress|  -> RemoteAddress|FWM ")


def read_ipvs(listed: str, link: Collection[str], local: Collection[str]) -> Standing:
    """The frontends on the link's addresses, and on the node's own as NodePorts; all others are not its."""
    frontends: dict[Spot, Held] = {}
    unread: list[str] = []
    spot: Spot | None = None
    for line in listed.splitlines():
        if found := SERVER.fullmatch(line):
            spot = _spot(_at(found[2], found[3], found[4]), Protocol(found[1]), link, local)
            if spot is not None:
                held = Held("", affinity_s=None if found[5] else 0)  # in ticks of the kernel, whose rate is not told
                frontends[spot] = merged(frontends[spot], held) if spot in frontends else held
        elif found := DESTINATION.fullmatch(line):
            if spot is not None and int(found[4]):
                at = _at(found[1], found[2], found[3])
                frontends[spot] = merged(frontends[spot], Held("", frozenset({at})))
        elif HEAD.match(line):
            spot = None
        else:
            unread.append(line)
    settled = {one: _settled(held) for one, held in frontends.items()}
    return Standing(settled, tuple(unread))


def _settled(held: Held) -> Held:
    """A virtual server without destinations refuses (ICMP port unreachable)."""
    return held if held.endpoints else Held(held.service, refusal="REJECT", affinity_s=held.affinity_s)


def _spot(at: At, protocol: Protocol, link: Collection[str], local: Collection[str]) -> Spot | None:
    address, port = at
    if address in link:
        return Spot(address, port, protocol)
    return Spot("", port, protocol) if address in local else None


def _at(four: str | None, six: str | None, port: str) -> At:
    address = ipaddress.IPv4Address(int(four, 16)) if four else ipaddress.IPv6Address(six or "::")
    return str(address), int(port, 16)
