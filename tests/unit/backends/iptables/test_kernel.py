"""The door with programs that answer as told: errors that a kernel does not give on demand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backends.iptables.kernel import IptablesKernel, open_kernel
from kproxy.core.document import diff
from kproxy.core.values import Family
from kproxy.effects.process import ProcessFailed, ProcessTimeout, Result
from kproxy.effects.xtables import Tools, Variant
from kproxy.errors import ApplyRejected, ApplyTimeout, ObserveFailed, UnsupportedHost
from kproxy.ports import Outcome
from tests.unit.backends.iptables.plans import document
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

TOOLS = Tools(Variant.LEGACY, "iptables-legacy-save", "iptables-legacy-restore")
CHANGE = diff({}, document(service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1")))))


class Programs:
    """Answers each start with the next result, and keeps what it was told."""

    def __init__(self, *results: Result | Exception) -> None:
        self.results = list(results)
        self.argv: list[list[str]] = []
        self.stdin: list[str] = []

    def run(self, argv: Sequence[str], stdin: str, _timeout_s: float) -> Result:
        self.argv.append(list(argv))
        self.stdin.append(stdin)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def ok(output: str = "") -> Result:
    return Result(0, output, "")


def failed(errors: str, status: int = 1) -> Result:
    return Result(status, "", errors)


def line_of(text: str, rule: str) -> int:
    return text.splitlines().index(rule) + 1


def test_one_restore_carries_a_change_and_waits_for_the_lock() -> None:
    programs = Programs(ok())
    assert IptablesKernel(TOOLS, programs.run, Family.IPV4).apply(CHANGE) == Outcome()
    assert programs.argv == [["iptables-legacy-restore", "--noflush", "-w", "5"]]
    assert programs.stdin[0].count("COMMIT") == 2


def test_a_check_commits_nothing() -> None:
    programs = Programs(ok())
    IptablesKernel(TOOLS, programs.run, Family.IPV4).check(CHANGE)
    assert programs.argv == [["iptables-legacy-restore", "--noflush", "-w", "5", "--test"]]


def test_a_lock_that_another_holds_is_a_time_out() -> None:
    held = "Another app is currently holding the xtables lock; still 0s 0us time ahead to have a chance"
    with pytest.raises(ApplyTimeout, match="held the xtables lock for 5 s"):
        IptablesKernel(TOOLS, Programs(failed(held, 4)).run, Family.IPV4).apply(CHANGE)


@pytest.mark.parametrize("error", [UnsupportedHost("no such file"), ProcessFailed("too many open files")])
def test_a_program_that_cannot_be_started_is_an_error_of_this_sync_alone(error: Exception) -> None:
    with pytest.raises(ApplyRejected, match=str(error)):
        IptablesKernel(TOOLS, Programs(error).run, Family.IPV4).apply(CHANGE)
    with pytest.raises(ObserveFailed, match=str(error)):
        IptablesKernel(TOOLS, Programs(error).run, Family.IPV4).observe()


def test_a_restore_that_does_not_end_is_a_time_out() -> None:
    programs = Programs(ProcessTimeout("iptables-legacy-restore did not end within 120 s and was killed"))
    with pytest.raises(ApplyTimeout, match="did not end within 120 s"):
        IptablesKernel(TOOLS, programs.run, Family.IPV4).apply(CHANGE)


def test_a_refusal_without_a_line_is_told_as_it_is() -> None:
    with pytest.raises(ApplyRejected, match=r"a line that it does not name.*memory problem") as refusal:
        IptablesKernel(TOOLS, Programs(failed("iptables-restore: memory problem")).run, Family.IPV4).apply(CHANGE)
    assert not refusal.value.owner


def test_a_refused_leaf_is_its_services_though_the_tree_owns_the_chain() -> None:
    programs = Programs(ok())
    kernel = IptablesKernel(TOOLS, programs.run, Family.IPV4)
    kernel.apply(CHANGE)
    (leaf,) = [line for line in programs.stdin[0].splitlines() if "-A KPROXY-VIPS" in line]
    programs.results = [failed(f"Error occurred at line: {line_of(programs.stdin[0], leaf)}", 2), ok()]
    with pytest.raises(ApplyRejected) as refusal:
        kernel.apply(CHANGE)
    assert refusal.value.owner == "shop/cart"


def test_when_even_taking_back_fails_it_is_said() -> None:
    programs = Programs(ok())
    kernel = IptablesKernel(TOOLS, programs.run, Family.IPV4)
    kernel.apply(CHANGE)
    last = len(programs.stdin[0].splitlines())
    programs.results = [failed(f"iptables-restore: line {last} failed"), failed("iptables-restore: line 1 failed")]
    with pytest.raises(ApplyRejected, match="could not be taken back"):
        kernel.apply(CHANGE)
    assert "-X KPROXY-SERVICES" in programs.stdin[-1] or "-X KPROXY-INPUT" in programs.stdin[-1]


def test_tables_that_cannot_be_read_are_said_so() -> None:
    for answer in (
        failed("iptables-save v1.8.9 (legacy): Cannot initialize: Permission denied"),
        ProcessTimeout("slow"),
    ):
        with pytest.raises(ObserveFailed, match=r"Permission denied|slow"):
            IptablesKernel(TOOLS, Programs(answer).run, Family.IPV4).observe()


def test_reading_asks_for_our_tables_only() -> None:
    programs = Programs(ok(), ok())
    assert IptablesKernel(TOOLS, programs.run, Family.IPV4).observe() == {}
    assert programs.argv == [["iptables-legacy-save", "-t", table] for table in ("nat", "filter")]


def test_a_host_without_iptables_is_told_what_to_install() -> None:
    missing = [UnsupportedHost("no such program")] * 3
    with pytest.raises(UnsupportedHost, match="ip6tables-restore is missing: install the package iptables"):
        open_kernel(Family.IPV6, Programs(*missing).run, lambda _: "")


def test_a_kernel_that_has_no_nat_table_is_told() -> None:
    version = ok("iptables-restore v1.8.9 (nf_tables)")
    refused = failed(
        "iptables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied", 4
    )
    programs = Programs(version, version, version, refused)
    remedies = r"Could not fetch .* Permission denied; (run as root|kproxy run --init-only)"
    with pytest.raises(UnsupportedHost, match=remedies):
        open_kernel(Family.IPV4, programs.run, lambda _: "")
