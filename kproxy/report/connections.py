"""Flows of the connection table for people and programs: each format a generator of text, nothing kept."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from conntrack.entry import Counters, Entry, Tuple
from conntrack.layout import Status
from conntrack.query import Seen

FORMATS = ("table", "wide", "json", "yaml", "csv")

COLUMNS: Mapping[str, tuple[int, Callable[[Seen], str]]] = {
    "PROTO": (6, lambda seen: seen.entry.protocol_name),
    "STATE": (12, lambda seen: progress(seen.entry)),
    "CLIENT": (22, lambda seen: place(seen.entry.original.source, seen.entry.original.source_port)),
    "TO": (22, lambda seen: place(seen.entry.original.destination, seen.entry.original.destination_port)),
    "ENDPOINT": (22, lambda seen: place(seen.entry.reply.source, seen.entry.reply.source_port)),
    "NAT": (9, lambda seen: nat(seen.entry)),
    "EXPIRES": (8, lambda seen: duration(seen.entry.timeout_s)),
    "SERVICE": (0, lambda seen: str(seen.door or "") + (f"  STALE: {seen.reason}" if seen.reason else "")),
}
"""What a line shows, and how wide at least; values that are longer push the rest to the right."""

WIDE: Mapping[str, tuple[int, Callable[[Seen], str]]] = {
    **{name: column for name, column in COLUMNS.items() if name != "SERVICE"},
    "PACKETS": (12, lambda seen: counted(seen.entry, "packets")),
    "BYTES": (14, lambda seen: counted(seen.entry, "bytes")),
    "SINCE": (21, lambda seen: moment(seen.entry.start_ns)),
    "MARK": (8, lambda seen: f"{seen.entry.mark:#x}"),
    "ZONE": (5, lambda seen: str(seen.entry.zone)),
    "ID": (11, lambda seen: str(seen.entry.id or "")),
    "SERVICE": COLUMNS["SERVICE"],
}


def place(address: str, port: int | None) -> str:
    """`10.0.0.1:80`, `[fd00::1]:80`; the address alone where there is no port."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def progress(entry: Entry) -> str:
    """The protocol's state; where it has none, how far the flow has come."""
    if entry.state_name:
        return entry.state_name
    if not entry.replied:
        return "UNREPLIED"
    return "ASSURED" if entry.status & Status.ASSURED else "REPLIED"


def nat(entry: Entry) -> str:
    """`dnat,snat`, `-` where nothing is translated."""
    return ",".join(name for name, translated in (("dnat", entry.dnat), ("snat", entry.snat)) if translated) or "-"


def duration(seconds: int | None) -> str:
    """`95s`, `12m`, `119h`; `-` where there is none."""
    if seconds is None:
        return "-"
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def moment(nanoseconds: int | None) -> str:
    """RFC 3339 in UTC; empty where the kernel keeps no timestamps."""
    if nanoseconds is None:
        return ""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted(entry: Entry, what: str) -> str:
    """`original/reply`; `-` where the kernel does not count."""
    if entry.original_counters is None or entry.reply_counters is None:
        return "-"
    return f"{getattr(entry.original_counters, what)}/{getattr(entry.reply_counters, what)}"


def flow_object(seen: Seen) -> dict[str, object]:
    """A flow as plain data, in the API's manner; what does not apply is left out."""
    entry = seen.entry
    shown: dict[str, object] = {
        "family": entry.family.label,
        "protocol": entry.protocol_name,
        "state": progress(entry),
        "status": _flags(entry.status),
        "original": _tuple_object(entry.original, entry.original_counters),
        "reply": _tuple_object(entry.reply, entry.reply_counters),
        "timeoutSeconds": entry.timeout_s,
        "mark": entry.mark,
        "zone": entry.zone,
        "startTime": moment(entry.start_ns),
        "stopTime": moment(entry.stop_ns),
        "helper": entry.helper,
        "id": entry.id,
        "service": str(seen.door.service) if seen.door else None,
        "port": seen.door.port if seen.door else None,
        "stale": seen.reason.value if seen.reason else None,
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}


