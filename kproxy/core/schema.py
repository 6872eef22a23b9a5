"""The API's own shapes, reduced to the fields that a service proxy uses.

Rules: every field is optional and null means absent, since manifests are
sparse and the API server writes nulls; unknown fields are skipped without
being built; no default is applied and nothing is judged here, that is
`core/parse.py`'s work. Field names follow the API of Kubernetes 1.36.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from kproxy.core.values import Value

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"
TCP_DRAIN_ANNOTATION = "kproxy.io/tcp-drain-seconds"
SCHEDULER_ANNOTATION = "kproxy.io/ipvs-scheduler"
DRAIN_TIMEOUT_ANNOTATION = "kproxy.io/drain-timeout"


class Wire(Value, frozen=True, rename="camel"):
    """The base of all shapes; camelCase is the API's spelling."""


class Labels(Wire, frozen=True):
    """The labels that mean something to a service proxy; where presence alone counts, absent is UNSET."""

    service_name: str | None = field(default=None, name=SERVICE_NAME_LABEL)
    proxy_name: str | UnsetType | None = field(default=UNSET, name=PROXY_NAME_LABEL)
    headless: str | UnsetType | None = field(default=UNSET, name=HEADLESS_LABEL)
    zone: str | None = field(default=None, name=ZONE_LABEL)


class Annotations(Wire, frozen=True):
    """The annotations that mean something to kproxy; the API allows text alone, sparse manifests write numbers."""

    tcp_drain: str | int | None = field(default=None, name=TCP_DRAIN_ANNOTATION)
    scheduler: str | int | None = field(default=None, name=SCHEDULER_ANNOTATION)
    drain_timeout: str | int | None = field(default=None, name=DRAIN_TIMEOUT_ANNOTATION)


NO_ANNOTATIONS = Annotations()


class Metadata(Wire, frozen=True):
    """`metadata` of any object."""

    name: str | None = None
    namespace: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Labels | None = None
    annotations: Annotations | None = None


NO_METADATA = Metadata()


class ServicePort(Wire, frozen=True):
    """`spec.ports[]` of a Service."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None


class ClientIPConfig(Wire, frozen=True):
    """`spec.sessionAffinityConfig.clientIP`."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Wire, frozen=True):
    """`spec.sessionAffinityConfig`."""

    client_ip: ClientIPConfig | None = field(default=None, name="clientIP")


class ServiceSpec(Wire, frozen=True):
    """`spec` of a Service."""

    type: str | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    external_ips: list[str] | None = field(default=None, name="externalIPs")
    load_balancer_source_ranges: list[str] | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    health_check_node_port: int | None = None
    ports: list[ServicePort] | None = None


class Ingress(Wire, frozen=True):
    """`status.loadBalancer.ingress[]`."""

    ip: str | None = None
    ip_mode: str | None = None


class LoadBalancer(Wire, frozen=True):
    """`status.loadBalancer`."""

    ingress: list[Ingress] | None = None


class ServiceStatus(Wire, frozen=True):
    """`status` of a Service."""

    load_balancer: LoadBalancer | None = None


class Service(Wire, frozen=True):
    """Service, v1."""

    metadata: Metadata | None = None
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class Conditions(Wire, frozen=True):
    """`endpoints[].conditions`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Wire, frozen=True):
    """`endpoints[].hints.forZones[]` and `forNodes[]`."""

    name: str | None = None


class Hints(Wire, frozen=True):
    """`endpoints[].hints`."""

    for_zones: list[Hint] | None = None
    for_nodes: list[Hint] | None = None


class SliceEndpoint(Wire, frozen=True):
    """`endpoints[]` of an EndpointSlice."""

    addresses: list[str] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None


class Port(Wire, frozen=True):
    """`ports[]` of an EndpointSlice or of an Endpoints subset."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(Wire, frozen=True):
    """EndpointSlice, discovery.k8s.io/v1."""

    metadata: Metadata | None = None
    address_type: str | None = None
    ports: list[Port] | None = None
    endpoints: list[SliceEndpoint] | None = None


class Taint(Wire, frozen=True):
    """`spec.taints[]` of a Node."""

    key: str | None = None


class NodeSpec(Wire, frozen=True):
    """`spec` of a Node."""

    pod_cidr: str | None = field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = field(default=None, name="podCIDRs")
    taints: list[Taint] | None = None


class NodeAddress(Wire, frozen=True):
    """`status.addresses[]` of a Node."""

    type: str | None = None
    address: str | None = None


class NodeStatus(Wire, frozen=True):
    """`status` of a Node."""

    addresses: list[NodeAddress] | None = None


class Node(Wire, frozen=True):
    """Node, v1."""

    metadata: Metadata | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class ServiceCIDRSpec(Wire, frozen=True):
    """`spec` of a ServiceCIDR."""

    cidrs: list[str] | None = None


class ServiceCIDR(Wire, frozen=True):
    """ServiceCIDR, networking.k8s.io/v1."""

    metadata: Metadata | None = None
    spec: ServiceCIDRSpec | None = None


class SubsetAddress(Wire, frozen=True):
    """`subsets[].addresses[]` and `notReadyAddresses[]`."""

    ip: str | None = None
    node_name: str | None = None


class Subset(Wire, frozen=True):
    """`subsets[]` of an Endpoints object."""

    addresses: list[SubsetAddress] | None = None
    not_ready_addresses: list[SubsetAddress] | None = None
    ports: list[Port] | None = None


class Endpoints(Wire, frozen=True):
    """Endpoints, v1: what a Service had before EndpointSlices."""

    metadata: Metadata | None = None
    subsets: list[Subset] | None = None


class Named(Wire, frozen=True):
    """Any object, when only its name is wanted."""

    metadata: Metadata | None = None
