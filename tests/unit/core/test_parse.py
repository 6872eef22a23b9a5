"""Nodes, ServiceCIDRs, and whole answers of a real API server."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kproxy.core.model import Kind, Node, Service, ServiceCIDR
from kproxy.core.parse import decode_key, decode_object
from kproxy.core.values import ObjectKey
from kproxy.errors import ParseError

DATA = Path(__file__).parents[2] / "data"


class ListOfAny(msgspec.Struct):
    items: list[msgspec.Raw]


def decoded(kind: Kind, document: Any) -> Any:
    return decode_object(kind, json.dumps(document).encode())


def test_a_node_keeps_internal_addresses_before_external_ones() -> None:
    found = decoded(
        Kind.NODE,
        {
            "metadata": {
                "name": "node-a.example",
                "namespace": "ignored",
                "labels": {"topology.kubernetes.io/zone": "z1"},
            },
            "spec": {"podCIDR": "10.64.1.0/24", "podCIDRs": ["10.64.1.0/24", "fd00:64:1::/64"]},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "node-a"},
                    {"type": "ExternalIP", "address": "203.0.113.1"},
                    {"type": "InternalIP", "address": "192.0.2.11"},
                    {"type": "InternalIP", "address": "2001:DB8::11"},
                    {"type": "InternalIP", "address": "192.0.2.11"},
                ]
            },
        },
    )
    assert found == Node(
        name="node-a.example",
        addresses=("192.0.2.11", "2001:db8::11", "203.0.113.1"),
        pod_cidrs=(ipaddress.ip_network("10.64.1.0/24"), ipaddress.ip_network("fd00:64:1::/64")),
        zone="z1",
    )


@pytest.mark.parametrize(
    ("spec", "expected"), [(None, ()), ({}, ()), ({"podCIDR": "10.0.0.0/24"}, (ipaddress.ip_network("10.0.0.0/24"),))]
)
def test_a_sparse_node(spec: Any, expected: tuple[Any, ...]) -> None:
    assert decoded(Kind.NODE, {"metadata": {"name": "n"}, "spec": spec}) == Node("n", (), expected, "")


def test_a_service_cidr() -> None:
    found = decoded(Kind.SERVICE_CIDR, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}})
    assert found == ServiceCIDR("kubernetes", (ipaddress.ip_network("10.96.0.0/16"),))


@pytest.mark.parametrize(
    ("kind", "document", "what", "field"),
    [
        (Kind.NODE, {"metadata": {"name": "A"}}, "Node 'A'", "metadata.name"),
        (
            Kind.NODE,
            {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "x"}]}},
            "Node n",
            "status.addresses[0].address",
        ),
        (Kind.NODE, {"metadata": {"name": "n"}, "spec": {"podCIDR": "x"}}, "Node n", "spec.podCIDR"),
        (
            Kind.NODE,
            {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.0.0.0/8", "x"]}},
            "Node n",
            "spec.podCIDRs[1]",
        ),
        (
            Kind.NODE,
            {"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "a b"}}},
            "Node n",
            "metadata.labels[topology.kubernetes.io/zone]",
        ),
        (Kind.SERVICE_CIDR, {"metadata": {"name": "k"}}, "ServiceCIDR k", "spec.cidrs"),
        (Kind.SERVICE_CIDR, {"metadata": {"name": "k"}, "spec": {"cidrs": ["1"]}}, "ServiceCIDR k", "spec.cidrs[0]"),
    ],
)
def test_refusals(kind: Kind, document: Any, what: str, field: str) -> None:
    with pytest.raises(ParseError) as caught:
        decoded(kind, document)
    assert (caught.value.what, caught.value.field) == (what, field)


def items_of(recording: str) -> list[msgspec.Raw]:
    answer = json.loads((DATA / "recordings" / recording).read_text())
    return msgspec.json.decode(answer["response"]["body"], type=ListOfAny).items


@pytest.mark.parametrize(
    ("recording", "kind", "expected"),
    [
        (
            "services-list.json",
            Kind.SERVICE,
            {"default/kubernetes": True, "shop/custom-proxy": False, "shop/dns": True},
        ),
        ("endpointslices-list.json", Kind.ENDPOINT_SLICE, {"default/kubernetes": True, "shop/dns-1": True}),
        ("nodes-list-own.json", Kind.NODE, {"/node-a": True}),
        ("servicecidrs-list.json", Kind.SERVICE_CIDR, {"/kubernetes": True}),
    ],
)
def test_what_a_real_api_server_sends(recording: str, kind: Kind, expected: dict[str, bool]) -> None:
    served = {str(decode_key(kind, raw)): decode_object(kind, raw) is not None for raw in items_of(recording)}
    assert expected.items() <= served.items()


def test_every_object_of_the_conformance_vectors_is_served() -> None:
    documents = json.loads((DATA / "conformance" / "packets.json").read_text())["objects"]["items"]
    for name in ("flows-iptables.json", "flows-nftables.json"):
        for case in json.loads((DATA / "conformance" / name).read_text())["cases"]:
            documents += case["services"] + case["endpointSlices"]
    assert len(documents) > 150
    assert [document for document in documents if decoded(Kind(document["kind"]), document) is None] == []


def test_the_api_servers_own_service() -> None:
    found = [decode_object(Kind.SERVICE, raw) for raw in items_of("services-list.json")]
    (service,) = [
        item for item in found if isinstance(item, Service) and item.key == ObjectKey("default", "kubernetes")
    ]
    assert service.cluster_ips == ("10.96.0.1",)
    assert service.created == "2026-11-22T11:26:24Z"
