"""Checks of who can reach a Service, and of addresses that it has no right to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from kproxy.core.model import ServiceType
from kproxy.core.values import Family, family_of
from kproxy.lint.finding import Check, Found, Severity, service
from kproxy.lint.subject import (
    Subject,
    containing,
    external_addresses,
    families,
    index_of,
    node_addresses,
    pod_ranges,
    service_ranges,
    services_of,
)

SOURCE_RANGES: Final = "spec.loadBalancerSourceRanges"


def _one_family(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        if one.source_ranges is None or one.type is not ServiceType.LOAD_BALANCER:
            continue
        ranges = {Family(network.version) for network in one.source_ranges}
        exposed = {family_of(address) for address in one.load_balancer_ips} or set(families(one))
        for family in sorted(exposed - ranges):
            given = " and ".join(found.label for found in sorted(ranges))
            reason = (
                f"holds {given} ranges only: kproxy lets no {family.label} client in, kube-proxy lets all of them in"
            )
            value = ", ".join(map(str, one.source_ranges))
            yield Found(service(one.key), SOURCE_RANGES, value, reason, f"add {family.label} ranges")


def _ranges_of_no_balancer(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        if spec.load_balancer_source_ranges and one.type is not ServiceType.LOAD_BALANCER:
            value = ", ".join(spec.load_balancer_source_ranges)
            reason = f"fences load balancer addresses only, and this Service is of type {one.type}: everybody may come"
            yield Found(service(one.key), SOURCE_RANGES, value, reason)


def _around_the_fence(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        if one.source_ranges is None or one.type is not ServiceType.LOAD_BALANCER:
            continue
        for index, port in enumerate(one.ports):
            if port.node_port:
                reason = f"NodePort {port.node_port} takes whom {SOURCE_RANGES} keeps from the load balancer's address"
                yield Found(service(one.key), f"spec.ports[{index}].nodePort", str(port.node_port), reason)
        for index, address in enumerate(one.external_ips):
            reason = f"{address} takes whom {SOURCE_RANGES} keeps from the load balancer's address"
            yield Found(service(one.key), f"spec.externalIPs[{index}]", address, reason)


def _external_ips(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        if one.external_ips:
            value = ", ".join(one.external_ips)
            off = not subject.settings.allow_external_ips
            reason = (
                "is switched off by the configuration" if off else "every node sends what goes there to this Service"
            )
            yield Found(service(one.key), "spec.externalIPs", value, reason)


def _in_service_ranges(subject: Subject) -> Iterator[Found]:
    ranges = index_of(service_ranges(subject))
    owners = {ip: key for key, one in subject.snapshot.services.items() for ip in one.cluster_ips}
    for one in subject.snapshot.services.values():
        for field, address in external_addresses(one):
            owner = owners.get(address)
            within = containing(ranges, address)
            if owner is not None and owner != one.key:
                yield Found(service(one.key), field, address, f"{address} is the ClusterIP of Service {owner}")
            elif within is not None:
                yield Found(service(one.key), field, address, f"{address} is in {within}, the range of ClusterIPs")


def _in_pod_ranges(subject: Subject) -> Iterator[Found]:
    ranges = pod_ranges(subject)
    index = index_of(ranges)
    for one in subject.snapshot.services.values():
        for field, address in external_addresses(one):
            within = containing(index, address)
            if within is not None:
                reason = f"{address} is in {within}, {ranges[within]}: it takes the traffic of the pod that gets it"
                yield Found(service(one.key), field, address, reason)


def _external_on_nodes(subject: Subject) -> Iterator[Found]:
    yield from _on_nodes(subject, "spec.externalIPs")


def _balancer_on_nodes(subject: Subject) -> Iterator[Found]:
    yield from _on_nodes(subject, "status.")


def _on_nodes(subject: Subject, fields: str) -> Iterator[Found]:
    nodes = node_addresses(subject)
    for one in subject.snapshot.services.values():
        for field, address in external_addresses(one):
            if field.startswith(fields) and address in nodes:
                ports = ", ".join(f"{port.port}/{port.protocol}" for port in one.ports)
                reason = f"{address} is an address of node {nodes[address]}: this Service takes {ports} there"
                yield Found(service(one.key), field, address, reason)


def _special_balancer(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        for index, text in enumerate(one.load_balancer_ips):
            address = ipaddress.ip_address(text)
            if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
                reason = (
                    f"{text} is loopback, link-local, multicast or unspecified: no client can come by it from outside"
                )
                yield Found(service(one.key), f"status.loadBalancer.ingress[{index}].ip", text, reason)


def _conflicts(subject: Subject) -> Iterator[Found]:
    for conflict in subject.conflicts:
        if not conflict.claim.startswith("health check port"):
            reason = f"{conflict.claim} belongs to Service {conflict.winner}; this Service gets nothing there"
            yield Found(service(conflict.loser), "spec", conflict.claim, reason)


def _health_conflicts(subject: Subject) -> Iterator[Found]:
    for conflict in subject.conflicts:
        if conflict.claim.startswith("health check port"):
            reason = (
                f"{conflict.claim} belongs to Service {conflict.winner}: a load balancer asks for the wrong Service"
            )
            yield Found(service(conflict.loser), "spec.healthCheckNodePort", conflict.claim.rpartition(" ")[2], reason)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX010",
        Severity.ERROR,
        "source ranges of one family for addresses of both",
        "kube-proxy filters spec.loadBalancerSourceRanges by family, and a family without any range is open to"
        " everybody. kproxy closes it. Neither is what the author of a list of IPv4 ranges had in mind for IPv6.",
        "add ranges of the other family",
        _one_family,
    ),
    Check(
        "KPX012",
        Severity.WARNING,
        "source ranges without a load balancer",
        "Source ranges are looked at for load balancer addresses only. On a Service of another type they are ignored.",
        "use type LoadBalancer, or a NetworkPolicy on the pods; remove the field",
        _ranges_of_no_balancer,
    ),
    Check(
        "KPX013",
        Severity.WARNING,
        "way around the source ranges",
        "NodePorts and external addresses are never subject to spec.loadBalancerSourceRanges: a client that reaches a"
        " node goes around the fence.",
        "set spec.allocateLoadBalancerNodePorts to false and remove the nodePort; limit nodePortAddresses; remove"
        " externalIPs",
        _around_the_fence,
    ),
    Check(
        "KPX014",
        Severity.WARNING,
        "external addresses",
        "Nobody checks that an external address is the Service's to have: whoever may write a Service can draw the"
        " cluster's traffic to any address to himself (CVE-2020-8554). The field is deprecated since Kubernetes 1.36.",
        "use type LoadBalancer; or switch the feature gate AllowServiceExternalIPs off",
        _external_ips,
    ),
    Check(
        "KPX015",
        Severity.ERROR,
        "address from outside in the range of ClusterIPs",
        "Only the API server gives out addresses of this range. The Service that gets the address, now or later, goes"
        " first in kproxy; in kube-proxy it is chance.",
        "use an address outside the cluster's ranges",
        _in_service_ranges,
    ),
    Check(
        "KPX016",
        Severity.ERROR,
        "address from outside in a range of pods",
        "A pod with this address cannot be reached on the Service's ports: every node sends them to the Service.",
        "use an address outside the cluster's ranges",
        _in_pod_ranges,
    ),
    Check(
        "KPX017",
        Severity.WARNING,
        "external address of a node",
        "On its ports the Service takes what was for the node itself, on every node of the cluster: SSH, kubelet or the"
        " API server if it names their port.",
        "use a NodePort, or an address that is no node's",
        _external_on_nodes,
    ),
    Check(
        "KPX018",
        Severity.INFO,
        "load balancer address of a node",
        "Some load balancers (k3s' own, for one) hand out node addresses on purpose. The Service then takes its ports"
        " on them.",
        "nothing, if the load balancer works so",
        _balancer_on_nodes,
    ),
    Check(
        "KPX019",
        Severity.ERROR,
        "load balancer address that none can be",
        "The status of a Service is written by the load balancer's controller.",
        "see to that controller",
        _special_balancer,
    ),
    Check(
        "KPX020",
        Severity.ERROR,
        "two Services claim one address and port",
        "A ClusterIP goes first, then the older Service. What is lost is not served at all, and the loser does not"
        " hear of it: in kube-proxy chance decides.",
        "give one of them another address or port",
        _conflicts,
    ),
    Check(
        "KPX021",
        Severity.ERROR,
        "two Services claim one health-check port",
        "Health-check ports and NodePorts share one space, for both listen on the node.",
        "give one of them another port",
        _health_conflicts,
    ),
)
