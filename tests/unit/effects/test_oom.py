from __future__ import annotations

from pathlib import Path

from kproxy.effects.oom import OWN, adjust


def test_it_is_written_where_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "score"
    path.write_text("0\n")
    assert adjust(-999, path) == ""
    assert path.read_text() == "-999"
    path.write_text("-999\n")
    assert adjust(-999, path) == ""
    assert path.read_text() == "-999\n"


def test_a_refusal_is_a_reason(tmp_path: Path) -> None:
    assert adjust(-999, tmp_path / "none") == "No such file or directory"


def test_the_kernel_takes_its_own_score() -> None:
    assert adjust(int(OWN.read_text())) == ""
