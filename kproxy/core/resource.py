"""Which objects are asked for, and with which selectors: the server filters, so that we never see what is not ours.

Selectors are those of kube-proxy 1.36: Services that no other proxy claims
(label `service.kubernetes.io/service-proxy-name`; an instance asks for its own)
and that have a ClusterIP, EndpointSlices that do not mirror a headless Service, the node's own Node.
"""

from __future__ import annotations

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import Kind
from kproxy.core.values import Value


class Resource(Value, frozen=True):
    """One collection of the API: its path and the selectors that every list and watch of it carries."""

    kind: Kind
    path: str
    selectors: tuple[tuple[str, str], ...] = ()
    optional: bool = False
    """Whether a server may lack it: then 404 means an empty list."""
    instance: Instance = DEFAULT
    """Whose Services are asked for, and read."""


def services_of(instance: Instance) -> Resource:
    """The Services of an instance."""
    selectors = (("fieldSelector", "spec.clusterIP!=None"), ("labelSelector", instance.selector))
    return Resource(Kind.SERVICE, "/api/v1/services", selectors, instance=instance)


SERVICES = services_of(DEFAULT)
ENDPOINT_SLICES = Resource(
    Kind.ENDPOINT_SLICE,
    "/apis/discovery.k8s.io/v1/endpointslices",
    (("labelSelector", "!service.kubernetes.io/headless"),),
)
SERVICE_CIDRS = Resource(Kind.SERVICE_CIDR, "/apis/networking.k8s.io/v1/servicecidrs", optional=True)
"""Served as v1 since Kubernetes 1.33."""


def own_node(name: str) -> Resource:
    """The node that this agent runs on, and no other."""
    return Resource(Kind.NODE, "/api/v1/nodes", (("fieldSelector", f"metadata.name={name}"),))


def resources(node: str, instance: Instance = DEFAULT) -> dict[Kind, Resource]:
    """Everything that an instance of a service proxy on `node` asks for."""
    found = (services_of(instance), ENDPOINT_SLICES, own_node(node), SERVICE_CIDRS)
    return {resource.kind: resource for resource in found}
