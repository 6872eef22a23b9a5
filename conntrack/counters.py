"""The kernel's counters of connection tracking, per processor, with what each means to an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kproxy.core.values import Value
from kproxy.netlink.attributes import number, read
from kproxy.netlink.messages import NFGENMSG, Message

_NAMES: Mapping[int, str] = {
    2: "found", 4: "invalid", 8: "insert", 9: "insert_failed", 10: "drop", 11: "early_drop", 12: "error",
    13: "search_restart", 14: "clash_resolve", 15: "chain_toolong",
}  # fmt: skip
"""CTA_STATS_*; the others have been unused since Linux 4.9 (searched, new, delete, …) and read zero, or are gone."""

MEANINGS: Mapping[str, str] = {
    "found": "lookups that found a flow when a new one was to be tracked; harmless",
    "invalid": "packets that belong to no valid flow (out of window, no such connection); clients may see resets",
    "insert": "flows entered into the table by a user-space program",
    "insert_failed": "new flows lost a race against an identical one and their packet was dropped: "
    "DNS clients wait 5 s; avoid parallel queries from one socket",
    "drop": "packets dropped because no flow could be made: the table is full or memory is short",
    "early_drop": "unanswered flows pushed out to make room: the table is, or was, full",
    "error": "packets with broken ICMP or protocol headers",
    "search_restart": "lookups begun anew because the table was changing or being resized; harmless unless it races up",
    "clash_resolve": "races between identical new flows that were settled without losing a packet; harmless",
    "chain_toolong": "flows refused because too many fall into one hash bucket: raise nf_conntrack_buckets",
}

HARMFUL = ("drop", "insert_failed", "early_drop", "chain_toolong")
"""What means lost packets or cut flows."""


class Limits(Value, frozen=True):
    """How full the table is. `maximum` 0: no limit."""

    entries: int
    maximum: int

    @property
    def usage(self) -> float:
        """Share of the maximum, 0 to 1 (beyond when the maximum was lowered); 0 without a limit."""
        return self.entries / self.maximum if self.maximum else 0.0


CpuCounters = Mapping[str, int]
"""By the names of `MEANINGS`, all that this kernel has."""


def read_cpu(messages: Iterable[Message]) -> dict[int, CpuCounters]:
    """The counters of each processor, from the answer to `requests.CPU_COUNTERS`."""
    counters: dict[int, CpuCounters] = {}
    for message in messages:
        _, _, processor = NFGENMSG.unpack_from(message.payload)
        values = read(message.payload[NFGENMSG.size :])
        counters[processor] = {name: number(values[kind]) for kind, name in _NAMES.items() if kind in values}
    return counters


def total(counters: Mapping[int, CpuCounters]) -> CpuCounters:
    """The sum over all processors."""
    names = dict.fromkeys(name for one in counters.values() for name in one)
    return {name: sum(one.get(name, 0) for one in counters.values()) for name in names}


def read_limits(message: Message) -> Limits:
    """Entries and maximum, from the answer to `requests.LIMITS`; kernels before 5.x do not tell the maximum (0)."""
    values = read(message.payload[NFGENMSG.size :])
    return Limits(number(values.get(1, b"")), number(values.get(2, b"")))
