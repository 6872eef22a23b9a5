"""Curves over time as a PNG: panels one below the other, with titles, axes and numbers. Nothing but zlib is needed."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, PANEL, LEFT, TOP, RIGHT, BOTTOM = 960, 220, 80, 30, 20, 26
WHITE, BLACK, GREY = (255, 255, 255), (40, 40, 40), (215, 215, 215)
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44))
GLYPH_WIDTH, GLYPH_HEIGHT, SIZE = 5, 7, 2
GLYPHS = {
    " ": "0000000000", "%": "2313086462", "(": "001C224100", ")": "0041221C00", ",": "0050300000", "-": "0808080808",
    ".": "0060600000", "/": "2010080402", "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31",
    "4": "1814127F10", "5": "2745454539", "6": "3C4A494930", "7": "0171090503", "8": "3649494936", "9": "064949291E",
    ":": "0036360000", "A": "7E1111117E", "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941",
    "F": "7F09090901", "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01", "K": "7F08142241",
    "L": "7F40404040", "M": "7F020C027F", "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E",
    "R": "7F09192946", "S": "4649494931", "T": "01017F0101", "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F",
    "X": "6314081463", "Y": "0708700807", "Z": "6151494543",
}  # fmt: skip
"""By columns, the lowest bit on top."""

Points = Sequence[tuple[float, float]]
Colour = tuple[int, int, int]


class Panel(NamedTuple):
    """Curves that share an axis, which begins at zero; names of curves are in the title."""

    title: str
    curves: Sequence[Points]


class Canvas:
    """Pixels, three bytes each."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(WHITE * (width * height))

    def dot(self, x: int, y: int, colour: Colour) -> None:
        """One pixel; outside is nothing."""
        if 0 <= x < self.width and 0 <= y < self.height:
            at = 3 * (y * self.width + x)
            self.pixels[at : at + 3] = bytes(colour)

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        """A straight one."""
        (x, y), (to_x, to_y) = start, end
        steps = max(abs(to_x - x), abs(to_y - y), 1)
        for step in range(steps + 1):
            self.dot(round(x + (to_x - x) * step / steps), round(y + (to_y - y) * step / steps), colour)

    def text(self, x: int, y: int, text: str, colour: Colour = BLACK) -> None:
        """In capitals, from its upper left corner."""
        for number, letter in enumerate(text.upper()):
            columns = bytes.fromhex(GLYPHS.get(letter, GLYPHS["-"]))
            for column, bits in enumerate(columns):
                for row in range(GLYPH_HEIGHT):
                    if bits >> row & 1:
                        left = x + (number * (GLYPH_WIDTH + 1) + column) * SIZE
                        for dx in range(SIZE):
                            for dy in range(SIZE):
                                self.dot(left + dx, y + row * SIZE + dy, colour)

    def png(self) -> bytes:
        """The picture (PNG, 8 bits, RGB)."""
        stride = 3 * self.width
        rows = b"".join(b"\0" + self.pixels[at : at + stride] for at in range(0, len(self.pixels), stride))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )


def plot(panels: Sequence[Panel]) -> bytes:
    """The panels over one axis of seconds."""
    canvas = Canvas(WIDTH, PANEL * len(panels))
    last_s = max((x for panel in panels for curve in panel.curves for x, _ in curve), default=1.0) or 1.0
    for number, panel in enumerate(panels):
        _draw(canvas, panel, number * PANEL, last_s)
    return canvas.png()


def _draw(canvas: Canvas, panel: Panel, top: int, last_s: float) -> None:
    most = max((y for curve in panel.curves for _, y in curve), default=1.0) * 1.1 or 1.0
    width, height = WIDTH - LEFT - RIGHT, PANEL - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[int, int]:
        return LEFT + round(x / last_s * width), top + TOP + height - round(y / most * height)

    canvas.text(LEFT, top + 8, panel.title)
    for part in range(5):
        at, value = part / 4 * last_s, part / 4 * most
        canvas.line(place(0, value), place(last_s, value), GREY)
        canvas.text(4, place(0, value)[1] - GLYPH_HEIGHT, f"{value:.4g}")
        canvas.text(place(at, 0)[0] - (40 if part == 4 else 0), top + PANEL - BOTTOM + 6, f"{at:.0f} s")
    canvas.line(place(0, 0), place(0, most), BLACK)
    canvas.line(place(0, 0), place(last_s, 0), BLACK)
    for curve, colour in zip(panel.curves, COLOURS, strict=False):
        places = [place(x, y) for x, y in curve]
        for start, end in itertools.pairwise(places):
            canvas.line(start, end, colour)
