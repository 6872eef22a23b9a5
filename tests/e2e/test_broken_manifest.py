"""A manifest breaks on a node that serves: what stands stays, whoever is asked says so, and one backend is left."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pages import PATIENCE_S, is_ready, until
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import Ran, run_program, running

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a")
NFTABLES = ("--backend", "nftables")


def once(directory: Path, backend: str = "nftables") -> Ran:
    return run_program("run", "--once", "--backend", backend, "--source", str(directory), *NODE)


def differs(directory: Path) -> int:
    return run_program("diff", *NFTABLES, "-f", str(directory), *NODE).code


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MANIFESTS / "shop", tmp_path / "shop"))


def broken(directory: Path) -> Callable[[], object]:
    """Break the manifest; what is returned mends it."""
    path = directory / "shop.yaml"
    text = path.read_text()
    path.write_text(text.replace("ports:", "ports: [", 1))
    return lambda: path.write_text(text)


def status() -> Any:
    return json.loads(run_program("status", "-o", "json").out)


def test_a_single_sync_with_a_broken_manifest_takes_nothing_away(shop: Path) -> None:
    def life() -> tuple[Sequence[Ran], int]:
        first = once(shop)
        mend = broken(shop)
        second = once(shop)
        mend()
        return (first, second), differs(shop)

    (first, second), after = in_new_namespace(life)
    assert first.code == 0
    assert second.code == 2
    assert f"nothing was programmed, the rules of before stay in force until this is mended: {shop}/shop.yaml:" in (
        second.err
    )
    assert after == 0


def test_a_single_sync_of_half_a_source_on_a_fresh_kernel_ends_with_its_fault(shop: Path) -> None:
    broken(shop)
    ran = in_new_namespace(lambda: once(shop))
    assert ran.code == 2
    assert f"what can be read is in force, but not what this hides: {shop}/shop.yaml:" in ran.err


def test_a_running_agent_tells_of_a_file_that_breaks_and_stays_healthy(shop: Path) -> None:
    def life() -> tuple[Any, Ran, int]:
        with running("run", *NFTABLES, "--source", str(shop), *NODE) as process:
            until(is_ready)
            mend = broken(shop)
            until(lambda: bool(status()["sourceFaults"]["faults"]))
            found, told = status(), run_program("status")
            mend()
            until(lambda: not status()["sourceFaults"]["faults"])
            process.terminate()
            process.wait(PATIENCE_S)
            return found, told, differs(shop)

    found, told, after = in_new_namespace(life)
    assert found["healthy"]
    assert found["ready"]
    assert told.code == 0
    assert "source in trouble since 20" in told.err
    assert f"what is known stays in force: {shop}/shop.yaml:" in told.err
    assert after == 0


def test_a_single_sync_leaves_the_rules_of_one_backend(shop: Path) -> None:
    def life() -> tuple[Ran, Ran, Ran]:
        once(shop, "iptables")
        ran = once(shop)
        alone = run_program("audit", "-f", str(shop), *NODE)
        return ran, alone, run_program("run", "--once", "--backend", "iptables", "--source", str(shop), *NODE)

    ran, alone, back = in_new_namespace(life)
    assert (ran.code, back.code) == (0, 0)
    assert "removed what another backend of kproxy had left" in ran.err
    assert (alone.code, len(alone.out.splitlines())) == (0, 1)
    assert "removed what another backend of kproxy had left" in back.err


def test_two_backends_that_stand_are_a_difference(shop: Path) -> None:
    def life() -> tuple[Ran, Ran]:
        once(shop, "iptables")
        saved = subprocess.run(["iptables-save"], check=True, capture_output=True).stdout
        once(shop)
        subprocess.run(["iptables-restore", "--noflush"], check=True, input=saved)
        return (
            run_program("audit", "-f", str(shop), "--family", "ipv4", *NODE),
            run_program("doctor", *NODE),
        )

    both, doctor = in_new_namespace(life)
    assert both.code == 1
    assert "kproxy, iptables: stands beside nftables, and may send packets first" in both.out
    assert "kproxy, nftables: stands beside iptables, and may send packets first" in both.out
    assert "kproxy run takes the other backend's away once its own rules stand" in doctor.out
