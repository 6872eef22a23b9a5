"""`kproxy migrate` as its users meet it, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.fakes.program import run_here

DATA = Path(__file__).parents[2] / "data" / "audit"
SHOP = ("-f", str(DATA / "cluster.yaml"), "--config", str(DATA / "config.yaml"), "--node-name", "node-a")
PLAN = ("migrate", "--plan", *SHOP)


def test_the_report_fits_eighty_columns_but_for_commands(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, *PLAN, "--from", "iptables", "--to", "nftables")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "From kube-proxy, iptables, to kproxy, nftables: 5 things will differ"
    assert all(len(line) <= 80 for line in lines if not line.lstrip().startswith("$ "))
    assert "meets: shop/far, shop/login, shop/web" in ran.out
    assert "$ kproxy migrate --yes" in ran.out


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_the_same(capsys: pytest.CaptureFixture[str], form: str, read: object) -> None:
    ran = run_here(capsys, *PLAN, "--from", "ipvs", "--to", "iptables", "-o", form)
    found = read(ran.out)  # type: ignore[operator]
    assert (ran.code, found["services"], found["from"]["backend"]) == (0, 5, "ipvs")
    assert {one["code"] for one in found["differences"]} >= {"scheduler", "local-without-endpoints", "affinity-scope"}


def test_between_our_own_backends_the_agent_does_it(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, *PLAN, "--from", "iptables", "--proxy", "kproxy", "--to", "iptables")
    assert ran.out.startswith("From kproxy, iptables, to kproxy, iptables: nothing will differ\n")
    assert "write `mode: iptables` into the configuration" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("migrate",), "say --plan for the report, or --yes"),
        (("migrate", "--plan", "--yes", *SHOP), "say --plan for the report, or --yes"),
        (("migrate", "--plan", "--from", "iptables"), "name manifests with -f FILE_OR_DIR"),
        ((*PLAN, "--from", "ebpf"), "'ebpf' is not one of 'auto', 'iptables', 'ipvs', 'nftables'"),
        ((*PLAN, "--from", "iptables", "-f", "/nowhere"), "/nowhere"),
    ],
)
def test_a_wrong_question_is_told(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    ran = run_here(capsys, *words)
    assert ran.code == 2
    assert said in ran.err
