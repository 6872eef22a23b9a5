"""EndpointSlices and old Endpoints: what is taken, passed over and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kproxy.core.model import EndpointSlice, Kind, SliceEndpoint, SlicePort
from kproxy.core.parse import ENDPOINTS, convert, decode, decode_object, parse_endpoints, parse_object
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.errors import ParseError

OWNED = {"kubernetes.io/service-name": "cart"}


def slice_of(**fields: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cart-x7", "namespace": "shop", "labels": OWNED},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.64.1.10"]}],
        **fields,
    }


def decoded(document: dict[str, Any]) -> EndpointSlice | None:
    """Decoded from JSON, and the same again from a decoded document."""
    item = decode_object(Kind.ENDPOINT_SLICE, json.dumps(document).encode())
    assert item == parse_object(Kind.ENDPOINT_SLICE, convert(Kind.ENDPOINT_SLICE, document))
    assert item is None or isinstance(item, EndpointSlice)
    return item


def value(document: dict[str, Any]) -> EndpointSlice:
    item = decoded(document)
    assert item is not None
    return item


def endpoint(address: str, **fields: Any) -> SliceEndpoint:
    known = {"ready": True, "serving": True, "terminating": False, "node": "", "zone_hints": (), "node_hints": ()}
    return SliceEndpoint(address=address, **{**known, **fields})


def test_a_sparse_slice_gets_the_defaults_of_the_api() -> None:
    assert value(slice_of()) == EndpointSlice(
        key=ObjectKey("shop", "cart-x7"),
        service=ObjectKey("shop", "cart"),
        family=Family.IPV4,
        ports=(SlicePort("http", Protocol.TCP, 8080),),
        endpoints=(endpoint("10.64.1.10"),),
    )


def test_a_full_slice() -> None:
    found = value(
        slice_of(
            addressType="IPv6",
            ports=[{"name": "dns", "protocol": "UDP", "port": 53, "appProtocol": "x"}, {"protocol": "SCTP", "port": 9}],
            endpoints=[
                {
                    "addresses": ["FD00::0001", "not read"],
                    "conditions": {"ready": False, "serving": True, "terminating": True},
                    "nodeName": "node-a.example",
                    "hints": {"forZones": [{"name": "Zone_1"}], "forNodes": [{"name": "node-a"}, {"name": "node-b"}]},
                    "targetRef": {"kind": "Pod"},
                    "zone": "zone-1",
                }
            ],
        )
    )
    assert found.ports == (SlicePort("dns", Protocol.UDP, 53), SlicePort("", Protocol.SCTP, 9))
    assert found.endpoints == (
        endpoint(
            "fd00::1",
            ready=False,
            terminating=True,
            node="node-a.example",
            zone_hints=("Zone_1",),
            node_hints=("node-a", "node-b"),
        ),
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
        ({"ready": True}, (True, True, False)),
        ({"ready": False}, (False, True, False)),
        ({"ready": False, "terminating": True}, (False, True, True)),
        ({"ready": False, "serving": False}, (False, False, False)),
        ({"ready": True, "terminating": True}, (True, True, True)),
    ],
)
def test_absent_conditions_mean_ready_serving_and_not_terminating(
    conditions: dict[str, bool] | None, expected: tuple[bool, bool, bool]
) -> None:
    (found,) = value(slice_of(endpoints=[{"addresses": ["10.0.0.1"], "conditions": conditions}])).endpoints
    assert (found.ready, found.serving, found.terminating) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"name": "x"}},
        {"metadata": {"name": "x", "labels": {}}},
        {"metadata": {"name": "x", "labels": {"kubernetes.io/service-name": ""}}},
        {"metadata": {"name": "x", "labels": {**OWNED, "service.kubernetes.io/headless": ""}}},
        {"addressType": "FQDN", "endpoints": [{"addresses": ["x.example"]}]},
    ],
)
def test_what_is_not_ours_is_passed_over(fields: dict[str, Any]) -> None:
    assert decoded(slice_of(**fields)) is None


@pytest.mark.parametrize(
    "fields", [{"ports": None}, {"ports": []}, {"ports": [{"name": "x"}, {"name": "x", "port": 0}]}]
)
def test_ports_without_a_number_are_skipped(fields: dict[str, Any]) -> None:
    assert value(slice_of(**fields)).ports == ()


@pytest.mark.parametrize("endpoints", [None, []])
def test_a_slice_may_be_empty(endpoints: Any) -> None:
    assert value(slice_of(endpoints=endpoints)).endpoints == ()


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"addressType": None}, "addressType", "null is not one of IPv4, IPv6, FQDN"),
        ({"addressType": "ipv4"}, "addressType", "'ipv4' is not one of IPv4, IPv6, FQDN"),
        ({"endpoints": [{}]}, "endpoints[0].addresses", "is required"),
        ({"endpoints": [{"addresses": []}]}, "endpoints[0].addresses", "is required"),
        ({"endpoints": [{"addresses": ["x"]}]}, "endpoints[0].addresses[0]", "'x' is not an IPv4 or IPv6 address"),
        ({"endpoints": [{"addresses": ["fd00::1"]}]}, "endpoints[0].addresses[0]", "'fd00::1' is not an IPv4 address"),
        (
            {"endpoints": [{"addresses": ["127.0.0.1"]}]},
            "endpoints[0].addresses[0]",
            "must not be unspecified, loopback",
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": [1]}]},
            "endpoints[1].addresses[0]",
            "1 is not text",
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "a;b"}]},
            "endpoints[0].nodeName",
            "'a;b' is not a name",
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a b"}]}}]},
            "endpoints[0].hints.forZones[0].name",
            "'a b' is not a label value",
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "hints": {"forNodes": [{"name": "-"}]}}]},
            "endpoints[0].hints.forNodes[0].name",
            "'-' is not a name",
        ),
        (
            {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": "yes"}}]},
            "endpoints[0].conditions.ready",
            "'yes' is not true or false",
        ),
        ({"ports": [{"port": 70000}]}, "ports[0].port", "70000 is not a number from 1 to 65535"),
        ({"ports": [{"port": 1, "protocol": "ICMP"}]}, "ports[0].protocol", "'ICMP' is not one of TCP, UDP, SCTP"),
        ({"ports": [{"port": 1, "name": "a b"}]}, "ports[0].name", "'a b' is not a name"),
        ({"ports": [{"port": 1}, {"port": 2, "protocol": "UDP"}]}, "ports", "two ports are named ''"),
        (
            {"metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "a/b"}}},
            "metadata.labels[kubernetes.io/service-name]",
            "'a/b' is not a name",
        ),
    ],
)
def test_refusals_name_field_and_value(fields: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        decoded(slice_of(**fields))
    assert caught.value.field == field
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("family", "address"),
    [
        ("IPv4", "0.0.0.0"),
        ("IPv4", "127.9.9.9"),
        ("IPv4", "169.254.169.254"),
        ("IPv4", "224.0.0.251"),
        ("IPv6", "::"),
        ("IPv6", "::1"),
        ("IPv6", "fe80::1"),
        ("IPv6", "ff02::fb"),
        ("IPv6", "::ffff:127.0.0.1"),
    ],
)
def test_no_endpoint_points_into_the_node(family: str, address: str) -> None:
    with pytest.raises(ParseError, match=r"must not be|write it as IPv4"):
        decoded(slice_of(addressType=family, endpoints=[{"addresses": [address]}]))


@pytest.mark.parametrize(
    ("family", "address"),
    [("IPv4", "10.0.0.0"), ("IPv4", "224.0.1.1"), ("IPv6", "::2"), ("IPv6", "fec0::1"), ("IPv6", "ff05::1")],
)
def test_what_only_looks_special_is_taken(family: str, address: str) -> None:
    (found,) = value(slice_of(addressType=family, endpoints=[{"addresses": [address]}])).endpoints
    assert found.address == address


def old(**fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "cart", "namespace": "shop"}, **fields}


def slices(document: dict[str, Any]) -> tuple[EndpointSlice, ...]:
    return parse_endpoints(decode(ENDPOINTS, json.dumps(document).encode()))


def test_old_endpoints_become_one_slice_per_subset_and_family() -> None:
    found = slices(
        old(
            subsets=[
                {
                    "addresses": [{"ip": "10.0.0.1", "nodeName": "node-a", "targetRef": {}}, {"ip": "FD00::1"}],
                    "notReadyAddresses": [{"ip": "10.0.0.2"}],
                    "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
                },
                {"notReadyAddresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "http", "port": 8081}]},
                {},
            ]
        )
    )
    service = ObjectKey("shop", "cart")
    ports = (SlicePort("http", Protocol.TCP, 8080), SlicePort("dns", Protocol.UDP, 53))
    unready = {"ready": False, "serving": False}
    assert found == (
        EndpointSlice(
            ObjectKey("shop", "cart-endpoints-0-ipv4"),
            service,
            Family.IPV4,
            ports,
            (endpoint("10.0.0.1", node="node-a"), endpoint("10.0.0.2", **unready)),
        ),
        EndpointSlice(ObjectKey("shop", "cart-endpoints-0-ipv6"), service, Family.IPV6, ports, (endpoint("fd00::1"),)),
        EndpointSlice(
            ObjectKey("shop", "cart-endpoints-1-ipv4"),
            service,
            Family.IPV4,
            (SlicePort("http", Protocol.TCP, 8081),),
            (endpoint("10.0.0.3", **unready),),
        ),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"subsets": None},
        {"metadata": {"name": "x", "labels": {"service.kubernetes.io/headless": ""}}, "subsets": [{}]},
    ],
)
def test_old_endpoints_may_give_nothing(fields: dict[str, Any]) -> None:
    assert slices(old(**fields)) == ()


@pytest.mark.parametrize(
    ("subset", "field"),
    [
        ({"addresses": [{}]}, "subsets[1].addresses[0].ip"),
        ({"addresses": [{"ip": "127.0.0.1"}]}, "subsets[1].addresses[0].ip"),
        ({"notReadyAddresses": [{"ip": "10.0.0.1"}, {"ip": "x"}]}, "subsets[1].notReadyAddresses[1].ip"),
        ({"ports": [{"port": 70000}]}, "subsets[1].ports[0].port"),
        ({"ports": 1}, "subsets[1].ports"),
    ],
)
def test_old_endpoints_are_refused_likewise(subset: dict[str, Any], field: str) -> None:
    with pytest.raises(ParseError) as caught:
        slices(old(subsets=[{}, subset]))
    assert (caught.value.what, caught.value.field) == ("Endpoints shop/cart", field)
