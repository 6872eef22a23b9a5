"""The benchmark's table: ours, kube-proxy's layout, the ratio, and the target where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Result = Mapping[str, Any]

ROWS = (
    ("start to all programmed", "s", "programmed_s"),
    ("  of it processor time", "s", "cpu_s"),
    ("endpoint change to kernel, median", "ms", "change_ms"),
    ("resident memory", "MB", "rss_mb"),
)
TARGETS: Mapping[tuple[str, str, int], float] = {
    ("iptables", "programmed_s", 1000): 1,
    ("iptables", "programmed_s", 5000): 3,
    ("iptables", "programmed_s", 10000): 8,
    ("iptables", "change_ms", 5000): 80,
    ("ipvs", "programmed_s", 10000): 3,
    ("nftables", "programmed_s", 10000): 2.5,
    ("nftables", "programmed_s", 100000): 25,
    ("nftables", "change_ms", 1000): 10,
    ("nftables", "change_ms", 5000): 10,
    ("nftables", "change_ms", 10000): 10,
    ("nftables", "change_ms", 100000): 50,
}
MEMORY_TARGETS_MB = {1000: 75.0, 10000: 150.0}
FIRST_PACKET_TARGET = 1.5


def show(report: Result) -> None:
    """Print the whole report, a table per backend."""
    machine = report["machine"]
    console = Console(width=120)
    console.print(
        f"Linux {machine['kernel']}, {machine['cores']} cores, Python {machine['python']}, "
        f"{', '.join(machine['tools'])}; load at the end {machine['load']:.1f}; "
        f"{report['endpoints']} endpoints per Service"
    )
    for backend, sizes in report["results"].items():
        console.print(_table(backend, sizes))
    console.print(
        "kproxy: a fresh process that decodes API lists from files and programs them (no HTTP).\n"
        "kube-proxy's layout: its rules alone, loaded by the same tool (no process, no API).\n"
        "First packet: median connect(2), relative to a connect without a Service in the same run."
    )


def _table(backend: str, sizes: Mapping[int, Result]) -> Table:
    table = Table(title=f"{backend}", title_justify="left")
    for heading in ("Services", "", "kproxy", "kube-proxy's layout", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    small = min(sizes)
    for size, pair in sizes.items():
        for row in _rows(backend, size, pair, sizes[small]):
            table.add_row(*row)
        table.add_section()
    return table


def _rows(backend: str, size: int, pair: Result, small: Result) -> Iterator[tuple[str, ...]]:
    ours, theirs = pair["ours"], pair["reference"]
    for place, (label, unit, key) in enumerate(ROWS):
        target = MEMORY_TARGETS_MB.get(size) if key == "rss_mb" else TARGETS.get((backend, key, size))
        yield (
            f"{size:,}" if place == 0 else "",
            f"{label}, {unit}",
            _number(ours.get(key)),
            _theirs(theirs, key),
            _ratio(ours.get(key), theirs.get(key)),
            f"≤ {target:g}" if target else "",
        )
    yield _first_packet(ours, theirs, "connect to the last Service, µs", lambda one: one["connect_us"]["last"])
    if small["ours"] is not ours:
        yield (
            "",
            "  against the first of the smallest",
            *(_times(_relative(pair[who], "last"), _relative(small[who], "first")) for who in ("ours", "reference")),
            "",
            f"≤ {FIRST_PACKET_TARGET:g} x",
        )


def _first_packet(ours: Result, theirs: Result, label: str, value: Callable[[Result], float]) -> tuple[str, ...]:
    other = value(theirs) if "connect_us" in theirs else None
    return ("", label, _number(value(ours)), _number(other), _ratio(value(ours), other), "")


def _relative(result: Result, place: str) -> float | None:
    """A connect's time in units of a connect without a Service."""
    if "connect_us" not in result:
        return None
    value: float = result["connect_us"][place] / result["connect_us"]["direct"]
    return value


def _times(one: float | None, other: float | None) -> str:
    return "" if one is None or other is None else f"{one / other:.2f} x"


def _theirs(theirs: Result, key: str) -> str:
    if key == "programmed_s" and "not_finished_in_s" in theirs:
        return f"not in {theirs['not_finished_in_s']}"
    return _number(theirs.get(key))


def _ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours is not None and theirs else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
