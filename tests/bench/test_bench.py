"""The benchmark still runs; what it measures is nobody's pass or fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.report import show

pytestmark = pytest.mark.root


@pytest.mark.parametrize("backend", ["iptables", "nftables", pytest.param("ipvs", marks=pytest.mark.ipvs)])
def test_a_small_run_measures_both_sides(backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--backend", backend, "--services", "120", "--endpoints", "2"]
    subprocess.run([*command, "--json", str(figures)], check=True, capture_output=True)
    report = json.loads(figures.read_text())
    pair = report["results"][backend]["120"]
    for side in ("ours", "reference"):
        assert pair[side]["programmed_s"] > 0
        assert pair[side]["change_ms"] > 0
        assert set(pair[side]["connect_us"]) == {"direct", "first", "middle", "last"}
    assert pair["ours"]["rss_mb"] > 10
    sizes = {int(size): one for size, one in report["results"][backend].items()}
    sizes[120]["reference"] = {"not_finished_in_s": 60}
    show({**report, "results": {backend: sizes}})
    printed = capsys.readouterr().out
    assert "not in 60" in printed
    assert "against the first of the smallest" in printed


def test_a_small_table_of_connections_is_measured_beside_conntracks_own_reading() -> None:
    command = [sys.executable, "-m", "tests.bench", "conntrack", "--flows", "500"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.startswith("500 flows")
    for name in ("conntrack -L", "kproxy conntrack stats", "kproxy conntrack list -o json"):
        assert f"\n{name}  " in printed


def test_looks_and_repairs_are_measured() -> None:
    command = [sys.executable, "-m", "tests.bench", "drift", "--backend", "nftables", "--services", "20"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "nftables      20 Services: " in printed
    assert "put right:\n  nftables  median " in printed
