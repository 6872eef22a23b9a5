"""Checks of objects as they are written: what is not read, not served, or written in vain."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from kproxy.core.checks import quoted
from kproxy.core.model import Service
from kproxy.core.schema import (
    DRAIN_TIMEOUT_ANNOTATION,
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    SCHEDULER_ANNOTATION,
    TCP_DRAIN_ANNOTATION,
    Annotations,
)
from kproxy.core.values import ObjectKey, Value
from kproxy.effects.manifest_text import Problem
from kproxy.lint.finding import Check, Found, Place, Ref, Severity, cluster_scoped, service
from kproxy.lint.subject import Subject, services_of
from kproxy.lint.written import LINT_IGNORE_ANNOTATION, Written

PREFIX: Final = "kproxy.io/"
KNOWN_ANNOTATIONS: Final = frozenset(
    {one.encode_name for one in msgspec.structs.fields(Annotations)} | {LINT_IGNORE_ANNOTATION}
)
"""Every annotation that means something to kproxy."""


class Wish(Value, frozen=True):
    """An annotation with a value of some form: whether a Service holds none although it is written, and the form."""

    is_lost: Callable[[Service], bool]
    form: str


WISHES: Final[Mapping[str, Wish]] = {
    TCP_DRAIN_ANNOTATION: Wish(lambda one: one.tcp_drain_s is None, 'a whole number of seconds such as "30"'),
    DRAIN_TIMEOUT_ANNOTATION: Wish(lambda one: one.drain_s is None, "seconds, or a number with s, m or h such as 5m"),
    SCHEDULER_ANNOTATION: Wish(lambda one: not one.scheduler, "a scheduler of IPVS such as rr, lc or mh"),
}
IPVS_ONLY: Final = (SCHEDULER_ANNOTATION, DRAIN_TIMEOUT_ANNOTATION)
SOURCE_RANGES_ANNOTATION: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"


def annotation(name: str) -> str:
    """The field of an annotation."""
    return f"metadata.annotations[{name}]"


def label(name: str) -> str:
    """The field of a label."""
    return f"metadata.labels[{name}]"


def _written_services(subject: Subject) -> Iterator[tuple[Ref, Written]]:
    return ((ref, one) for ref, one in subject.written.items() if ref.kind == "Service")


def _unreadable_objects(subject: Subject) -> Iterator[Found]:
    for problem in subject.problems:
        if problem.what:
            yield Found(_ref_of(problem), problem.field, "", f"is not used: {problem.reason}", place=_place(problem))


def _ref_of(problem: Problem) -> Ref:
    kind, _, name = problem.what.partition(" ")
    namespace, slash, rest = name.partition("/")
    return Ref(kind, ObjectKey(namespace, rest)) if slash else cluster_scoped(kind, name)


def _place(problem: Problem) -> Place | None:
    return Place(problem.file, problem.line) if problem.file else None


def _unreadable_files(subject: Subject) -> Iterator[Found]:
    for problem in subject.problems:
        if not problem.what:
            file = cluster_scoped("File", problem.file)
            yield Found(file, problem.field, "", f"what is in it is not used: {problem.reason}", place=_place(problem))


def _unassigned(subject: Subject) -> Iterator[Found]:
    for key in sorted(subject.unassigned):
        yield Found(service(key), "spec.clusterIP", "", "has no ClusterIP, so it would not be served from this file")


def _external_names(subject: Subject) -> Iterator[Found]:
    for ref, one in _written_services(subject):
        if one.spec is not None and one.spec.type == "ExternalName":
            name = one.spec.external_name or ""
            yield Found(ref, "spec.type", "ExternalName", f"is an alias of {quoted(name)} in DNS; no proxy serves it")


def _other_proxies(subject: Subject) -> Iterator[Found]:
    for ref, one in _written_services(subject):
        if PROXY_NAME_LABEL in one.labels:
            name = str(one.labels[PROXY_NAME_LABEL] or "")
            yield Found(ref, label(PROXY_NAME_LABEL), name, f"is left to the proxy named {quoted(name)}")


def _headless_labels(subject: Subject) -> Iterator[Found]:
    for key in subject.snapshot.services:
        ref = service(key)
        if ref in subject.written and HEADLESS_LABEL in subject.written[ref].labels:
            reason = "has a ClusterIP, but no endpoint: slices with this label, which they take from it, are not read"
            yield Found(ref, label(HEADLESS_LABEL), str(subject.written[ref].labels[HEADLESS_LABEL] or ""), reason)


def _malformed_annotations(subject: Subject) -> Iterator[Found]:
    for key, one in subject.snapshot.services.items():
        written = subject.written.get(service(key))
        for name, wish in WISHES.items():
            if written is not None and name in written.annotations and wish.is_lost(one):
                value = str(written.annotations[name])
                reason = f"{quoted(value)} is not {wish.form}, so the annotation is ignored"
                yield Found(service(key), annotation(name), value, reason, f"write {wish.form}")


def _unknown_annotations(subject: Subject) -> Iterator[Found]:
    for ref, one in subject.written.items():
        for name in one.annotations:
            if name.startswith(PREFIX) and name not in KNOWN_ANNOTATIONS:
                near = difflib.get_close_matches(name, KNOWN_ANNOTATIONS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                reason = f"{quoted(name)} means nothing to kproxy{hint}"
                yield Found(ref, annotation(name), str(one.annotations[name]), reason)


def _idle_annotations(subject: Subject) -> Iterator[Found]:
    if subject.backend == "ipvs":
        return
    for key in subject.snapshot.services:
        written = subject.written.get(service(key))
        for name in IPVS_ONLY:
            if written is not None and name in written.annotations:
                reason = f"has no effect with the {subject.backend} backend"
                yield Found(service(key), annotation(name), str(written.annotations[name]), reason)


def _source_range_annotations(subject: Subject) -> Iterator[Found]:
    for ref, one in _written_services(subject):
        if SOURCE_RANGES_ANNOTATION in one.annotations:
            reason = "no node enforces it: only spec.loadBalancerSourceRanges closes an address here"
            value = str(one.annotations[SOURCE_RANGES_ANNOTATION])
            yield Found(ref, annotation(SOURCE_RANGES_ANNOTATION), value, reason)


def _idle_affinity(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        if spec.session_affinity_config and not one.affinity_s:
            reason = f"has no effect, for spec.sessionAffinity is {quoted(spec.session_affinity or 'None')}"
            yield Found(service(one.key), "spec.sessionAffinityConfig", "", reason)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX001",
        Severity.ERROR,
        "object that cannot be used",
        "An object with a field that cannot be what it is, or that stands twice, is skipped as a whole; others are not"
        " touched. Endpoints and external addresses that are loopback, link-local (169.254.169.254 is where clouds keep"
        " a machine's credentials) or unspecified are refused here too.",
        "correct the field",
        _unreadable_objects,
    ),
    Check(
        "KPX002",
        Severity.ERROR,
        "file or document that cannot be read",
        "What is in it is unknown, so every other finding is about a part of the cluster only.",
        "correct the file",
        _unreadable_files,
    ),
    Check(
        "KPX003",
        Severity.INFO,
        "Service without a ClusterIP",
        "The API server gives a Service its ClusterIP. Served from files, one without is skipped, as one that waits for"
        " its address would be. The other checks look at it as if it had one.",
        "apply it to a cluster, or write spec.clusterIP",
        _unassigned,
    ),
    Check(
        "KPX004",
        Severity.INFO,
        "ExternalName",
        "A Service of type ExternalName is a CNAME in the cluster's DNS. Its ports, external addresses and policies"
        " have no effect, and neither have NetworkPolicies on whatever the name leads to.",
        "nothing, if that is meant",
        _external_names,
    ),
    Check(
        "KPX005",
        Severity.INFO,
        "another proxy's Service",
        "The label service.kubernetes.io/service-proxy-name hands a Service to a proxy of that name; every other proxy"
        " leaves it alone, and without such a proxy nobody serves it.",
        "see that the proxy of that name runs on every node, or remove the label",
        _other_proxies,
    ),
    Check(
        "KPX006",
        Severity.WARNING,
        "headless label beside a ClusterIP",
        "Proxies do not read EndpointSlices with the label service.kubernetes.io/headless, and a Service's labels are"
        " copied to its slices. The ClusterIP is there, and refuses every connection.",
        "remove the label, or set spec.clusterIP to None in a new Service",
        _headless_labels,
    ),
    Check(
        "KPX007",
        Severity.WARNING,
        "annotation of kproxy's with a value it cannot use",
        "A wish that cannot be read is ignored, so that it does not cost the Service.",
        "correct the value",
        _malformed_annotations,
    ),
    Check(
        "KPX008",
        Severity.WARNING,
        "unknown annotation of kproxy's",
        "Nothing reads it. Most often a letter is wrong.",
        "correct or remove it",
        _unknown_annotations,
    ),
    Check(
        "KPX009",
        Severity.INFO,
        "annotation without effect in this backend",
        "kproxy.io/ipvs-scheduler and kproxy.io/drain-timeout speak of IPVS; the other backends choose at random, and"
        " leave connections alone.",
        "nothing, if nodes with IPVS are meant",
        _idle_annotations,
    ),
    Check(
        "KPX011",
        Severity.WARNING,
        "source ranges in an annotation that no proxy reads",
        "service.beta.kubernetes.io/load-balancer-source-ranges is read by some clouds' load balancers. Behind them,"
        " and on bare metal, everybody who reaches the address is let in.",
        "write spec.loadBalancerSourceRanges",
        _source_range_annotations,
    ),
    Check(
        "KPX047",
        Severity.WARNING,
        "affinity configured and not asked for",
        "spec.sessionAffinityConfig counts only with sessionAffinity: ClientIP.",
        "set spec.sessionAffinity to ClientIP, or remove the configuration",
        _idle_affinity,
    ),
)
