"""What a doctor says to people and to programs."""

from __future__ import annotations

from kproxy.core.doctor import Check, Facts, Status
from kproxy.report.doctor import INDENT, checks_object, lines, summary

CHECKS = (
    Check("a", Status.OK, "fine"),
    Check("sysctl/x", Status.FAILURE, "0: nothing passes", "sysctl -w x=1"),
    Check("b", Status.NOT_APPLICABLE, "not here"),
)
FACTS = Facts(kernel="6.1", user_id=0, capabilities=frozenset(), node="node-a")


def test_the_worst_comes_first_with_its_remedy_below() -> None:
    told = [line for _, line in lines(CHECKS, float("inf"))]
    assert told == [
        f"{'failure':<{INDENT}}sysctl/x: 0: nothing passes",
        f"{'':<{INDENT}}→ sysctl -w x=1",
        f"{'ok':<{INDENT}}a: fine",
        f"{'not-applicable':<{INDENT}}b: not here",
    ]


def test_nothing_is_wider_than_the_terminal() -> None:
    long = Check("sysctl/x", Status.WARNING, "word " * 40, "do " * 40)
    told = [line for _, line in lines([long], 80)]
    assert max(map(len, told)) <= 80
    assert all(line.startswith(" " * INDENT) for line in told[1:])
    assert " ".join(" ".join(told).split()).count("word") == 40


def test_control_characters_do_not_reach_the_terminal() -> None:
    ((_, line),) = lines([Check("a", Status.OK, "x\x1b[2J")], float("inf"))
    assert "\x1b" not in line


def test_programs_get_all_of_it() -> None:
    told = checks_object(FACTS, CHECKS)
    assert told["summary"] == {"ok": 1, "warning": 0, "failure": 1, "not-applicable": 1}
    assert list(told["checks"])[1] == {
        "check": "sysctl/x",
        "status": "failure",
        "found": "0: nothing passes",
        "remedy": "sysctl -w x=1",
    }


def test_the_summary_counts() -> None:
    assert summary(CHECKS) == "1 failure, 0 warnings, 1 ok, 1 not applicable"
