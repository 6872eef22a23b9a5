"""The pictures of the documentation as SVG: boxes on a grid and arrows between them. Nothing is fetched from anywhere.

A picture is a table: who stands in which column and row, and which arrows lead where. The drawing is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 236, 104, 184, 68, 16
"""In pixels: how far boxes are apart, and how large they are."""
COLOURS = {"hook": "#dbe7ff", "data": "#e2f4e4", "end": "#fde3e1", "people": "#f3ecff"}


@dataclass(frozen=True)
class Box:
    """Something that a packet meets: a heading and up to two lines."""

    column: float
    row: float
    lines: tuple[str, ...]
    kind: str = "data"


@dataclass(frozen=True)
class Picture:
    """Boxes by name, and arrows: from, to, and what is written at them."""

    title: str
    boxes: Mapping[str, Box]
    arrows: tuple[tuple[str, str, str], ...]


WAY = Picture(
    "From the API to the kernel",
    {
        "source": Box(0, 0, ("API server", "or a directory", "of manifests"), "people"),
        "snapshot": Box(1, 0, ("Snapshot", "what the cluster", "says now")),
        "plan": Box(2, 0, ("NodePlan", "every decision", "is taken here")),
        "document": Box(3, 0, ("Document", "what the backend", "makes of it")),
        "kernel": Box(3, 1, ("Kernel", "read back after", "every doubt"), "hook"),
        "change": Box(2, 1, ("Change", "added, changed,", "removed")),
        "explain": Box(1, 1, ("explain, plan,", "render, diff,", "lint, conntrack"), "people"),
    },
    (
        ("source", "snapshot", "fold"),
        ("snapshot", "plan", "plan"),
        ("plan", "document", "compile"),
        ("document", "change", ""),
        ("change", "kernel", "apply"),
        ("plan", "explain", ""),
        ("change", "explain", ""),
    ),
)
NFTABLES = Picture(
    "nftables: one table per family, Services are elements",
    {
        "packet": Box(0, 1, ("new connection", "to a Service"), "people"),
        "dispatch": Box(1, 1, ("dispatch", "from prerouting", "and output (nat)"), "hook"),
        "frontends": Box(2, 0, ("@frontends/<shape>", "address, protocol,", "port: one lookup")),
        "nodeports": Box(2, 1, ("nodeports", "protocol and port,", "on @nodeport-ips")),
        "unlisted": Box(2, 2, ("reject", "ClusterIP,", "no such port"), "end"),
        "unallocated": Box(1, 2, ("unallocated: drop", "postrouting (nat),", "no such ClusterIP"), "end"),
        "shape": Box(3, 0.5, ("frontends/<shape>", "source ranges, then the", "first route that fits")),
        "pool": Box(4, 0.5, ("cluster- / local-pool-n", "dnat to element", "random mod n")),
        "post": Box(4, 1.5, ("postrouting", "mark or hairpin:", "masquerade"), "hook"),
        "refused": Box(3, 2, ("drop, reject", "no endpoint, or not", "from this client"), "end"),
    },
    (
        ("packet", "dispatch", ""),
        ("dispatch", "frontends", ""),
        ("dispatch", "nodeports", ""),
        ("dispatch", "unlisted", ""),
        ("dispatch", "unallocated", ""),
        ("frontends", "shape", ""),
        ("nodeports", "shape", ""),
        ("shape", "pool", ""),
        ("pool", "post", ""),
        ("shape", "refused", ""),
    ),
)
IPTABLES = Picture(
    "iptables: a tree of chains, then one chain per Service port",
    {
        "packet": Box(0, 0.5, ("new connection", "to a Service"), "people"),
        "services": Box(1, 0.5, ("KPROXY-SERVICES", "nat PREROUTING", "and OUTPUT"), "hook"),
        "vips": Box(2, 0, ("KPROXY-VIPS", "tree by address,", "protocol, port")),
        "ports": Box(2, 1, ("KPROXY-NODEPORTS", "tree by protocol", "and port")),
        "fw": Box(3, 0, ("KPROXY-FW-…", "source ranges,", "where there are any")),
        "routes": Box(3, 1, ("KPROXY-INT/-EXT-…", "first route that fits,", "sets the mark")),
        "pool": Box(4, 0.5, ("KPROXY-SVC/-SVL-…", "DNAT, probability 1/n", "per endpoint")),
        "post": Box(4, 1.5, ("KPROXY-POSTROUTING", "mark or hairpin:", "MASQUERADE"), "hook"),
        "filter": Box(2, 2, ("KPROXY-REFUSED", "filter: no endpoint,", "or not this client"), "end"),
    },
    (
        ("packet", "services", ""),
        ("services", "vips", ""),
        ("services", "ports", ""),
        ("vips", "fw", ""),
        ("ports", "routes", ""),
        ("fw", "routes", ""),
        ("routes", "pool", ""),
        ("pool", "post", ""),
        ("services", "filter", ""),
    ),
)
IPVS = Picture(
    "IPVS: sets choose the mark, the kernel chooses the endpoint",
    {
        "packet": Box(0, 1, ("new connection", "to a Service"), "people"),
        "mangle": Box(1, 1, ("KPROXY-… in mangle", "sets give the packet", "a mark, or none"), "hook"),
        "mark": Box(2, 0, ("by firewall mark", "NodePorts, second", "pools of a frontend")),
        "vip": Box(2, 1, ("by address", "all others, on", "kproxy-ipvs0")),
        "none": Box(2, 2, ("filter INPUT", "not a Service's port:", "reject or drop"), "end"),
        "server": Box(3, 0.5, ("virtual server", "rr, lc, mh, …", "chooses")),
        "post": Box(4, 0.5, ("KPROXY-POSTROUTING", "mark or hairpin:", "MASQUERADE"), "hook"),
    },
    (
        ("packet", "mangle", ""),
        ("mangle", "mark", ""),
        ("mangle", "vip", ""),
        ("mangle", "none", ""),
        ("mark", "server", ""),
        ("vip", "server", ""),
        ("server", "post", "nat"),
    ),
)
PICTURES: Mapping[str, Picture] = {"way": WAY, "nftables": NFTABLES, "iptables": IPTABLES, "ipvs": IPVS}


def pictures() -> Mapping[str, str]:
    """The pictures by the names of their files."""
    return {f"{name}.svg": "\n".join(_svg(picture)) + "\n" for name, picture in PICTURES.items()}


def _svg(picture: Picture) -> Iterator[str]:
    width = int(max(box.column for box in picture.boxes.values()) * COLUMN + WIDTH + 2 * MARGIN)
    height = int(max(box.row for box in picture.boxes.values()) * ROW + HEIGHT + 2 * MARGIN)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="sans-serif" font-size="13">'
    )
    yield f"<title>{escape(picture.title)}</title>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
    )
    yield f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>'
    for begin, end, words in picture.arrows:
        yield from _arrow(picture.boxes[begin], picture.boxes[end], words)
    for box in picture.boxes.values():
        yield from _box(box)
    yield "</svg>"


def _corner(box: Box) -> tuple[float, float]:
    return MARGIN + box.column * COLUMN, MARGIN + box.row * ROW


def _box(box: Box) -> Iterator[str]:
    left, top = _corner(box)
    yield (
        f'<rect x="{left:g}" y="{top:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{COLOURS[box.kind]}" stroke="#667"/>'
    )
    middle, first = left + WIDTH / 2, top + HEIGHT / 2 - (len(box.lines) - 1) * 9 + 4
    for number, line in enumerate(box.lines):
        weight = ' font-weight="bold"' if number == 0 else ""
        yield f'<text x="{middle:g}" y="{first + number * 18:g}" text-anchor="middle"{weight}>{escape(line)}</text>'


def _arrow(begin: Box, end: Box, words: str) -> Iterator[str]:
    """From side to side where the columns differ, else from bottom to top."""
    (left, top), (left_end, top_end) = _corner(begin), _corner(end)
    if begin.column == end.column:
        ahead = end.row > begin.row
        x, y = left + WIDTH / 2, top + (HEIGHT if ahead else 0)
        x_end, y_end = left_end + WIDTH / 2, top_end + (0 if ahead else HEIGHT)
    else:
        ahead = end.column > begin.column
        x, y = left + (WIDTH if ahead else 0), top + HEIGHT / 2
        x_end, y_end = left_end + (0 if ahead else WIDTH), top_end + HEIGHT / 2
    yield (
        f'<line x1="{x:g}" y1="{y:g}" x2="{x_end:g}" y2="{y_end:g}" stroke="#555" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )
    if words:
        yield (
            f'<text x="{(x + x_end) / 2:g}" y="{(y + y_end) / 2 - 5:g}" text-anchor="middle" font-size="11" '
            f'fill="#333">{escape(words)}</text>'
        )
