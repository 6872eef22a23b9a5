"""What the DaemonSet gives to the agent is enough: root with two capabilities, and nothing to gain any more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import COMMAND, TIMEOUT_S

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a", "--source", str(MANIFESTS / "shop"))
LIMITS = ("setpriv", "--bounding-set", "-all,+net_admin,+net_raw", "--inh-caps", "-all", "--no-new-privs")


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_two_capabilities_are_enough(backend: str) -> None:
    def body() -> tuple[subprocess.CompletedProcess[str], str]:
        command = [*LIMITS, *COMMAND, "run", "--once", "--backend", backend, *NODE]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return ran, subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout

    ran, rules = in_new_namespace(body)
    assert ran.returncode == 0, ran.stderr
    assert "10.96.0.10" in rules


def test_none_at_all_is_told_with_the_remedy() -> None:
    def body() -> subprocess.CompletedProcess[str]:
        command = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *COMMAND, "run", "--once", *NODE]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    ran = in_new_namespace(body)
    assert ran.returncode == 3, ran.stderr
    assert "CAP_NET_ADMIN" in ran.stderr