def json_text(seen: Seen) -> str:
    """A flow as a JSON object."""
    return msgspec.json.encode(flow_object(seen)).decode()


@functools.lru_cache(maxsize=4096)
def _flags(status: Status) -> list[str | None]:
    return [flag.name for flag in status]


def _tuple_object(one: Tuple, counters: Counters | None) -> dict[str, object]:
    shown = {
        "source": one.source,
        "sourcePort": one.source_port,
        "destination": one.destination,
        "destinationPort": one.destination_port,
        "icmpType": one.icmp_type,
        "icmpCode": one.icmp_code,
        "icmpId": one.icmp_id,
        "zone": one.zone,
        "packets": counters.packets if counters else None,
        "bytes": counters.bytes if counters else None,
    }
    return {name: value for name, value in shown.items() if value is not None}


CSV_COLUMNS = (
    "family", "protocol", "state", "client", "clientPort", "destination", "destinationPort", "endpoint", "endpointPort",
    "replyDestination", "replyDestinationPort", "nat", "timeoutSeconds", "mark", "zone", "packets", "bytes",
    "replyPackets", "replyBytes", "startTime", "id", "service", "port", "stale",
)  # fmt: skip


def csv_row(seen: Seen) -> list[object]:
    """A flow's values in the order of `CSV_COLUMNS`."""
    entry, original, reply = seen.entry, seen.entry.original, seen.entry.reply
    here, there = entry.original_counters, entry.reply_counters
    return [
        entry.family.label, entry.protocol_name, progress(entry), original.source, original.source_port,
        original.destination, original.destination_port, reply.source, reply.source_port,
        reply.destination, reply.destination_port, nat(entry), entry.timeout_s, entry.mark, entry.zone,
        *((here.packets, here.bytes) if here else (None, None)),
        *((there.packets, there.bytes) if there else (None, None)),
        moment(entry.start_ns), entry.id,
        *((seen.door.service, seen.door.port) if seen.door else (None, None)), seen.reason,
    ]  # fmt: skip


def lines(form: str, flows: Iterable[Seen]) -> Iterator[str]:
    """The flows in one of `FORMATS`, as text with its line ends, as they come."""
    return {"json": _json, "yaml": _yaml, "csv": _csv}.get(form, _wide if form == "wide" else _table)(flows)


def header(form: str) -> str:
    """The line of headings of a table; empty for what has none."""
    return _padded(_columns(form), list(_columns(form))) if form in ("table", "wide") else ""


def line(form: str, seen: Seen) -> str:
    """One flow on a line of its own: a row of a table or of CSV, or a JSON object."""
    if form in ("table", "wide"):
        columns = _columns(form)
        return _padded(columns, [show(seen) for _, show in columns.values()])
    return csv_text([csv_row(seen)]) if form == "csv" else f"{json_text(seen)}\n"


def _columns(form: str) -> Mapping[str, tuple[int, Callable[[Seen], str]]]:
    return WIDE if form == "wide" else COLUMNS


def _padded(columns: Mapping[str, tuple[int, object]], cells: Sequence[str]) -> str:
    widths = (width for width, _ in columns.values())
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"


def _table(flows: Iterable[Seen]) -> Iterator[str]:
    yield header("table")
    for seen in flows:
        yield line("table", seen)


def _wide(flows: Iterable[Seen]) -> Iterator[str]:
    yield header("wide")
    for seen in flows:
        yield line("wide", seen)


def _json(flows: Iterable[Seen]) -> Iterator[str]:
    separator = "[\n"
    for seen in flows:
        yield separator + json_text(seen)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _yaml(flows: Iterable[Seen]) -> Iterator[str]:
    """A list whose items are JSON objects: YAML 1.2 all the same, and fast."""
    empty = True
    for seen in flows:
        empty = False
        yield f"- {json_text(seen)}\n"
    if empty:
        yield "[]\n"


def _csv(flows: Iterable[Seen]) -> Iterator[str]:
    yield csv_text([CSV_COLUMNS])
    for seen in flows:
        yield csv_text([csv_row(seen)])


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV; None is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
