"""A report as lines, as plain data and as SARIF 2.1.0: for people, scripts and code hosts.

SARIF is docs.oasis-open.org/sarif; a severity `info` is its level `note`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from kproxy.lint.catalogue import CHECKS, Report
from kproxy.lint.finding import Check, Finding, Severity
from kproxy.lint.subject import Subject

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: Final[Mapping[Severity, str]] = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def lines(report: Report) -> Iterator[tuple[Severity, str]]:
    """Each finding in three lines: where and what, what follows, what to do; with its severity, for colour."""
    for one in report.findings:
        place = f"{one.place}: " if one.place else ""
        field = f": {one.field}" if one.field else ""
        yield one.severity, f"{place}{one.severity} {one.code}: {one.object}{field}"
        yield one.severity, f"    {one.reason}"
        yield one.severity, f"    → {one.remedy}"


def summary(report: Report) -> str:
    """How many findings there are."""
    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
    counted = [f"{count} {words[severity]}{'s' if count != 1 else ''}" for severity, count in report.counts.items()]
    ignored = f"; {report.ignored} more are ignored by annotation" if report.ignored else ""
    return f"{', '.join(counted)}{ignored}"


def plain(report: Report) -> dict[str, object]:
    """The report as plain data."""
    return {
        "counts": {str(severity): count for severity, count in report.counts.items()},
        "ignored": report.ignored,
        "findings": [_plain(one) for one in report.findings],
    }


def _plain(one: Finding) -> dict[str, object]:
    return {
        "code": one.code,
        "severity": str(one.severity),
        "title": one.title,
        "object": {"kind": one.object.kind, "namespace": one.object.key.namespace, "name": one.object.key.name},
        "field": one.field,
        "value": one.value,
        "reason": one.reason,
        "remedy": one.remedy,
        "file": one.place.file if one.place else "",
        "line": one.place.line if one.place else 0,
    }


def sarif(report: Report, version: str) -> dict[str, object]:
    """The report as one run of a SARIF log; rules are all checks, so that a rule's index is the check's."""
    driver = {
        "name": "kproxy lint",
        "version": version,
        "rules": [_rule(check) for check in CHECKS],
    }
    results = [_result(one) for one in report.findings]
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(check: Check[Subject]) -> dict[str, object]:
    return {
        "id": check.code,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.why},
        "help": {"text": check.remedy},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
    }


def _result(one: Finding) -> dict[str, object]:
    logical = {"fullyQualifiedName": f"{one.object}: {one.field}" if one.field else str(one.object), "kind": "resource"}
    location: dict[str, object] = {"logicalLocations": [logical]}
    if one.place is not None:
        physical: dict[str, object] = {"artifactLocation": {"uri": quote(one.place.file)}}
        if one.place.line:
            physical["region"] = {"startLine": one.place.line}
        location["physicalLocation"] = physical
    return {
        "ruleId": one.code,
        "ruleIndex": _INDEX[one.code],
        "level": LEVELS[one.severity],
        "message": {"text": f"{one.object}: {one.reason}. Remedy: {one.remedy}."},
        "locations": [location],
    }


_INDEX: Final = {check.code: index for index, check in enumerate(CHECKS)}


def explanation(check: Check[Subject]) -> Sequence[str]:
    """What a code means, in paragraphs."""
    return (f"{check.code} ({check.severity}): {check.title}", check.why, f"Remedy: {check.remedy}.")
