"""The soak itself, over a small table: it sees what is promised, and what is not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import soak

pytestmark = pytest.mark.root
A_BUSY_MACHINE_S = 300.0


def test_a_small_table_keeps_every_promise(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "HELD_UP_S", A_BUSY_MACHINE_S)
    code = soak.main(["--flows", "3000", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "round 1: 100 removed" in printed
    assert "none to a dead endpoint is left" in printed


def test_flows_that_should_not_have_gone_are_noticed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "_stale", lambda _flows, part: 99 if part == 0 else 0)
    code = soak.main(["--flows", "3000", "--rounds", "1"])
    assert code == 1
    assert "BROKEN: 99 flows should have been removed" in capsys.readouterr().out


def test_no_more_flows_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "nf_conntrack_max"
    limit.write_text("1000\n")
    monkeypatch.setattr(soak, "LIMIT", limit)
    assert [soak.room(flows) for flows in (500, 5000)] == [500, 900]
    limit.write_text("0\n")
    assert soak.room(5000) == 5000
