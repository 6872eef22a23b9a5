"""Checks of where endpoints are: outside the ranges of pods, on nodes, or where no Service should lead."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

from kproxy.core.model import EndpointSlice
from kproxy.core.values import Family, ObjectKey
from kproxy.lint.finding import Check, Found, Severity, endpoint_slice, service
from kproxy.lint.subject import (
    Subject,
    containing,
    index_of,
    node_addresses,
    pod_ranges,
    service_ranges,
    slices_of,
    some_of,
    spec_of,
)

METADATA: Final[Mapping[str, str]] = {
    "100.100.100.200": "Alibaba Cloud",
    "168.63.129.16": "Azure",
    "192.0.0.192": "Oracle Cloud",
    "fd00:ec2::254": "AWS",
    "fd20:ce::254": "Google Cloud",
}
"""Where clouds tell a machine its own secrets, beside link-local addresses, which are refused."""
API_SERVER: Final = ObjectKey("default", "kubernetes")
"""The one Service without a selector whose endpoints are nodes by design."""


def _entries(subject: Subject) -> Iterator[tuple[EndpointSlice, str, str]]:
    """Every endpoint of a slice whose Service is there: the slice, the field and the address."""
    for member in slices_of(subject):
        if member.service in subject.snapshot.services:
            for index, entry in enumerate(member.endpoints):
                yield member, f"endpoints[{index}].addresses[0]", entry.address


def _outside_pod_ranges(subject: Subject) -> Iterator[Found]:
    ranges, nodes = pod_ranges(subject), node_addresses(subject)
    index = index_of(ranges)
    known = {Family(network.version) for network in ranges}
    strange: dict[ObjectKey, list[str]] = {}
    for member, _, address in _entries(subject):
        has_pods = bool(spec_of(subject, member.service).selector)
        if has_pods and member.family in known and address not in nodes and containing(index, address) is None:
            strange.setdefault(member.service, []).append(address)
    for key, addresses in sorted(strange.items()):
        found = sorted(set(addresses))
        named = ", ".join(map(str, list(ranges)[:3])) + (", …" if len(ranges) > 3 else "")  # noqa: PLR2004 - enough
        reason = f"{some_of(found)}: pods of no known range ({named}), so they are taken for strangers, not for pods"
        yield Found(service(key), "spec.selector", some_of(found), reason)


def _dangerous(subject: Subject) -> Iterator[Found]:
    ranges = index_of(service_ranges(subject))
    owners = {ip: key for key, one in subject.snapshot.services.items() for ip in one.cluster_ips}
    for member, field, address in _entries(subject):
        reason = _danger(address)
        within = containing(ranges, address)
        if address in owners:
            reason = (
                f"{address} is the ClusterIP of Service {owners[address]}: what is sent there is not translated again"
            )
        elif within is not None:
            reason = f"{address} is in {within}, the range of ClusterIPs: no pod has such an address"
        if reason:
            yield Found(endpoint_slice(member.key), field, address, f"Service {member.service} leads to it: {reason}")


def _danger(address: str) -> str:
    """Why no Service should lead to an address; empty if it may."""
    value = ipaddress.ip_address(address)
    if address in METADATA:
        return f"{address} is the metadata service of {METADATA[address]}, which knows a machine's credentials"
    if value.is_multicast or value == ipaddress.ip_address("255.255.255.255"):
        return f"{address} is a multicast or broadcast address"
    return f"{address} is reserved and cannot be anybody's" if value.version == 4 and value.is_reserved else ""  # noqa: PLR2004


def _nodes_as_endpoints(subject: Subject) -> Iterator[Found]:
    nodes = node_addresses(subject)
    for member, field, address in _entries(subject):
        if member.service == API_SERVER:
            continue
        if address in nodes and not spec_of(subject, member.service).selector:
            ports = ", ".join(f"{port.port}/{port.protocol}" for port in member.ports) or "no port"
            reason = (
                f"{address} is node {nodes[address]}: whoever reaches Service {member.service} reaches {ports} there,"
                " past every NetworkPolicy"
            )
            yield Found(endpoint_slice(member.key), field, address, reason)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX037",
        Severity.WARNING,
        "endpoint outside the ranges of pods",
        "Who is a pod is decided by these ranges when detectLocalMode is ClusterCIDR or NodeCIDR. A pod outside them is"
        " masqueraded, and external policy Local drops it where a pod would be served.",
        "set clusterCIDR to all networks of pods, or detectLocalMode to what tells pods on this network",
        _outside_pod_ranges,
    ),
    Check(
        "KPX038",
        Severity.ERROR,
        "endpoint on a dangerous address",
        "Whoever may write EndpointSlices can make a Service lead anywhere that nodes can reach: to a cloud's metadata"
        " service, to another Service, to what no NetworkPolicy of the target knows. Loopback and link-local addresses"
        " are refused altogether (KPX001).",
        "remove the endpoint, and find out who wrote it",
        _dangerous,
    ),
    Check(
        "KPX039",
        Severity.WARNING,
        "node as an endpoint",
        "A Service without selector that leads to a node opens what listens there to all who may reach the Service. The"
        " Service default/kubernetes does so by design and is not told of.",
        "see that this is meant; annotate it with kproxy.io/lint-ignore: KPX039 then",
        _nodes_as_endpoints,
    ),
)
