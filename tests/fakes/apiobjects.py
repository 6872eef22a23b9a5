"""Objects as an API server stores them, made up: single ones for tests, whole clusters for measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def service(name: str, namespace: str = "shop", cluster_ip: str = "10.96.0.20", **spec: Any) -> Json:
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": "2026-11-22T11:26:24Z"},
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            **spec,
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(
    service_name: str,
    addresses: list[str],
    namespace: str = "shop",
    suffix: str = "1",
    nodes: Sequence[str] = ("node-a",),
) -> Json:
    """The endpoints go round the nodes."""
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": f"{service_name}-{suffix}",
            "namespace": namespace,
            "generation": 1,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": nodes[number % len(nodes)],
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{service_name}-{number}"},
                "zone": "zone-1",
            }
            for number, address in enumerate(addresses)
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def node(name: str, zone: str = "zone-1") -> Json:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"podCIDR": "10.64.1.0/24", "podCIDRs": ["10.64.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    }


def service_cidr(name: str = "kubernetes") -> Json:
    return {
        "kind": "ServiceCIDR",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": name},
        "spec": {"cidrs": ["10.96.0.0/12"]},
    }


MANAGED_FIELDS = [
    {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-22T11:26:24Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:spec": {
                "f:internalTrafficPolicy": {},
                "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}},
                "f:sessionAffinity": {},
                "f:type": {},
            }
        },
    }
]


NODES = ("node-a", *(f"node-{number:03}" for number in range(1, 100)))
"""Where the pods of a cluster run, in turn."""


def cluster(services: int, endpoints: int) -> list[Json]:
    """A node, a ServiceCIDR, and Services with one slice each, as big as a cluster's controllers make them."""
    items = [node("node-a"), service_cidr()]
    for number in range(services):
        name, namespace = f"service-{number:05}", f"team-{number % 50:02}"
        items.append(service(name, namespace, address(10, 96, number + 1)))
        pods = [address(10, 128, number * endpoints + index + 1) for index in range(endpoints)]
        first = number * endpoints % len(NODES)
        items.append(endpoint_slice(name, pods, namespace, nodes=NODES[first:] + NODES[:first]))
    for item in items:
        item["metadata"]["managedFields"] = MANAGED_FIELDS
    return items


def address(first: int, second: int, number: int) -> str:
    whole = (first << 24 | second << 16) + number
    return ".".join(str(whole >> shift & 255) for shift in (24, 16, 8, 0))
