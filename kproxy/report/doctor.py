"""What a doctor says, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kproxy.core.doctor import Check, Facts, Status
from kproxy.core.doctor.judge import counts

HEADINGS = ("STATUS", "CHECK", "FOUND", "WHAT TO DO")


def rows(checks: Iterable[Check]) -> Iterator[Sequence[str]]:
    """One row for each check, the most urgent first, else as they come."""
    order = (Status.FAILURE, Status.WARNING, Status.OK, Status.NOT_APPLICABLE)
    for check in sorted(checks, key=lambda one: order.index(one.status)):
        yield check.status.value, check.name, check.found, check.remedy


def checks_object(facts: Facts, checks: Sequence[Check]) -> dict[str, object]:
    """Everything as plain data."""
    return {
        "node": facts.node,
        "kernel": facts.kernel,
        "summary": {status.value: count for status, count in counts(checks).items()},
        "checks": [
            {"check": one.name, "status": one.status.value, "found": one.found, "remedy": one.remedy} for one in checks
        ],
    }


def summary(checks: Iterable[Check]) -> str:
    """How many there are of each status, in words."""
    found = counts(checks)
    failures, warnings = found[Status.FAILURE], found[Status.WARNING]
    words = [f"{failures} failure{'s' * (failures != 1)}", f"{warnings} warning{'s' * (warnings != 1)}"]
    return f"{', '.join(words)}, {found[Status.OK]} ok, {found[Status.NOT_APPLICABLE]} not applicable"
