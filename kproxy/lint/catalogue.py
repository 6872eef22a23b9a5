"""All checks in one table, by code, and what becomes of their findings: sorted, and without those that are ignored.

A code stands for one check for ever. An object's annotation `kproxy.io/lint-ignore` names codes that are not told of
it, or `all`; the annotation of a Service counts for its EndpointSlices too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kproxy.core.values import Value
from kproxy.lint import endpoints, exposure, fields, nodeports, objects, policies, setting, whereabouts
from kproxy.lint.finding import Check, Finding, Found, Ref, Severity, endpoint_slice, service
from kproxy.lint.objects import annotation
from kproxy.lint.subject import Subject, slices_of
from kproxy.lint.written import LINT_IGNORE_ANNOTATION

ALL: Final = "all"


def _unknown_codes(subject: Subject) -> Iterator[Found]:
    for ref, one in subject.written.items():
        for code in sorted(one.ignored_codes):
            if code not in BY_CODE and code != ALL:
                reason = f"{code[:40]!r} is the code of no check"
                yield Found(ref, annotation(LINT_IGNORE_ANNOTATION), code, reason)


IGNORED_IN_VAIN: Final[Check[Subject]] = Check(
    "KPX099",
    Severity.WARNING,
    "code to ignore that no check has",
    "The annotation kproxy.io/lint-ignore takes codes, separated by commas, or all.",
    "correct or remove the code",
    _unknown_codes,
)

TABLES: Final = (
    objects.CHECKS,
    exposure.CHECKS,
    nodeports.CHECKS,
    endpoints.CHECKS,
    whereabouts.CHECKS,
    policies.CHECKS,
    setting.CHECKS,
    fields.CHECKS,
)
CHECKS: Final[tuple[Check[Subject], ...]] = tuple(
    sorted(
        (*(check for table in TABLES for check in table), IGNORED_IN_VAIN),
        key=lambda check: check.code,
    )
)
BY_CODE: Final[Mapping[str, Check[Subject]]] = {check.code: check for check in CHECKS}


class Report(Value, frozen=True):
    """What lint has to say, the worst first, and how much it was told not to say."""

    findings: tuple[Finding, ...]
    ignored: int = 0

    @property
    def counts(self) -> Mapping[Severity, int]:
        """How many findings there are of each severity, the worst first."""
        counted = Counter(finding.severity for finding in self.findings)
        return {severity: counted[severity] for severity in Severity}

    def fails_on(self, severity: Severity | None) -> bool:
        """Whether any finding is as bad as this or worse; None: no finding is bad enough."""
        return severity is not None and any(finding.severity.rank <= severity.rank for finding in self.findings)


def lint(subject: Subject, checks: Iterable[Check[Subject]] = CHECKS) -> Report:
    """Every finding of the checks."""
    ignored = ignored_codes(subject)
    findings: list[Finding] = []
    left_out = 0
    for check in checks:
        for found in check.find(subject):
            if {check.code, ALL} & ignored.get(found.object, frozenset()):
                left_out += 1
            else:
                findings.append(_finding(check, found))
    return Report(tuple(sorted(findings, key=_order)), left_out)


def ignored_codes(subject: Subject) -> dict[Ref, frozenset[str]]:
    """The codes that are not told of an object, by object."""
    own = {ref: codes for ref, one in subject.written.items() if (codes := one.ignored_codes)}
    for member in slices_of(subject) if own else ():
        inherited = own.get(service(member.service))
        if inherited:
            ref = endpoint_slice(member.key)
            own[ref] = own.get(ref, frozenset()) | inherited
    return own


def _finding(check: Check[Subject], found: Found) -> Finding:
    return Finding(
        check.code,
        check.severity,
        check.title,
        found.object,
        found.field,
        found.value,
        found.reason,
        found.remedy or check.remedy,
        found.place,
    )


def _order(finding: Finding) -> tuple[int, str, str, str]:
    return finding.severity.rank, finding.code, str(finding.object), finding.field
