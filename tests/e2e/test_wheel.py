"""The wheel, as pip installs it into an environment where nothing else of this checkout is found.

What kproxy needs comes from this environment, so that no index is asked; `scripts/wheel` does all of it as users do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.machine import ROOT
from tests.docs.generated import COMPLETIONS, MAN

PACKED = ("kproxy", "backends", "conntrack", "share", "pyproject.toml", "README.md", "LICENSE")
"""What the wheel is made from: the image's build has no more either."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*command], capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=300)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in this checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKED:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, source / name)
    built = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", built, source)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; our dependencies are lent to it."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    (packages,) = home.glob("lib/python*/site-packages")
    (lent,) = (Path(sys.prefix) / "lib").glob("python*/site-packages")
    # A path, not a site directory: the .pth file that leads to this checkout is not read there.
    (packages / "lent.pth").write_text(f"{lent}\n")
    run(*PIP, "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    return home


def kproxy(installed: Path, arguments: Sequence[str], cwd: Path) -> str:
    return run(installed / "bin" / "kproxy", *arguments, cwd=cwd)


def test_the_command_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "bin" / "python", "-c", "import kproxy; print(kproxy.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed)
    assert kproxy(installed, ["version"], tmp_path).startswith("kproxy ")


@pytest.mark.parametrize("backend", ["nftables", "iptables", "ipvs"])
def test_every_backend_works_from_the_wheel(installed: Path, tmp_path: Path, backend: str) -> None:
    shop = str(ROOT / "examples" / "shop")
    assert "10.96.0.81" in kproxy(installed, ["render", "--backend", backend, "-f", shop], tmp_path)


def test_the_entry_points_name_what_can_be_loaded(installed: Path, tmp_path: Path) -> None:
    script = (
        "from importlib.metadata import distribution\n"
        "for one in distribution('kproxy').entry_points.select(group='kproxy.backends'):\n"
        "    print(one.load().name == one.name, one.name)"
    )
    said = run(installed / "bin" / "python", "-c", script, cwd=tmp_path)
    assert sorted(said.splitlines()) == ["True iptables", "True ipvs", "True nftables"]


def test_man_pages_and_completion_come_with_it(installed: Path) -> None:
    pages = {one.name for one in (installed / "share" / "man" / "man1").iterdir()}
    assert {one.name for one in MAN.iterdir()} <= pages
    for script in COMPLETIONS.values():
        assert (installed / script.relative_to(ROOT)).read_text() == script.read_text()


def test_nothing_but_the_product_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    (version,) = {root.removesuffix(".dist-info") for root in roots if root.endswith(".dist-info")}
    assert roots == {"kproxy", "backends", "conntrack", f"{version}.dist-info", f"{version}.data"}
    assert all(f"{package}/py.typed" in names for package in ("kproxy", "backends", "conntrack"))
