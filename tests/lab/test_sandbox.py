"""What the sandbox says where it cannot show a backend."""

from __future__ import annotations

import sys

import pytest

from lab import sandbox


def test_without_ipvs_it_says_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "has_ipvs", lambda: False)
    monkeypatch.setattr(sys, "argv", ["scripts/run", "--backend", "ipvs"])
    said = sandbox.main()
    assert isinstance(said, str)
    assert said.startswith("scripts/run: this kernel has no IPVS (module ip_vs)")
    assert "scripts/uml .venv/bin/python -m lab.sandbox --backend ipvs" in said
