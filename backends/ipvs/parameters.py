"""Kernel parameters that IPVS needs: set where they differ, and read back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from backends.ipvs.objects import Sysctl
from kproxy.core.document import BASE
from kproxy.effects import network
from kproxy.ports import Refusal

REUSE_MODE: Final = network.Sysctl("net.ipv4.vs.conn_reuse_mode", "0")
REUSE_HARMFUL: Final = ((4, 1), (5, 9))
"""Kernels on which a reused port waits a second for a real server (torvalds/linux f0a5e4d7a594, in 5.9)."""


def wants_reuse_off(release: str) -> bool:
    """Whether a kernel of this release (`uname -r`) needs conn_reuse_mode 0."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and REUSE_HARMFUL[0] <= (int(found[1]), int(found[2])) < REUSE_HARMFUL[1]


CONSEQUENCES: Final = {
    "net.ipv4.vs.conntrack": "connections through IPVS are masqueraded and cleaned up by nobody",
    "net.ipv4.vs.expire_nodest_conn": "connections to an endpoint that is gone hang until they time out",
    "net.ipv4.vs.expire_quiescent_template": "kept clients go on to a leaving endpoint",
    "net.ipv4.ip_forward": "no client outside this node reaches an endpoint",
    "net.ipv4.conf.all.arp_ignore": "this node answers ARP for the addresses of Services",
    "net.ipv4.conf.all.arp_announce": "this node tells addresses of Services in ARP",
    REUSE_MODE.name: "a client that uses a port again soon may have to wait a second",
}


def refusal(refused: network.Refused) -> Refusal:
    """A parameter that is not as wanted, with what comes of it."""
    name, found = refused.sysctl.name, refused.found or "unreadable"
    reason = f"{refused.reason}, it is {found}: {CONSEQUENCES[name]}"
    return Refusal(BASE, f"sysctl {name}={refused.sysctl.value}", reason)


def set_sysctls(wanted: Mapping[Sysctl, str], release: str = os.uname().release) -> list[network.Refused]:
    """Write parameters where they differ; those that cannot be written."""
    several = [network.Sysctl(key.name, value) for key, value in wanted.items()]
    if several and wants_reuse_off(release):
        several.append(REUSE_MODE)
    return [refused for one in several if (refused := network.ensure(one)) is not None]


def read_sysctls(names: Iterable[Sysctl]) -> Iterator[tuple[Sysctl, str]]:
    """The parameters as they stand."""
    for key in names:
        yield key, (network.PROC_SYS / key.name.replace(".", "/")).read_text(encoding="ascii").strip()
