"""Which capabilities each backend needs, no more and no fewer; without one, the agent names it and the remedy.

`docs/security.md` has the table. Where this kernel has no IPVS, that is tried in `scripts/uml`, with legacy iptables.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from kproxy.core.values import Family
from kproxy.effects.process import run
from kproxy.effects.xtables import NEEDED, Variant, find_tools, read_proc
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import COMMAND, TIMEOUT_S

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a", "--source", str(MANIFESTS / "shop"))
GIVEN = ("net_admin", "net_raw")
"""What the DaemonSet gives."""
LEGACY_TABLES = ("nat", "filter", "mangle")
BACKENDS = ["nftables", "iptables", pytest.param("ipvs", marks=pytest.mark.ipvs)]


def needed(backend: str) -> tuple[str, ...]:
    """In the caller's namespace; the programs of legacy iptables speak by a raw socket."""
    if backend == "nftables" or find_tools(Family.IPV4, run, read_proc).variant is Variant.NFT:
        return ("net_admin",)
    return GIVEN


def run_once(backend: str, capabilities: Collection[str]) -> subprocess.CompletedProcess[str]:
    """Root, with these and no way to more."""
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    limits = ("setpriv", "--bounding-set", bounding, "--inh-caps", "-all", "--no-new-privs")
    command = [*limits, *COMMAND, "run", "--once", "--backend", backend, *NODE]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False)


def load_modules(backend: str) -> None:
    """Modules take CAP_SYS_MODULE, which the DaemonSet's init container has; legacy tables are modules."""
    if needed(backend) == GIVEN:
        for program in ("iptables", "ip6tables"):
            for table in LEGACY_TABLES:
                subprocess.run([program, "-w", "-t", table, "-S"], check=True, capture_output=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_backend_needs_is_enough(backend: str) -> None:
    def body() -> tuple[subprocess.CompletedProcess[str], str]:
        load_modules(backend)
        save = ["ipvsadm", "-Sn"] if backend == "ipvs" else ["iptables-save"]
        rules = save if backend != "nftables" else ["nft", "list", "ruleset"]
        ran = run_once(backend, needed(backend))
        return ran, subprocess.run(rules, capture_output=True, text=True, check=True).stdout

    ran, rules = in_new_namespace(body)
    assert ran.returncode == 0, ran.stderr
    assert "10.96.0.10" in rules


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_one_of_them_the_error_names_it_and_the_remedy(backend: str) -> None:
    def body() -> dict[str, subprocess.CompletedProcess[str]]:
        load_modules(backend)
        return {name: run_once(backend, [other for other in GIVEN if other != name]) for name in needed(backend)}

    for name, ran in in_new_namespace(body).items():
        assert ran.returncode == 3, ran.stderr
        said = ran.stderr.strip().splitlines()[-1]
        assert f"CAP_{name.upper()}" in said
        assert f"capabilities.add: [{name.upper()}]" in said
        for other in set(GIVEN) - {name}:
            assert f"CAP_{other.upper()}" not in said


def test_the_table_of_the_documentation_is_what_was_found() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    for variant, capabilities in NEEDED.items():
        listed = ", ".join(f"`{name.removeprefix('CAP_')}`" for name in capabilities)
        assert f"| iptables, {variant} variant | {listed} |" in page
