"""Manifests as values, and what lint says about them: the way of `kproxy lint -f`, without the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kproxy.lint.finding import Finding
from kproxy.wiring.lint import lint_asked
from kproxy.wiring.question import Asked

Json = dict[str, Any]
HTTP = {"name": "http", "port": 80}


def service(name: str = "cart", meta: Json | None = None, status: Json | None = None, **spec: Any) -> Json:
    """A Service of namespace shop with a ClusterIP, a selector and port http, but for the fields given."""
    plain = {"clusterIP": "10.96.0.1", "selector": {"app": name}, "ports": [HTTP], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", **(meta or {})},
        "spec": {field: value for field, value in plain.items() if value is not None},
        "status": status or {},
    }


def balancer(*ips: str, **fields: Any) -> Json:
    """A Service of type LoadBalancer with these addresses."""
    status = {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}
    return service(status=status, type="LoadBalancer", **fields)


def noted(name: str, value: object) -> Json:
    """Metadata with one annotation."""
    return {"annotations": {name: value}}


def endpoint(address: str, **fields: Any) -> Json:
    """An endpoint, ready, on node-a."""
    return {"addresses": [address], "nodeName": "node-a", **fields}


def endpoint_slice(*endpoints: Json, of: str = "cart", name: str = "", port: str = "http") -> Json:
    """An EndpointSlice of a Service; its family is the first endpoint's."""
    addresses = [one["addresses"][0] for one in endpoints] or ["10.64.1.10"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{of}-x",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
        "ports": [{"name": port, "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def node(name: str = "node-a", *addresses: str, zone: str = "zone-1", pods: str = "10.64.1.0/24") -> Json:
    """A Node."""
    listed = [{"type": "InternalIP", "address": one} for one in addresses or ("192.0.2.11",)]
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDRs": [pods]},
        "status": {"addresses": listed},
    }


SERVICE_CIDR: Json = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/16"]},
}
GOOD = endpoint_slice(endpoint("10.64.1.10"))


def found_in(directory: Path, *objects: Json | str, **asked: Any) -> tuple[Finding, ...]:
    """What lint finds in these objects, written to one file; text stands for itself."""
    path = directory / "cluster.yaml"
    path.write_text("\n---\n".join(one if isinstance(one, str) else json.dumps(one, indent=1) for one in objects))
    report, _ = lint_asked(Asked(files=(str(path),), **asked), live=False)
    return report.findings
