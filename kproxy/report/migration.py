"""The report before a migration: what will differ, and the steps in order, with the commands and the way back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kproxy.core.migration import Item, Way
from kproxy.core.values import Value

MAX_SHOWN = 6
"""How many Services of an item people see."""


class Step(Value, frozen=True):
    """Something to do, and the command that does it; some have none."""

    what: str
    command: str = ""


class Migration(Value, frozen=True):
    """The whole report."""

    way: Way
    services: int
    items: tuple[Item, ...]
    unsupported: tuple[str, ...]
    """What the new backend cannot do at all, in words."""
    steps: tuple[Step, ...]
    back: tuple[Step, ...]


def steps(way: Way, options: str) -> tuple[Step, ...]:
    """What to do, in order; `options` name the configuration and the source, for commands."""
    mode = f"mode: {way.new}"
    if not way.is_of_kube_proxy:
        return (
            Step(f"write `{mode}` into the configuration; a running agent writes the new rules, reads them back, and"),
            Step("removes the old ones; if anything fails, the old ones stay in force", "kproxy status"),
            Step("see that all is as it should be", command("audit --proxy kproxy", options)),
        )
    return (
        Step("see the rules that would be written; none is", command(f"diff --backend {way.new}", options)),
        Step(
            "let kproxy run in kube-proxy's place: it writes beside kube-proxy's rules, which stay when that ends",
            command(f"run --backend {way.new}", options),
        ),
        Step("end kube-proxy, if it still runs: otherwise it writes its rules anew"),
        Step("read kproxy's rules back, and only then remove kube-proxy's", command("migrate --yes", options)),
    )


def back(way: Way, options: str) -> tuple[Step, ...]:
    """How to undo it, in order."""
    if not way.is_of_kube_proxy:
        return (Step(f"write `mode: {way.old}` into the configuration", "kproxy status"),)
    return (
        Step("start kube-proxy again; it writes its rules beside kproxy's"),
        Step("see that its rules are there", command("audit --proxy kube-proxy", options)),
        Step("end kproxy; its rules stay until they are removed"),
        Step("remove kproxy's rules", "kproxy cleanup"),
    )


def command(words: str, options: str) -> str:
    """A command line of ours."""
    return " ".join(part for part in ("kproxy", words, options) if part)


def plain(report: Migration) -> Mapping[str, object]:
    """For programs."""
    return {
        "from": {"proxy": report.way.proxy, "backend": report.way.old},
        "to": {"proxy": "kproxy", "backend": report.way.new},
        "services": report.services,
        "differences": [
            {
                "code": one.code,
                "weight": str(one.weight),
                "what": one.what,
                "remedy": one.remedy,
                "services": list(one.services),
            }
            for one in report.items
        ],
        "unsupported": list(report.unsupported),
        "steps": _plain_steps(report.steps),
        "back": _plain_steps(report.back),
    }


def _plain_steps(several: Iterable[Step]) -> list[Mapping[str, str]]:
    return [{"what": one.what, "command": one.command} for one in several]


def lines(report: Migration) -> Iterator[tuple[bool, str]]:
    """Lines for people; whether it is a heading."""
    way = report.way
    yield True, f"From {way.proxy}, {way.old}, to kproxy, {way.new}: {_count(len(report.items))}"
    for item in report.items:
        yield True, f"{item.weight:<8}{item.code}"
        yield False, f"        {item.what}"
        if item.services:
            yield False, f"        meets: {_named(item.services)}"
        yield False, f"        → {item.remedy}"
    for text in report.unsupported:
        yield True, "lost    not-supported"
        yield False, f"        {text}"
    yield True, "Steps"
    yield from _lines_of(report.steps)
    yield True, "And back"
    yield from _lines_of(report.back)


def _lines_of(several: Sequence[Step]) -> Iterator[tuple[bool, str]]:
    for number, step in enumerate(several, 1):
        yield False, f"     {number}. {step.what}"
        if step.command:
            yield False, f"        $ {step.command}"


def _named(services: Sequence[str]) -> str:
    more = f" and {len(services) - MAX_SHOWN} more" if len(services) > MAX_SHOWN else ""
    return f"{', '.join(services[:MAX_SHOWN])}{more}"


def _count(number: int) -> str:
    return {0: "nothing will differ", 1: "1 thing will differ"}.get(number, f"{number} things will differ")
