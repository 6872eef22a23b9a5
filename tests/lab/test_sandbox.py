"""What the sandbox says where it cannot show a backend."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table

from lab import sandbox


def test_without_ipvs_it_says_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "has_ipvs", lambda: False)
    monkeypatch.setattr(sys, "argv", ["scripts/run", "--backend", "ipvs"])
    said = sandbox.main()
    assert isinstance(said, str)
    assert said.startswith("scripts/run: this kernel has no IPVS (module ip_vs)")
    assert "scripts/uml .venv/bin/python -m lab.sandbox --backend ipvs" in said


def test_no_line_of_a_table_ends_in_blanks_where_a_program_reads() -> None:
    table = Table("Client asks", "Answered by", title="Requests")
    table.add_row("pod", "10.64.1.10")
    table.add_row("a far longer name of somebody", "")
    text = io.StringIO()
    sandbox.show(Console(file=text, width=79), table)
    lines = text.getvalue().splitlines()
    assert any("10.64.1.10" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []
