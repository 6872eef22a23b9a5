"""Checks of endpoints: whether there are any, whether they match the Service, and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kproxy.core.endpoints import is_draining
from kproxy.lint.finding import Check, Found, Severity, endpoint_slice, service
from kproxy.lint.subject import (
    Subject,
    families,
    services_of,
    slices_of,
    some_of,
)


def _without_endpoints(subject: Subject) -> Iterator[Found]:
    if not subject.snapshot.slices:
        return
    for one, spec in services_of(subject):
        members = subject.snapshot.slices.get(one.key, {}).values()
        if one.key not in subject.unassigned and not any(member.endpoints for member in members):
            why = (
                "its selector finds no pod" if spec.selector else "it has no selector, and nobody wrote a slice for it"
            )
            reason = f"has no endpoint at all, so connections are refused; {why}"
            yield Found(service(one.key), "spec.selector", "", reason)


def _without_family(subject: Subject) -> Iterator[Found]:
    if not subject.snapshot.slices:
        return
    for one in subject.snapshot.services.values():
        members = subject.snapshot.slices.get(one.key, {}).values()
        supplied = {member.family for member in members if member.endpoints}
        for family in families(one):
            if supplied and family not in supplied:
                given = next(iter(supplied)).label
                reason = f"has {given} endpoints only, so connections to its {family.label} address are refused"
                yield Found(service(one.key), "spec.ipFamilies", family.label, reason)


def _ready_nowhere(subject: Subject) -> Iterator[Found]:
    for one in subject.supplied:
        entries = one.candidates.values()
        if entries and not any(entry.ready or is_draining(entry) for entry in entries):
            reason = (
                f"{one.label}: none of {len(entries)} {one.family.label} endpoints is ready: connections are refused"
            )
            yield Found(service(one.service.key), one.field, "", reason)


def _all_terminating(subject: Subject) -> Iterator[Found]:
    for one in subject.supplied:
        entries = one.candidates.values()
        if not any(entry.ready for entry in entries) and any(map(is_draining, entries)):
            reason = f"{one.label}: the only {one.family.label} endpoints that serve are terminating"
            yield Found(service(one.service.key), one.field, "", reason)


def _unmatched_ports(subject: Subject) -> Iterator[Found]:
    for one in subject.supplied:
        if one.candidates:
            continue
        members = subject.snapshot.slices.get(one.service.key, {}).values()
        offered = {
            f"{port.name or '(unnamed)'}/{port.protocol}"
            for member in members
            if member.family is one.family and member.endpoints
            for port in member.ports
        }
        if offered:
            wanted = f"{one.port.name or '(unnamed)'}/{one.port.protocol}"
            reason = f"no {one.family.label} EndpointSlice has a port {wanted}, so connections to it are refused;"
            yield Found(
                service(one.service.key),
                f"{one.field}.name",
                one.port.name,
                f"{reason} there is {some_of(sorted(offered))}",
            )


def _unknown_ports(subject: Subject) -> Iterator[Found]:
    for member in slices_of(subject):
        owner = subject.snapshot.services.get(member.service)
        wanted = {(port.name, port.protocol) for port in owner.ports} if owner else set()
        for index, port in enumerate(member.ports):
            if owner is not None and (port.name, port.protocol) not in wanted:
                reason = (
                    f"Service {member.service} has no port {port.name or '(unnamed)'}/{port.protocol}: it is not used"
                )
                yield Found(endpoint_slice(member.key), f"ports[{index}].name", port.name, reason)


def _orphans(subject: Subject) -> Iterator[Found]:
    for member in slices_of(subject):
        if service(member.service) not in subject.written:
            reason = f"belongs to Service {member.service}, which is not there: nothing is sent to its endpoints"
            label = "metadata.labels[kubernetes.io/service-name]"
            yield Found(endpoint_slice(member.key), label, member.service.name, reason)


def _not_ready_published(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        if spec.publish_not_ready_addresses:
            reason = "sends connections to pods that are not ready"
            yield Found(service(one.key), "spec.publishNotReadyAddresses", "true", reason)


def _twice(subject: Subject) -> Iterator[Found]:
    for key, members in subject.snapshot.slices.items():
        seen: dict[tuple[str, int, str], tuple[bool, bool, bool]] = {}
        doubted: set[str] = set()
        for member in members.values():
            for port in member.ports:
                for entry in member.endpoints:
                    state = entry.ready, entry.serving, entry.terminating
                    if seen.setdefault((entry.address, port.port, port.name), state) != state:
                        doubted.add(entry.address)
        if doubted and key in subject.snapshot.services:
            shown = some_of(sorted(doubted))
            reason = f"{shown}: its slices say different things; what is not terminating, then what is ready, counts"
            yield Found(service(key), "", shown, reason)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX030",
        Severity.WARNING,
        "Service without endpoints",
        "Connections to it are refused. Nothing is said where no EndpointSlice was read at all: manifests seldom have"
        " any.",
        "compare the selector with the labels of the pods",
        _without_endpoints,
    ),
    Check(
        "KPX031",
        Severity.WARNING,
        "family without endpoints",
        "Each family has endpoints of its own. A client that tries the family without any is refused, and tries the"
        " other one if it is well written.",
        "give the pods addresses of both families, or set spec.ipFamilyPolicy to SingleStack",
        _without_family,
    ),
    Check(
        "KPX032",
        Severity.WARNING,
        "no endpoint is ready",
        "Endpoints that are neither ready, nor terminating and still serving, get no connections.",
        "see to the readiness probes of the pods",
        _ready_nowhere,
    ),
    Check(
        "KPX033",
        Severity.WARNING,
        "every endpoint that serves is terminating",
        "Without a ready endpoint those that terminate and still serve get new connections, as the last resort; when"
        " they are gone, connections are refused.",
        "see why no new pod is ready",
        _all_terminating,
    ),
    Check(
        "KPX034",
        Severity.ERROR,
        "Service port that no EndpointSlice has",
        "A port of a Service and one of a slice belong together by name and protocol, not by number.",
        "give both the same name; a named targetPort needs a container port of that name",
        _unmatched_ports,
    ),
    Check(
        "KPX035",
        Severity.WARNING,
        "EndpointSlice port that the Service has not",
        "A port of a Service and one of a slice belong together by name and protocol, not by number.",
        "give both the same name",
        _unknown_ports,
    ),
    Check(
        "KPX036",
        Severity.WARNING,
        "EndpointSlice without a Service",
        "A slice is found by its label kubernetes.io/service-name, in its own namespace. A slice that has outlived its"
        " Service does no harm, until somebody creates one of that name.",
        "correct the label, or delete the slice",
        _orphans,
    ),
    Check(
        "KPX040",
        Severity.INFO,
        "pods that are not ready get connections",
        "spec.publishNotReadyAddresses is meant for pods that find each other by DNS. On a Service with a ClusterIP it"
        " switches readiness off.",
        "use a headless Service for discovery beside this one",
        _not_ready_published,
    ),
    Check(
        "KPX046",
        Severity.INFO,
        "slices that contradict each other",
        "An endpoint may stand in two slices for a moment. If it stays so, two controllers write slices for one"
        " Service.",
        "find out who writes the slices (label endpointslice.kubernetes.io/managed-by)",
        _twice,
    ),
)
