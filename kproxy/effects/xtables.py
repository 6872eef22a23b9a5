"""Which iptables this host uses: the legacy tables or the ones of nf_tables.

Rules in both are both in force, and each tool sees only its own. So we write
where the host's other rules are, found as iptables-wrappers does
(kubernetes-sigs/iptables-wrappers): kubelet's hint chains first, then by the
number of rules. Legacy tables are only asked when the kernel has some: the
tool would create them by asking.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kproxy.core.doctor.facts import NET_ADMIN, NET_RAW
from kproxy.core.values import Family, Value
from kproxy.effects.machine import effective_capabilities
from kproxy.effects.process import ProcessFailed, Result, Run
from kproxy.errors import UnsupportedHost

TOOLS: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
HINT: Final = re.compile(r"^:(?:KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY) ", re.MULTILINE)
RULE: Final = re.compile(r"^-A ", re.MULTILINE)
LEGACY_TABLES: Final = {
    Family.IPV4: "/proc/thread-self/net/ip_tables_names",
    Family.IPV6: "/proc/thread-self/net/ip6_tables_names",
}
PROBE_TIMEOUT_S: Final = 60.0

Read = Callable[[str], str]
"""Reads a file of /proc; empty if it is not there."""


class Variant(enum.StrEnum):
    """The two implementations, as `iptables --version` calls them."""

    NFT = "nf_tables"
    LEGACY = "legacy"

    @property
    def infix(self) -> str:
        """What stands in the names of its programs."""
        return "nft" if self is Variant.NFT else "legacy"


NEEDED: Final = {Variant.NFT: (NET_ADMIN,), Variant.LEGACY: (NET_ADMIN, NET_RAW)}
"""The capabilities without which the programs of a variant are refused: legacy ones speak by a raw socket."""


class Tools(Value, frozen=True):
    """The programs to use for a family, and what the user should know about the choice (empty: nothing)."""

    variant: Variant
    save: str
    restore: str
    warning: str = ""


class Rules(Value, frozen=True):
    """What a variant's tables hold."""

    hinted: bool
    """kubelet left its chains there."""
    count: int


def read_proc(path: str) -> str:
    """The text of a file of /proc; empty if the kernel does not have it."""
    try:
        return Path(path).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def find_tools(family: Family, run: Run, read: Read) -> Tools:
    """The programs of the variant that this host uses; UnsupportedHost if iptables is missing."""
    installed = _installed(family, run)
    default = next(iter(installed), None)
    if default is None:
        raise UnsupportedHost(
            f"{TOOLS[family]}-restore is missing: install the package iptables (1.8 or later), "
            "or use --backend nftables, which needs no program"
        )
    legacy_stands = bool(read(LEGACY_TABLES[family]).strip())
    if default is Variant.NFT and not legacy_stands:
        return _tools(default, installed[default])
    nothing = Rules(hinted=False, count=0)
    held = {
        Variant.NFT: _rules(installed[Variant.NFT], run) if Variant.NFT in installed else nothing,
        Variant.LEGACY: _rules(installed[Variant.LEGACY], run)
        if legacy_stands and Variant.LEGACY in installed
        else nothing,
    }
    return choose(held, installed, default, family)


def lacking(variant: Variant) -> str:
    """What to do about capabilities that the programs of a variant need and this process has not; empty if it has."""
    missing = [name for name in NEEDED[variant] if name not in effective_capabilities()]
    short = ", ".join(name.removeprefix("CAP_") for name in missing)
    return f"run as root with {' and '.join(missing)} (a container: capabilities.add: [{short}])" if missing else ""


def standing_tools(family: Family, run: Run, read: Read) -> tuple[Tools, ...]:
    """The programs of every variant that may have tables here: legacy ones only where the kernel has legacy tables."""
    legacy_stands = bool(read(LEGACY_TABLES[family]).strip())
    return tuple(
        _tools(variant, name)
        for variant, name in _installed(family, run).items()
        if variant is Variant.NFT or legacy_stands
    )


def rule_counts(family: Family, run: Run, read: Read) -> dict[Variant, int]:
    """How many rules the tables of each variant hold, of those that may have tables here."""
    return {
        tools.variant: _rules(tools.save.removesuffix("-save"), run).count
        for tools in standing_tools(family, run, read)
    }


def choose(held: dict[Variant, Rules], installed: dict[Variant, str], default: Variant, family: Family) -> Tools:
    """The variant with kubelet's hint, or with more rules, or the one that `iptables` itself is."""
    hinted = [variant for variant in (Variant.NFT, Variant.LEGACY) if held[variant].hinted]
    nft, legacy = held[Variant.NFT].count, held[Variant.LEGACY].count
    if hinted:
        chosen = hinted[0]
    elif nft == legacy:
        chosen = default
    else:
        chosen = Variant.NFT if nft > legacy else Variant.LEGACY
    if chosen not in installed:
        raise UnsupportedHost(
            f"this host's {family.label} rules are in {chosen} tables, but {TOOLS[family]}-{chosen.infix}-restore is "
            "missing: install the iptables package that has it"
        )
    mixed = f"{nft} rules in nf_tables and {legacy} in legacy tables, all in force; kproxy uses {chosen}"
    return _tools(chosen, installed[chosen], mixed if nft and legacy else "")


def _tools(variant: Variant, name: str, warning: str = "") -> Tools:
    return Tools(variant, f"{name}-save", f"{name}-restore", warning)


def _installed(family: Family, run: Run) -> dict[Variant, str]:
    """The variants that are installed, the one that `iptables` itself is first, with their programs' common name."""
    tool = TOOLS[family]
    found: dict[Variant, str] = {}
    for name in (tool, f"{tool}-nft", f"{tool}-legacy"):
        version = _answer([f"{name}-restore", "--version"], run)
        if version is not None and version.status == 0:
            variant = Variant.NFT if Variant.NFT in version.output else Variant.LEGACY
            found[variant] = name if name != tool or variant not in found else found[variant]
    return found


def _rules(name: str, run: Run) -> Rules:
    answer = _answer([f"{name}-save"], run)
    text = answer.output if answer else ""
    return Rules(bool(HINT.search(text)), len(RULE.findall(text)))


def _answer(argv: list[str], run: Run) -> Result | None:
    try:
        return run(argv, "", PROBE_TIMEOUT_S)
    except (UnsupportedHost, ProcessFailed):
        return None
