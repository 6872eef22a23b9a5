"""Checks of traffic policies and topology: nodes that drop, hints that are ignored, words that nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from kproxy.core.claims import health_check_port
from kproxy.core.endpoints import Candidates, is_draining
from kproxy.core.model import Service, ServiceType, SliceEndpoint, TrafficPolicy
from kproxy.lint.finding import Check, Found, Severity, cluster_scoped, service
from kproxy.lint.objects import annotation
from kproxy.lint.subject import Subject, Supplied, services_of, some_of

INTERNAL: Final = "spec.internalTrafficPolicy"
EXTERNAL: Final = "spec.externalTrafficPolicy"
DISTRIBUTION: Final = "spec.trafficDistribution"
DISTRIBUTIONS: Final = ("PreferSameZone", "PreferSameNode", "PreferClose")
TOPOLOGY_ANNOTATIONS: Final = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
DEFAULT_AFFINITY_S: Final = 10_800


def _usable(entry: SliceEndpoint) -> bool:
    return entry.ready or is_draining(entry)


def _lacking(subject: Subject, one: Supplied) -> list[str]:
    """The nodes without an endpoint of a port that has some elsewhere."""
    having = {entry.node for entry in one.candidates.values() if _usable(entry)}
    return [node.name for node in subject.nodes if node.name not in having] if having else []


def _local(subject: Subject, field: str, wanted: Callable[[Service], bool]) -> Iterator[tuple[Supplied, str, str]]:
    """Ports of Services with a Local policy that some nodes have no endpoint of: the port, how many nodes, which."""
    for one in subject.supplied:
        policy = one.service.internal_policy if field == INTERNAL else one.service.external_policy
        if policy is TrafficPolicy.LOCAL and wanted(one.service):
            names = _lacking(subject, one)
            if names:
                yield one, f"{len(names)} of {len(subject.nodes)} nodes", some_of(names)


def _internal_local(subject: Subject) -> Iterator[Found]:
    for one, count, names in _local(subject, INTERNAL, lambda _: True):
        reason = (
            f"{one.label}: {count} have no {one.family.label} endpoint and drop what goes to the ClusterIP: {names}"
        )
        yield Found(service(one.service.key), INTERNAL, "Local", reason)


def _external_local(subject: Subject) -> Iterator[Found]:
    for one, count, names in _local(subject, EXTERNAL, lambda it: is_external(it) and not health_check_port(it)):
        reason = f"{one.label}: {count} have no {one.family.label} endpoint and drop what comes from outside: {names}"
        yield Found(service(one.service.key), EXTERNAL, "Local", reason)


def _checked_local(subject: Subject) -> Iterator[Found]:
    for one, count, names in _local(subject, EXTERNAL, lambda it: is_external(it) and health_check_port(it) > 0):
        reason = (
            f"{one.label}: {count} have no {one.family.label} endpoint ({names}); the load balancer learns that from"
            f" port {health_check_port(one.service)}, clients of NodePorts do not"
        )
        yield Found(service(one.service.key), EXTERNAL, "Local", reason)


def _homeless(subject: Subject) -> Iterator[Found]:
    for one in subject.supplied:
        usable = [entry for entry in one.candidates.values() if _usable(entry)]
        field = _local_field(one.service)
        if field and usable and not any(entry.node for entry in usable):
            reason = f"{one.label}: no {one.family.label} endpoint says on which node it is, so every node drops"
            yield Found(service(one.service.key), field, "Local", reason)


def _local_field(one: Service) -> str:
    """The first policy of a Service that is Local and counts; empty if none is."""
    if one.internal_policy is TrafficPolicy.LOCAL:
        return INTERNAL
    return EXTERNAL if one.external_policy is TrafficPolicy.LOCAL and is_external(one) else ""


def is_external(one: Service) -> bool:
    """Whether it can be reached by anything but its ClusterIPs."""
    return bool(one.external_ips or one.load_balancer_ips or any(port.node_port for port in one.ports))


def _unchecked(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        is_local = one.type is ServiceType.LOAD_BALANCER and one.external_policy is TrafficPolicy.LOCAL
        if is_local and not one.health_check_port and one.key not in subject.unassigned:
            reason = "has no port at which a load balancer could ask which nodes have an endpoint"
            yield Found(service(one.key), "spec.healthCheckNodePort", "", reason)


def _zones(one: Supplied) -> Candidates:
    return {at: entry for at, entry in one.candidates.items() if entry.ready}


def _partly_hinted(subject: Subject) -> Iterator[Found]:
    for one in subject.supplied:
        ready = _zones(one)
        for word, hints in HINTS:
            without = [at for at, entry in ready.items() if not hints(entry)]
            if without and len(without) < len(ready):
                shown = some_of(f"{address}" for address, _ in without)
                reason = (
                    f"{one.label}: {word} hints are ignored on every node, for {len(without)} of {len(ready)} ready"
                    f" {one.family.label} endpoints have none: {shown}"
                )
                yield Found(service(one.service.key), DISTRIBUTION, "", reason)


def _unserved_zones(subject: Subject) -> Iterator[Found]:
    zones = sorted({node.zone for node in subject.nodes if node.zone})
    for one in subject.supplied:
        ready = _zones(one)
        if not ready or not all(entry.zone_hints for entry in ready.values()):
            continue
        hinted = {zone for entry in ready.values() for zone in entry.zone_hints}
        lacking = [zone for zone in zones if zone not in hinted]
        if lacking:
            reason = (
                f"{one.label}: no ready {one.family.label} endpoint is hinted for zone {some_of(lacking)}: all are used"
            )
            yield Found(service(one.service.key), DISTRIBUTION, "", reason)


def _zoneless_nodes(subject: Subject) -> Iterator[Found]:
    hinted = [one for one in subject.supplied if any(entry.zone_hints for entry in one.candidates.values())]
    for node in subject.nodes:
        if hinted and not node.zone:
            count = len({one.service.key for one in hinted})
            reason = f"has no zone, so it ignores the zone hints of {count} Service{'s' if count > 1 else ''}"
            yield Found(cluster_scoped("Node", node.name), "metadata.labels[topology.kubernetes.io/zone]", "", reason)


def _unknown_distribution(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        value = spec.traffic_distribution
        if value and value not in DISTRIBUTIONS:
            reason = f"{value[:80]!r} is not one of {', '.join(DISTRIBUTIONS)}, and the API server refuses it"
            yield Found(service(one.key), DISTRIBUTION, value, reason)


def _old_distribution(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        if spec.traffic_distribution == "PreferClose":
            yield Found(service(one.key), DISTRIBUTION, "PreferClose", "is an old name of PreferSameZone")


def _old_topology(subject: Subject) -> Iterator[Found]:
    for one, spec in services_of(subject):
        written = subject.written.get(service(one.key))
        for name in TOPOLOGY_ANNOTATIONS:
            if written is not None and name in written.annotations:
                wins = (
                    f"; it goes before trafficDistribution: {spec.traffic_distribution}"
                    if spec.traffic_distribution
                    else ""
                )
                reason = f"is deprecated, and gives hints only where CPU and endpoints are evenly spread{wins}"
                yield Found(service(one.key), annotation(name), str(written.annotations[name]), reason)


def _long_affinity(subject: Subject) -> Iterator[Found]:
    for one in subject.snapshot.services.values():
        if one.affinity_s > DEFAULT_AFFINITY_S:
            field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            reason = f"keeps a client, and all behind its NAT, on one endpoint for {one.affinity_s / 3600:g} hours"
            yield Found(service(one.key), field, str(one.affinity_s), reason)


HINTS: Final[tuple[tuple[str, Callable[[SliceEndpoint], tuple[str, ...]]], ...]] = (
    ("zone", lambda entry: entry.zone_hints),
    ("node", lambda entry: entry.node_hints),
)

CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX050",
        Severity.WARNING,
        "internal policy Local on nodes without an endpoint",
        "internalTrafficPolicy: Local never leaves the node: a pod or process on a node without an endpoint gets no"
        " answer, not even a refusal.",
        "run the pods on every node (DaemonSet), or use trafficDistribution: PreferSameNode, which falls back",
        _internal_local,
    ),
    Check(
        "KPX051",
        Severity.WARNING,
        "external policy Local on nodes without an endpoint",
        "externalTrafficPolicy: Local drops what reaches a node without an endpoint. Without a health-check port"
        " nothing keeps clients away from such nodes.",
        "use type LoadBalancer with its health check, or policy Cluster, or run the pods on every node",
        _external_local,
    ),
    Check(
        "KPX052",
        Severity.INFO,
        "external policy Local behind a health check",
        "That is how the policy is meant. NodePort clients still meet the nodes that drop, and so does everybody for"
        " the moments until the load balancer has asked again.",
        "nothing, if clients come by the load balancer only",
        _checked_local,
    ),
    Check(
        "KPX053",
        Severity.ERROR,
        "policy Local, and endpoints of no known node",
        "An endpoint is local if its nodeName is this node's name. One without is local nowhere.",
        "write nodeName into the EndpointSlice, or use policy Cluster",
        _homeless,
    ),
    Check(
        "KPX054",
        Severity.WARNING,
        "external policy Local without a health-check port",
        "A load balancer finds the nodes with an endpoint by spec.healthCheckNodePort.",
        "recreate the Service, so that the API server gives it one",
        _unchecked,
    ),
    Check(
        "KPX055",
        Severity.WARNING,
        "hints that are ignored",
        "Hints count only if every ready endpoint has them; one without is enough to send traffic through all zones.",
        "see that the EndpointSlice controller writes all slices of the Service",
        _partly_hinted,
    ),
    Check(
        "KPX056",
        Severity.INFO,
        "zone that no endpoint is hinted for",
        "Nodes of such a zone use all endpoints, as without hints.",
        "run a pod in each zone, or leave it",
        _unserved_zones,
    ),
    Check(
        "KPX057",
        Severity.WARNING,
        "node without a zone",
        "A node learns its zone from its label. Without, zone hints are ignored there and traffic crosses zones.",
        "label the Node with topology.kubernetes.io/zone",
        _zoneless_nodes,
    ),
    Check(
        "KPX058",
        Severity.ERROR,
        "unknown trafficDistribution",
        "The value is for the controller that writes hints; one that it does not know gives none.",
        "write PreferSameZone or PreferSameNode",
        _unknown_distribution,
    ),
    Check(
        "KPX059",
        Severity.INFO,
        "old name of a trafficDistribution",
        "PreferClose means PreferSameZone since Kubernetes 1.34.",
        "write PreferSameZone, where the cluster is new enough",
        _old_distribution,
    ),
    Check(
        "KPX060",
        Severity.WARNING,
        "deprecated topology annotation",
        "Topology aware routing by annotation is deprecated in favour of spec.trafficDistribution, which does not give"
        " up when zones are uneven.",
        "remove the annotation and set spec.trafficDistribution to PreferSameZone",
        _old_topology,
    ),
    Check(
        "KPX061",
        Severity.INFO,
        "affinity of many hours",
        "Affinity is by source address. New endpoints get no client that is held by old ones, and the time begins anew"
        " with every connection.",
        "shorten timeoutSeconds, or keep state outside the pods",
        _long_affinity,
    ),
)
