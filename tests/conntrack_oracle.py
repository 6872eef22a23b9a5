"""What conntrack-tools says of a flow, as an Entry: `conntrack -L -o extended,id` read field by field."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec

from conntrack.entry import Counters, Entry, Tuple
from conntrack.layout import STATE_NAMES, Status
from kproxy.core.values import Family

SHOWN = Status.SEEN_REPLY | Status.ASSURED
"""All of the status that conntrack-tools prints."""


def listed(family: str) -> list[Entry]:
    """The flows of `ipv4` or `ipv6` in this namespace."""
    command = ["conntrack", "-L", "-f", family, "-o", "extended,id"]
    return read(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read(text: str) -> list[Entry]:
    return [_entry(line.split()) for line in text.splitlines() if line.strip()]


def comparable(entry: Entry) -> Entry:
    """The part of an entry that conntrack-tools shows; its time-out runs, so only that there is one can be compared."""
    return msgspec.structs.replace(
        entry,
        status=entry.status & SHOWN,
        timeout_s=None if entry.timeout_s is None else -1,
        start_ns=None,
        stop_ns=None,
    )


def _entry(words: Sequence[str]) -> Entry:
    family, protocol = Family(4 if words[0] == "ipv4" else 6), int(words[3])
    state = STATE_NAMES[protocol].index(words[5]) if protocol in STATE_NAMES else None
    pairs: dict[str, list[str]] = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if is_pair:
            pairs.setdefault(name, []).append(value)
    status = Status(0) if "[UNREPLIED]" in words else Status.SEEN_REPLY
    if "[ASSURED]" in words:
        status |= Status.ASSURED
    return Entry(
        family,
        protocol,
        _tuple(pairs, 0, "zone-orig"),
        _tuple(pairs, 1, "zone-reply"),
        state,
        status,
        -1,
        int(pairs.get("mark", ["0"])[0]),
        int(pairs.get("zone", ["0"])[0]),
        _counters(pairs, 0),
        _counters(pairs, 1),
        helper=pairs.get("helper", [""])[0],
        use=int(pairs["use"][0]),
        id=int(pairs["id"][-1]),
    )


def _tuple(pairs: dict[str, list[str]], index: int, zone: str) -> Tuple:
    def number(name: str) -> int | None:
        return int(pairs[name][index]) if name in pairs else None

    # `id` is ICMP's in both tuples, and then the flow's own at the end.
    icmp_id = int(pairs["id"][index]) if "type" in pairs else None
    return Tuple(
        pairs["src"][index],
        pairs["dst"][index],
        number("sport"),
        number("dport"),
        number("type"),
        number("code"),
        icmp_id,
        int(pairs[zone][0]) if zone in pairs else None,
    )


def _counters(pairs: dict[str, list[str]], index: int) -> Counters | None:
    return Counters(int(pairs["packets"][index]), int(pairs["bytes"][index])) if "packets" in pairs else None
