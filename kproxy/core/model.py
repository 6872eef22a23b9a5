"""What the cluster says, reduced to the fields that decide packets.

One frozen value per Kubernetes object. `core/parse.py` makes them and is the
only place that knows the API's own shapes, defaults and validation; whoever
reads these values may rely on canonical addresses, ports of 1 to 65535 and
known enumerations. Two objects that differ only in what a service proxy does
not use (annotations, resource versions, heartbeats) are equal here.
"""

from __future__ import annotations

import enum

from kproxy.core.values import Family, Network, ObjectKey, Protocol, Value


class Kind(enum.StrEnum):
    """The kinds of object that are watched."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    NODE = "Node"
    SERVICE_CIDR = "ServiceCIDR"


class ServiceType(enum.StrEnum):
    """`spec.type`; ExternalName never becomes a Service value."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class TrafficPolicy(enum.StrEnum):
    """`spec.internalTrafficPolicy` and `spec.externalTrafficPolicy`."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class ServicePort(Value, frozen=True):
    """One of `spec.ports`; `node_port` is 0 where there is none, `name` empty where it has none."""

    name: str
    protocol: Protocol
    port: int
    node_port: int


class Service(Value, frozen=True):
    """A Service that this proxy serves: not headless, not ExternalName, not another proxy's."""

    key: ObjectKey
    created: str
    """`metadata.creationTimestamp` (RFC 3339, so text order is time order); empty when unknown: oldest."""
    type: ServiceType
    cluster_ips: tuple[str, ...]
    """At most one per family."""
    external_ips: tuple[str, ...]
    load_balancer_ips: tuple[str, ...]
    """`status.loadBalancer.ingress[].ip` with ipMode VIP; ipMode Proxy gives none."""
    source_ranges: tuple[Network, ...] | None
    """`spec.loadBalancerSourceRanges`; None when the field is empty, so that everybody may come."""
    internal_policy: TrafficPolicy
    external_policy: TrafficPolicy
    affinity_s: int
    """ClientIP affinity's time-out in seconds, 0 without affinity."""
    health_check_port: int
    """`spec.healthCheckNodePort`, 0 when there is none."""
    ports: tuple[ServicePort, ...]
    tcp_drain_s: int | None = None
    """Annotation `kproxy.io/tcp-drain-seconds`: after how long TCP flows to an endpoint that is gone are removed."""
    scheduler: str = ""
    """Annotation `kproxy.io/ipvs-scheduler`, one of `IPVS_SCHEDULERS`; empty: the node's."""
    drain_s: int | None = None
    """Annotation `kproxy.io/drain-timeout`: how long IPVS lets a leaving TCP endpoint finish; None: as the node."""


IPVS_SCHEDULERS = ("rr", "wrr", "lc", "wlc", "dh", "sh", "sed", "nq", "mh")
"""What the annotation may name."""


class SlicePort(Value, frozen=True):
    """A port of an EndpointSlice, matched to a ServicePort by name and protocol."""

    name: str
    protocol: Protocol
    port: int


class SliceEndpoint(Value, frozen=True):
    """One of an EndpointSlice's endpoints; only its first address counts, as in kube-proxy."""

    address: str
    ready: bool
    serving: bool
    terminating: bool
    node: str
    """`nodeName`, empty when unknown."""
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]


class EndpointSlice(Value, frozen=True):
    """An EndpointSlice of one family that belongs to a Service (slices of addressType FQDN do not exist here)."""

    key: ObjectKey
    service: ObjectKey
    family: Family
    ports: tuple[SlicePort, ...]
    endpoints: tuple[SliceEndpoint, ...]


class Node(Value, frozen=True):
    """A Node as far as a service proxy needs it."""

    name: str
    addresses: tuple[str, ...]
    """InternalIPs, then ExternalIPs, in the API's order: the first of a family is its primary one."""
    pod_cidrs: tuple[Network, ...]
    zone: str
    """Label `topology.kubernetes.io/zone`, empty when it is not set."""
    leaving: bool = False
    """Whether it is being deleted, or the cluster autoscaler has announced to take it away."""


class ServiceCIDR(Value, frozen=True):
    """A range that ClusterIPs are allocated from (networking.k8s.io/v1)."""

    name: str
    cidrs: tuple[Network, ...]


KubeObject = Service | EndpointSlice | Node | ServiceCIDR

NO_NAMESPACE = ""


def key_of(item: KubeObject) -> ObjectKey:
    """The object's key; cluster-scoped objects have an empty namespace."""
    if isinstance(item, Service | EndpointSlice):
        return item.key
    return ObjectKey(NO_NAMESPACE, item.name)


class Applied(Value, frozen=True):
    """An object was added or changed."""

    item: KubeObject
    triggered_at: float | None = None
    """When a pod or Service changed for which the endpoints did, in seconds since the epoch (its annotation)."""


class Deleted(Value, frozen=True):
    """An object is gone, or is no longer one that this proxy serves."""

    kind: Kind
    key: ObjectKey


class Replaced(Value, frozen=True):
    """The whole list of a kind, complete at its source."""

    kind: Kind
    items: tuple[KubeObject, ...]
    unreadable: frozenset[ObjectKey] = frozenset()
    """Objects that exist but could not be read: what was last known of them stays in force."""


class Flaws(Value, frozen=True):
    """All that a source cannot read as a whole at this moment, each with its place; empty: nothing."""

    faults: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Those among them of which it was never known what they say: something may be missing."""


Event = Applied | Deleted | Replaced | Flaws
