"""How our link, sets, chains and marks are called, so that they are known as ours without a list of what we made.

Sets begin with `KPROXY-`, chains with `KPROXY-IPVS-`; a set's name also says the family, since
a set has one. A virtual server of ours has scheduler flag 3, which no
scheduler of the kernel reads (include/uapi/linux/ip_vs.h, SCHED3); nothing else
is ever read as ours, changed or removed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from kproxy.core.chains import IPVS_PREFIX, PREFIX, ChainId
from kproxy.core.node_facts import VIP_LINK
from kproxy.core.values import Family

LINK: Final = VIP_LINK

MANGLE, NAT, FILTER = "mangle", "nat", "filter"
SERVICES: Final = ChainId(MANGLE, f"{IPVS_PREFIX}SERVICES")
NODE_PORTS: Final = ChainId(MANGLE, f"{IPVS_PREFIX}NODEPORTS")
REFUSED: Final = ChainId(MANGLE, f"{IPVS_PREFIX}REFUSED")
POSTROUTING: Final = ChainId(NAT, f"{IPVS_PREFIX}POSTROUTING")
MASQUERADE: Final = ChainId(NAT, f"{IPVS_PREFIX}MASQUERADE")
INPUT: Final = ChainId(FILTER, f"{IPVS_PREFIX}INPUT")
FORWARD: Final = ChainId(FILTER, f"{IPVS_PREFIX}FORWARD")
EGRESS: Final = ChainId(NAT, f"{IPVS_PREFIX}EGRESS")
TABLES: Final = (MANGLE, NAT, FILTER)
HOOKS: Final = {
    ChainId(MANGLE, "PREROUTING"): SERVICES,
    ChainId(MANGLE, "OUTPUT"): SERVICES,
    ChainId(NAT, "POSTROUTING"): POSTROUTING,
    ChainId(FILTER, "INPUT"): INPUT,
    ChainId(FILTER, "FORWARD"): FORWARD,
}
"""Which chain of ours a built-in chain jumps to."""

NEVER: Final = frozenset({15})
"""Bits that no mark of ours has: kubelet's older versions drop packets with bit 15."""
TAG: Final = 0b10110
"""With it a mark has 31 bits: ipvsadm 1.31 prints longer ones as negative numbers."""
TAG_SHIFT: Final = 24
SLOTS: Final = 1 << TAG_SHIFT
REJECT_SLOT, DROP_SLOT, FIRST_SLOT = 0, 1, 16


class Sets:
    """The names of one family's sets."""

    def __init__(self, family: Family) -> None:
        start = f"{PREFIX}{family.value}-"
        self.prefix = start
        self.vips = f"{start}VIPS"
        self.fenced = f"{start}FENCED"
        self.allowed = f"{start}ALLOWED"
        self.any, self.node, self.pod = f"{start}ANY", f"{start}NODE", f"{start}POD"
        self.port_any, self.port_node, self.port_pod = f"{start}PORT-ANY", f"{start}PORT-NODE", f"{start}PORT-POD"
        self.hairpin = f"{start}HAIRPIN"
        self.health = f"{start}HEALTH"


SETS: Final = {family: Sets(family) for family in Family}


def mark_for(slot: int, masquerade_bit: int) -> int:
    """The mark of a slot: our tag, then the slot, spread over the bits that we may use."""
    number = TAG << TAG_SHIFT | slot
    mark = place = 0
    while number:
        if place not in NEVER and place != masquerade_bit:
            mark |= (number & 1) << place
            number >>= 1
        place += 1
    return mark


PROBE_MARKS: Final = tuple(mark_for(slot, 14) for slot in range(DROP_SLOT + 1, FIRST_SLOT))
"""Marks that no packet has."""


def allocate(keys: Iterable[str]) -> dict[str, int]:
    """A slot for each key, by its checksum; the same for the same set of keys, and hardly ever moved by another.

    Two keys of one checksum (one pair in 16 million) are settled in the keys' order.
    """
    found: dict[str, int] = {}
    taken: set[int] = set()
    for key in sorted(keys):
        slot = FIRST_SLOT + zlib.crc32(key.encode()) % (SLOTS - FIRST_SLOT)
        while slot in taken:
            slot = FIRST_SLOT + (slot + 1 - FIRST_SLOT) % (SLOTS - FIRST_SLOT)
        taken.add(slot)
        found[key] = slot
    return found
