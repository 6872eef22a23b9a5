"""The backend of docs/examples works as another distribution's would: found by its entry point, and honest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kproxy.core.document import diff
from kproxy.core.values import Family
from kproxy.wiring.backends import backend_names, find_backend
from lab.machine import ROOT
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import Ran, run_program

SOURCE = ROOT / "docs" / "examples" / "textfile"
SHOP = ROOT / "examples" / "shop"
CONFIG = ["--config", str(ROOT / "examples" / "config.yaml")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The distribution, installed by pip into a directory of its own."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, source, dirs_exist_ok=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True, timeout=300)
    return target


@pytest.fixture
def backend(installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setenv("KPROXY_TEXTFILE", str(tmp_path))
    yield find_backend("textfile")
    sys.modules.pop("kproxy_textfile", None)


def kproxy(installed: Path, *arguments: str, **environment: str) -> Ran:
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, (str(installed), before)))
    return run_program(*arguments, env={**os.environ, "PYTHONPATH": path, **environment})


def test_it_is_found_by_its_entry_point(backend: Any) -> None:
    assert "textfile" in backend_names()
    assert backend.name == "textfile"


def test_it_renders_and_says_what_it_leaves_out(installed: Path) -> None:
    ran = kproxy(installed, "render", "--backend", "textfile", "-f", str(SHOP), *CONFIG)
    assert ran.code == 0
    assert "10.96.0.80:80/TCP cluster 10.64.1.10:8080 10.64.1.11:8080 10.64.2.1:8080\n" in ran.out
    assert "source ranges of shop/login: left out" in ran.err


def test_explain_walks_its_lines_and_says_where_it_is_no_proxy(installed: Path) -> None:
    options = ["explain", "--backend", "textfile", "-f", str(SHOP), *CONFIG, "--flow"]
    assert kproxy(installed, *options, "10.64.1.99,10.96.0.80:80/TCP").code == 0
    hairpin = kproxy(installed, *options, "10.64.1.10,10.96.0.80:80/TCP")
    assert (hairpin.code, "THE RULES DISAGREE WITH THE PLAN" in hairpin.err) == (1, True)


@pytest.mark.root
def test_the_agent_writes_its_file_and_diff_finds_it_right(installed: Path, tmp_path: Path) -> None:
    options = ["--backend", "textfile", *CONFIG, "--node-name", "node-a"]
    where = {"KPROXY_TEXTFILE": str(tmp_path)}
    before = kproxy(installed, "diff", "-f", str(SHOP), *options, **where)
    assert (before.code, "+ 10.96.0.80:80/TCP cluster" in before.out) == (1, True)

    def look() -> tuple[Ran, Ran]:
        ran = kproxy(installed, "run", "--once", "--source", str(SHOP), *options, **where)
        return ran, kproxy(installed, "diff", "-f", str(SHOP), *options, **where)

    ran, after = in_new_namespace(look)
    assert (ran.code, after.code) == (0, 0), ran.err + after.err
    assert "10.96.0.80:80/TCP cluster" in (tmp_path / "IPv4.txt").read_text()


def test_its_door_keeps_what_it_is_given(backend: Any) -> None:
    wanted = {"shop/web": {"10.96.0.80:80/TCP": "cluster 10.64.1.10:8080", "*:30080/TCP": "reject"}}
    door = backend.open(Family.IPV4)
    door.apply(diff(door.observe(), wanted))
    assert not diff(door.observe(), wanted)
    door.apply(diff(door.observe(), {}))
    assert not diff(door.observe(), {})
