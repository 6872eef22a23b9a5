"""Generated clusters, as the API server would list them: one TCP port and ClusterIP per Service, all endpoints ready.

ClusterIPs are drawn from 10.96.0.0/12 with a fixed seed, as the API server
draws them; endpoints count up from 10.64.0.1, and a node holds 110 of them.
"""

from __future__ import annotations

import ipaddress
import json
import random
from typing import Any, Final

NAMESPACES: Final = 50
PODS_PER_NODE: Final = 110
PORT, TARGET_PORT = 80, 8080
NODE: Final = "node-0"
POD_RANGE: Final = "10.64.0.0/11"
SERVICE_RANGE: Final = ipaddress.ip_network("10.96.0.0/12")


def cluster_ips(services: int) -> list[str]:
    """The ClusterIPs of Services 0 to n-1; a smaller cluster has the first of a larger one."""
    chosen: dict[int, None] = {}
    dice = random.Random(1)
    while len(chosen) < services:
        chosen[dice.randrange(1, SERVICE_RANGE.num_addresses - 1)] = None
    return [str(SERVICE_RANGE[number]) for number in chosen]


def endpoint_address(number: int) -> str:
    """The address of endpoint `number` of the whole cluster."""
    return str(ipaddress.IPv4Address("10.64.0.1") + number)


def fresh_endpoint(services: int, endpoints: int, service: int) -> int:
    """The number of an endpoint that is new in a cluster, for a change of this Service."""
    return services * endpoints + service


def names(service: int) -> tuple[str, str]:
    """Namespace and name of a Service."""
    return f"team-{service % NAMESPACES:02}", f"service-{service:06}"


def service_list(services: int) -> bytes:
    """The body of a list of v1 Services."""
    return _list("ServiceList", "v1", [_service(number, ip) for number, ip in enumerate(cluster_ips(services))])


def slice_list(services: int, endpoints: int) -> bytes:
    """The body of a list of EndpointSlices, one per Service."""
    items = [endpoint_slice(number, range(number * endpoints, (number + 1) * endpoints)) for number in range(services)]
    return _list("EndpointSliceList", "discovery.k8s.io/v1", items)


def endpoint_slice(service: int, endpoints: range | list[int]) -> dict[str, Any]:
    """The EndpointSlice of a Service with the endpoints of these numbers."""
    namespace, name = names(service)
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-abcde",
            "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
        "endpoints": [
            {
                "addresses": [endpoint_address(number)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{number // PODS_PER_NODE}",
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{name}-{number}"},
            }
            for number in endpoints
        ],
    }


def _service(number: int, ip: str) -> dict[str, Any]:
    namespace, name = names(number)
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "http", "protocol": "TCP", "port": PORT, "targetPort": TARGET_PORT}],
        },
    }


def _list(kind: str, version: str, items: list[dict[str, Any]]) -> bytes:
    body = {"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "1"}, "items": items}
    return json.dumps(body, separators=(",", ":")).encode()
