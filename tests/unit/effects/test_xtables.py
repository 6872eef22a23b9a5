"""Which variant of iptables a host uses, on hosts that are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kproxy.core.values import Family
from kproxy.effects.process import ProcessTimeout, Result
from kproxy.effects.xtables import Rules, Variant, choose, find_tools, read_proc
from kproxy.errors import UnsupportedHost

NFT, LEGACY = "iptables v1.8.9 (nf_tables)", "iptables v1.8.9 (legacy)"
EVERYTHING = {"iptables": NFT, "iptables-nft": NFT, "iptables-legacy": LEGACY}
LEGACY_DEFAULT = {"iptables": LEGACY, "iptables-nft": NFT, "iptables-legacy": LEGACY}
HINT = ":KUBE-KUBELET-CANARY - [0:0]\n"
RULE = "-A INPUT -j ACCEPT\n"


class Machine:
    """Programs with their versions, and what each `…-save` prints; keeps the names of those that were started."""

    def __init__(self, versions: Mapping[str, str], saved: Mapping[str, str], legacy_tables: str = "") -> None:
        self.versions, self.saved, self.legacy_tables = versions, saved, legacy_tables
        self.started: list[str] = []

    def run(self, argv: Sequence[str], _stdin: str, _timeout_s: float) -> Result:
        self.started.append(argv[0])
        name, _, verb = argv[0].rpartition("-")
        if name not in self.versions:
            raise UnsupportedHost(f"{argv[0]} cannot be started")
        return Result(0, self.versions[name] if verb == "restore" else self.saved.get(name, ""), "")

    def read(self, _path: str) -> str:
        return self.legacy_tables

    def variant(self) -> Variant:
        return find_tools(Family.IPV4, self.run, self.read).variant


def test_a_host_of_nf_tables_is_known_without_reading_a_rule() -> None:
    machine = Machine(EVERYTHING, {})
    assert machine.variant() is Variant.NFT
    assert not [name for name in machine.started if name.endswith("-save")]


def test_legacy_tables_are_never_asked_for_where_there_are_none() -> None:
    machine = Machine(LEGACY_DEFAULT, {})
    assert machine.variant() is Variant.LEGACY
    assert [name for name in machine.started if name.endswith("-save")] == ["iptables-nft-save"]


CHOICES = {
    "more rules in nf_tables": ({"iptables-nft": 2 * RULE, "iptables-legacy": RULE}, Variant.NFT),
    "more rules in legacy tables": ({"iptables-nft": RULE, "iptables-legacy": 2 * RULE}, Variant.LEGACY),
    "a hint in legacy tables": ({"iptables": 9 * RULE, "iptables-legacy": HINT}, Variant.LEGACY),
    "a hint in nf_tables": ({"iptables-nft": HINT, "iptables-legacy": 9 * RULE}, Variant.NFT),
    "hints in both": ({"iptables-nft": HINT, "iptables-legacy": HINT + RULE}, Variant.NFT),
    "no rule anywhere": ({}, Variant.NFT),
}


@pytest.mark.parametrize(("saved", "chosen"), CHOICES.values(), ids=CHOICES.keys())
def test_where_legacy_tables_stand_hints_and_rules_decide(saved: dict[str, str], chosen: Variant) -> None:
    assert Machine(EVERYTHING, saved, "nat\nfilter\n").variant() is chosen


def test_rules_in_nf_tables_outweigh_a_legacy_default() -> None:
    assert Machine(LEGACY_DEFAULT, {"iptables-nft": RULE}).variant() is Variant.NFT


def test_a_mixed_host_is_told_of() -> None:
    machine = Machine(EVERYTHING, {"iptables-nft": RULE, "iptables-legacy": 2 * RULE}, "filter\n")
    assert find_tools(Family.IPV4, machine.run, machine.read).warning == (
        "1 rules in nf_tables and 2 in legacy tables, all in force; kproxy uses legacy"
    )


def test_old_iptables_knows_one_variant_and_does_not_name_it() -> None:
    tools = find_tools(Family.IPV4, Machine({"iptables": "iptables-restore v1.6.1"}, {}).run, lambda _: "")
    assert (tools.variant, tools.restore) == (Variant.LEGACY, "iptables-restore")


def test_rules_where_no_program_reaches_are_an_unsupported_host() -> None:
    held = {Variant.NFT: Rules(hinted=False, count=0), Variant.LEGACY: Rules(hinted=False, count=3)}
    with pytest.raises(UnsupportedHost, match="iptables-legacy-restore is missing"):
        choose(held, {Variant.NFT: "iptables"}, Variant.NFT, Family.IPV4)


@pytest.mark.parametrize("family", Family)
def test_without_any_program_the_package_is_named(family: Family) -> None:
    with pytest.raises(UnsupportedHost, match="install the package iptables"):
        find_tools(family, Machine({}, {}).run, lambda _: "")


def test_a_program_that_hangs_is_as_good_as_none() -> None:
    def hangs(argv: Sequence[str], _stdin: str, _timeout_s: float) -> Result:
        raise ProcessTimeout(f"{argv[0]} did not end")

    with pytest.raises(UnsupportedHost):
        find_tools(Family.IPV4, hangs, lambda _: "")


def test_a_file_that_the_kernel_does_not_have_is_empty(tmp_path: Path) -> None:
    assert read_proc(str(tmp_path / "ip_tables_names")) == ""
