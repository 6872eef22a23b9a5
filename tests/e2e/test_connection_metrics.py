"""Connections in the metrics that a running agent serves: flows by Service, and what became of stale ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.pages import get, is_ready, scraped, until
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import running

pytestmark = pytest.mark.root

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}]
endpoints: [{addresses: [10.64.1.10]}]
"""
HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
NAT = "table ip t {\n chain c {\n type nat hook output priority 0\n }\n}\n"
"""Has the kernel take translated flows."""
OTHER_PORT = 10300
LIVE, GONE, CLIENTS = "10.64.1.10:8080", "10.64.1.99:53", ("10.64.1.1", "10.64.1.2")


def enter(client: str, protocol: str, port: int, endpoint: str) -> None:
    """A flow to the Service that this endpoint answers."""
    command = ["conntrack", "-I", "-p", protocol, "-s", client, "-d", "10.96.0.10", "--sport", "4000"]
    command += ["--dport", str(port), "--dst-nat", endpoint, "-t", "600", "-u", "SEEN_REPLY"]
    subprocess.run(command + ["--state", "ESTABLISHED"] * (protocol == "tcp"), check=True, capture_output=True)


def value(name: str, **labels: str) -> float | None:
    """A sample of the newest scrape; None if there is none."""
    found = [one for family in scraped().values() for one in family.samples if one.name == name]
    return next((one.value for one in found if one.labels == labels), None)


def test_flows_are_counted_by_service_and_stale_ones_as_they_are_removed(tmp_path: Path) -> None:
    manifests, config = tmp_path / "shop", tmp_path / "config"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text(SHOP)
    config.write_text(HEAD)

    def life() -> None:
        subprocess.run(["nft", "-f", "-"], input=NAT, text=True, check=True)
        for client in CLIENTS:
            enter(client, "tcp", 80, LIVE)
        enter(CLIENTS[0], "udp", 53, GONE)
        options = ("--source", str(manifests), "--config", str(config), "--node-name", "node-a")
        with running("run", "--backend", "nftables", *options):
            until(is_ready)
            until(lambda: value("kproxy_conntrack_service_flows", service="shop/cart:http") == len(CLIENTS))
            assert (value("kproxy_conntrack_limit") or 0) > 0
            assert (value("kproxy_conntrack_entries") or 0) >= len(CLIENTS)
            assert value("kproxy_conntrack_drop_total") == 0
            assert value("kproxy_conntrack_endpoint_flows", endpoint=f"{LIVE}/tcp") == len(CLIENTS)
            until(lambda: value("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family="IPv4") == 1)
            looks = value("kubeproxy_conntrack_reconciler_sync_duration_seconds_count", ip_family="IPv4")
            assert looks is not None
            assert looks >= 1
            config.write_text(f"{HEAD}metricsBindAddress: 127.0.0.1:{OTHER_PORT}\n")
            until(lambda: b'service_flows{service="shop/cart:http"} 2.0' in get(OTHER_PORT, "/metrics")[2])

    in_new_namespace(life)
