"""The short form of the soak with a real agent, and that it sees what it is for."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.churn import Sample, Soaked, judged, picture, slower, soak, summary, trend
from tests.bench.plot import PANEL, WIDTH

SECONDS = 75.0
FINE = [(float(at_s), {"results": {"answered": 50}, "median_ms": 1.0, "worst_ms": 9.0}) for at_s in range(100)]
CHANGES = [(float(at_s), 40.0) for at_s in range(100)]


def seen(memory: Callable[[int], float], threads: Callable[[int], int] = lambda _: 9) -> Soaked:
    samples = [Sample(float(at_s), memory(at_s), threads(at_s), 20) for at_s in range(100)]
    return Soaked(samples, CHANGES, FINE)


@pytest.mark.root
def test_nothing_grows_and_no_connection_is_lost(note: Callable[[str], None], tmp_path: Path) -> None:
    """The time of latencies is drawn, not judged: other tests may run beside it."""
    found = soak("nftables", SECONDS, random.Random(2), lambda _: None)
    (tmp_path / "soak.png").write_bytes(picture(found, "nftables"))
    note(f"soak of {SECONDS:.0f} s: {summary(found)}")
    assert list(judged(found)) == []
    assert found.changes_ms


def test_growth_is_seen_and_noise_is_not() -> None:
    noise = random.Random(4)
    assert list(judged(seen(lambda _: 40 + noise.uniform(-6, 6)))) == []
    assert list(judged(seen(lambda at_s: 40.0 if at_s < 20 else 90.0))) == []  # the warm-up
    assert next(judged(seen(lambda at_s: 40 + at_s * 0.2 + noise.uniform(-3, 3)))).startswith("memory_mib grew")
    assert next(judged(seen(lambda _: 40.0, lambda at_s: 9 + at_s // 10))).startswith("threads grew")


def test_lost_connections_are_seen() -> None:
    lost = [(at_s, one | {"results": {"answered": 40, "TimeoutError": 10}}) for at_s, one in FINE]
    assert "TimeoutError" in next(judged(seen(lambda _: 40.0)._replace(pulses=lost)))
    nothing = [(at_s, one | {"results": {}}) for at_s, one in FINE]
    assert list(judged(seen(lambda _: 40.0)._replace(pulses=nothing))) == ["no connection was answered"]


def test_a_trend_is_that_of_most_points() -> None:
    points = [(float(x), x * 2.0) for x in range(11)]
    assert trend(points) == pytest.approx(20)
    assert trend([*points[:5], (5.0, 1e6), *points[6:]]) == pytest.approx(20)
    assert trend(points[:1]) == 0
    assert slower([(float(x), float(x**3)) for x in range(100)])
    assert not slower([(float(x), 40.0) for x in range(100)])


def test_the_picture_is_a_png_with_curves_in_it() -> None:
    png = picture(seen(lambda _: 40.0), "nftables")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (WIDTH, 3 * PANEL)
    length = int.from_bytes(png[33:37], "big")
    pixels = zlib.decompress(png[41 : 41 + length])
    assert len(pixels) == 3 * PANEL * (1 + 3 * WIDTH)
    assert bytes((31, 119, 180)) in pixels
    assert bytes((214, 39, 40)) in pixels
