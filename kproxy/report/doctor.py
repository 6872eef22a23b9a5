"""What a doctor says, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from kproxy.core.doctor import Check, Facts, Status
from kproxy.core.doctor.judge import counts
from kproxy.report.layout import printable

INDENT = max(map(len, Status)) + 2
ORDER = (Status.FAILURE, Status.WARNING, Status.OK, Status.NOT_APPLICABLE)


def lines(checks: Iterable[Check], width: float) -> Iterator[tuple[Status, str]]:
    """What each check found and, in a line of its own, what to do; folded to a width, the most urgent first."""
    for check in sorted(checks, key=lambda one: ORDER.index(one.status)):
        told = f"{check.status.value:<{INDENT}}{printable(f'{check.name}: {check.found}')}"
        for line in (told, f"{'':{INDENT}}→ {printable(check.remedy)}") if check.remedy else (told,):
            for part in _folded(line, width):
                yield check.status, part


def _folded(line: str, width: float) -> list[str]:
    if len(line) <= width:
        return [line]
    room = max(int(width), 2 * INDENT)
    return textwrap.wrap(
        line, room, subsequent_indent=" " * INDENT, break_on_hyphens=False, drop_whitespace=True, tabsize=1
    )


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
