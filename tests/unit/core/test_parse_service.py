"""Services: what is taken, what is not ours, and what is refused with field, value and remedy."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from kproxy.core.model import Kind, Service, ServicePort, ServiceType, TrafficPolicy
from kproxy.core.parse import convert, decode_key, decode_object, parse_object
from kproxy.core.values import ObjectKey, Protocol
from kproxy.errors import ParseError

TOO_LONG = "a" * 64


def service(spec: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}], **(spec or {})},
    }
    return {**document, **fields}


def decoded(document: Any) -> Service | None:
    """Decoded from JSON, and the same again from a decoded document."""
    item = decode_object(Kind.SERVICE, json.dumps(document).encode())
    assert item == parse_object(Kind.SERVICE, convert(Kind.SERVICE, document))
    assert item is None or isinstance(item, Service)
    return item


def value(document: Any) -> Service:
    item = decoded(document)
    assert item is not None
    return item


def refused(document: Any) -> ParseError:
    """The refusal, the same by both ways in."""
    with pytest.raises(ParseError) as by_json:
        decode_object(Kind.SERVICE, json.dumps(document).encode())
    with pytest.raises(ParseError) as by_document:
        parse_object(Kind.SERVICE, convert(Kind.SERVICE, document))
    assert str(by_json.value) == str(by_document.value)
    return by_json.value


def test_a_sparse_service_gets_the_defaults_of_the_api() -> None:
    assert value(
        {"metadata": {"name": "cart"}, "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}}
    ) == Service(
        key=ObjectKey("default", "cart"),
        created="",
        type=ServiceType.CLUSTER_IP,
        cluster_ips=("10.96.0.10",),
        external_ips=(),
        load_balancer_ips=(),
        source_ranges=None,
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_s=0,
        health_check_port=0,
        ports=(ServicePort("", Protocol.TCP, 80, 0),),
    )


def test_a_full_service() -> None:
    document = service(
        {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.10", "FD00::0A"],
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": ["198.51.100.1", "2001:DB8:0::1", "198.51.100.1"],
            "loadBalancerSourceRanges": ["192.0.2.0/24", " 203.0.113.9/25 "],
            "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local",
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "healthCheckNodePort": 32000,
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053},
                {"name": "dns-tcp", "port": 53, "nodePort": 30053, "targetPort": "any"},
                {"name": "s", "protocol": "SCTP", "port": 132},
            ],
        },
        metadata={"name": "cart", "namespace": "shop", "creationTimestamp": "2026-11-22T11:26:24Z"},
        status={
            "loadBalancer": {
                "ingress": [
                    {"ip": "203.0.113.1"},
                    {"ip": "203.0.113.2", "ipMode": "Proxy"},
                    {"hostname": "lb.example"},
                    {"ip": "2001:db8::5", "ipMode": "VIP"},
                ]
            }
        },
    )
    assert value(document) == Service(
        key=ObjectKey("shop", "cart"),
        created="2026-11-22T11:26:24Z",
        type=ServiceType.LOAD_BALANCER,
        cluster_ips=("10.96.0.10", "fd00::a"),
        external_ips=("198.51.100.1", "2001:db8::1"),
        load_balancer_ips=("203.0.113.1", "2001:db8::5"),
        source_ranges=(ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("203.0.113.0/25")),
        internal_policy=TrafficPolicy.LOCAL,
        external_policy=TrafficPolicy.LOCAL,
        affinity_s=60,
        health_check_port=32000,
        ports=(
            ServicePort("dns", Protocol.UDP, 53, 30053),
            ServicePort("dns-tcp", Protocol.TCP, 53, 30053),
            ServicePort("s", Protocol.SCTP, 132, 0),
        ),
    )


NULLABLE = (
    *("type", "clusterIPs", "ipFamilies", "externalIPs", "loadBalancerSourceRanges", "healthCheckNodePort"),
    *("internalTrafficPolicy", "externalTrafficPolicy", "sessionAffinity", "sessionAffinityConfig"),
)


def test_null_means_absent_wherever_the_api_may_write_it() -> None:
    spec = dict.fromkeys(NULLABLE)
    ports = [{"port": 80, "name": None, "protocol": None, "nodePort": None}]
    meta = {"name": "cart", "namespace": "shop", "creationTimestamp": None, "labels": None}
    assert value(service({**spec, "ports": ports}, metadata=meta, status=None)) == value(service())
    assert value(service(status={"loadBalancer": {"ingress": None}})) == value(service())


def test_what_a_proxy_does_not_use_makes_no_difference() -> None:
    meta = {
        "name": "cart",
        "namespace": "shop",
        "resourceVersion": "9",
        "annotations": {"a": "b"},
        "labels": {"x": "y"},
    }
    assert value(service({"selector": {"a": "b"}}, metadata=meta)) == value(service())


@pytest.mark.parametrize(
    "document",
    [
        service({"clusterIP": "None"}),
        service({"clusterIP": "None", "clusterIPs": ["None"], "ports": None}),
        service({"clusterIP": ""}),
        service({"clusterIP": None}),
        service({"type": "ExternalName", "externalName": "x.example"}),
        service({"type": "ExternalName", "ports": None}),
        service(metadata={"name": "x", "labels": {"service.kubernetes.io/service-proxy-name": "other"}}),
        service(metadata={"name": "x", "labels": {"service.kubernetes.io/service-proxy-name": ""}}),
        service(metadata={"name": "x", "labels": {"service.kubernetes.io/service-proxy-name": None}}),
        {"metadata": {"name": "x"}},
    ],
)
def test_what_is_not_ours_is_passed_over(document: dict[str, Any]) -> None:
    assert decoded(document) is None


def test_the_headless_label_on_a_service_says_nothing() -> None:
    meta = {"name": "cart", "namespace": "shop", "labels": {"service.kubernetes.io/headless": ""}}
    assert value(service(metadata=meta)) == value(service())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "10.0.0.1"}, ("10.0.0.1",)),
        ({"clusterIP": "fd00::0001"}, ("fd00::1",)),
        ({"clusterIP": None, "clusterIPs": ["10.0.0.1"]}, ("10.0.0.1",)),
        ({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}, ("10.0.0.1", "fd00::1")),
        (
            {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.0.0.1"], "ipFamilies": ["IPv6", "IPv4"]},
            ("fd00::1", "10.0.0.1"),
        ),
        ({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4", "IPv6"]}, ("10.0.0.1",)),
    ],
)
def test_cluster_ips_by_family(spec: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert value(service(spec)).cluster_ips == expected


@pytest.mark.parametrize(
    ("affinity", "seconds"),
    [
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}}, 86400),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, 0),
    ],
)
def test_affinity(affinity: dict[str, Any], seconds: int) -> None:
    assert value(service(affinity)).affinity_s == seconds


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (None, None),
        ([], None),
        (["0.0.0.0/0", "::/0"], None),
        (["0.0.0.0/0", "192.0.2.0/24"], ("0.0.0.0/0",)),
        (["::/0", "192.0.2.0/24", "2001:db8::/32"], ("::/0", "192.0.2.0/24")),
        (["\t192.0.2.1/24\n", "192.0.2.0/24"], ("192.0.2.0/24",)),
    ],
)
def test_source_ranges(ranges: list[str] | None, expected: tuple[str, ...] | None) -> None:
    found = value(service({"loadBalancerSourceRanges": ranges})).source_ranges
    assert (None if found is None else tuple(map(str, found))) == expected


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-11-22T11:26:24Z", "2026-11-22T11:26:24Z"),
        ("2026-11-22T11:26:24.123456Z", "2026-11-22T11:26:24Z"),
        ("2026-11-22T01:00:00+02:00", "2026-11-21T23:00:00Z"),
    ],
)
def test_creation_times_order_as_text(written: str, utc: str) -> None:
    assert value(service(metadata={"name": "cart", "creationTimestamp": written})).created == utc


def test_a_node_port_counts_whatever_the_type() -> None:
    assert value(service({"ports": [{"port": 80, "nodePort": 30080}]})).ports[0].node_port == 30080


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"ports": None}, "spec.ports", "is required"),
        ({"ports": []}, "spec.ports", "is required"),
        ({"ports": [{}]}, "spec.ports[0].port", "is required: a number from 1 to 65535"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port", "0 is not a number from 1 to 65535"),
        ({"ports": [{"port": 70000}]}, "spec.ports[0].port", "70000 is not"),
        ({"ports": [{"port": -1}]}, "spec.ports[0].port", "-1 is not"),
        ({"ports": [{"port": "http"}]}, "spec.ports[0].port", "'http' is not a whole number"),
        ({"ports": [{"port": 80.5}]}, "spec.ports[0].port", "80.5 is not a whole number"),
        ({"ports": [{"port": True}]}, "spec.ports[0].port", "True is not a whole number"),
        ({"ports": [None]}, "spec.ports[0]", "null is not a mapping"),
        ({"ports": {}}, "spec.ports", "{} is not a list"),
        ({"ports": [{"port": 80, "protocol": "tcp"}]}, "spec.ports[0].protocol", "'tcp' is not one of TCP, UDP, SCTP"),
        ({"ports": [{"port": 80, "name": "Http"}]}, "spec.ports[0].name", "'Http' is not a name"),
        ({"ports": [{"port": 80, "name": TOO_LONG}]}, "spec.ports[0].name", "is not a name"),
        ({"ports": [{"port": 80, "name": 80}]}, "spec.ports[0].name", "80 is not text; put it in quotes"),
        ({"ports": [{"port": 80, "nodePort": 65536}]}, "spec.ports[0].nodePort", "65536 is not"),
        ({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}, "spec.ports[0].name", "is required when"),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            "spec.ports[1].name",
            "'a' names an earlier",
        ),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
            "spec.ports[1].port",
            "80/TCP is an earlier",
        ),
        (
            {"ports": [{"port": 1, "name": "a", "nodePort": 9}, {"port": 2, "name": "b", "nodePort": 9}]},
            "spec.ports[1].nodePort",
            "9/TCP is an earlier",
        ),
        ({"clusterIP": "10.96.0.300"}, "spec.clusterIP", "'10.96.0.300' is not an IPv4 or IPv6 address"),
        ({"clusterIP": "10.96.0.010"}, "spec.clusterIP", "is not an IPv4 or IPv6 address"),
        ({"clusterIP": "10.96.0.1\n"}, "spec.clusterIP", "is not an IPv4 or IPv6 address"),
        ({"clusterIP": "fe80::1%eth0"}, "spec.clusterIP", "is not an IPv4 or IPv6 address"),
        ({"clusterIP": "::ffff:10.0.0.1"}, "spec.clusterIP", "write it as IPv4"),
        ({"clusterIP": 10}, "spec.clusterIP", "10 is not text"),
        ({"clusterIPs": ["10.96.0.11"]}, "spec.clusterIPs[0]", "must equal clusterIP '10.96.0.10'"),
        ({"clusterIPs": ["10.96.0.10", "10.96.0.11"]}, "spec.clusterIPs", "one family twice"),
        ({"clusterIPs": ["10.96.0.10", "x"]}, "spec.clusterIPs[1]", "'x' is not an IPv4"),
        ({"ipFamilies": ["IPv6"]}, "spec.clusterIP", "'10.96.0.10' is not an IPv6 address"),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "spec.ipFamilies", "one family twice"),
        ({"ipFamilies": ["ipv4"]}, "spec.ipFamilies[0]", "'ipv4' is not one of IPv4, IPv6"),
        ({"clusterIPs": ["10.96.0.10", "fd00::1"], "ipFamilies": ["IPv4"]}, "spec.clusterIPs", "2 addresses for 1"),
        ({"externalIPs": ["1.2.3"]}, "spec.externalIPs[0]", "'1.2.3' is not"),
        ({"externalIPs": ["1.2.3.4", "127.0.0.1"]}, "spec.externalIPs[1]", "'127.0.0.1' must not be"),
        ({"loadBalancerSourceRanges": ["10.0.0.0"]}, "spec.loadBalancerSourceRanges[0]", "is not a CIDR"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/255.0.0.0"]}, "spec.loadBalancerSourceRanges[0]", "is not a CIDR"),
        (
            {"loadBalancerSourceRanges": ["10.0.0.0/33"]},
            "spec.loadBalancerSourceRanges[0]",
            "'10.0.0.0/33' is not a CIDR",
        ),
        ({"loadBalancerSourceRanges": [" "]}, "spec.loadBalancerSourceRanges[0]", "is not a CIDR"),
        ({"type": "Cluster"}, "spec.type", "'Cluster' is not one of ClusterIP, NodePort, LoadBalancer, ExternalName"),
        ({"internalTrafficPolicy": "local"}, "spec.internalTrafficPolicy", "'local' is not one of Cluster, Local"),
        ({"externalTrafficPolicy": "Global"}, "spec.externalTrafficPolicy", "'Global' is not one of Cluster, Local"),
        ({"sessionAffinity": "Cookie"}, "spec.sessionAffinity", "'Cookie' is not one of None, ClientIP"),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "0 is not a number from 1 to 86400",
        ),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "86401 is not",
        ),
        ({"healthCheckNodePort": 70000}, "spec.healthCheckNodePort", "70000 is not"),
    ],
)
def test_refusals_name_object_field_and_value(spec: dict[str, Any], field: str, reason: str) -> None:
    error = refused(service(spec))
    assert (error.what, error.field) == ("Service shop/cart", field)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("ingress", "field", "reason"),
    [
        ({"ip": "203.0.113"}, "status.loadBalancer.ingress[0].ip", "'203.0.113' is not"),
        (
            {"ip": "203.0.113.1", "ipMode": "vip"},
            "status.loadBalancer.ingress[0].ipMode",
            "'vip' is not one of VIP, Proxy",
        ),
    ],
)
def test_a_bad_status_is_refused(ingress: dict[str, Any], field: str, reason: str) -> None:
    error = refused(service(status={"loadBalancer": {"ingress": [ingress]}}))
    assert error.field == field
    assert reason in error.reason


@pytest.mark.parametrize(
    ("metadata", "what", "field"),
    [
        (None, "Service (unnamed)", "metadata.name"),
        ({}, "Service (unnamed)", "metadata.name"),
        ({"name": ""}, "Service (unnamed)", "metadata.name"),
        ({"name": "a b"}, "Service 'a b'", "metadata.name"),
        ({"name": "x\n-A FORWARD"}, r"Service 'x\n-A FORWARD'", "metadata.name"),
        ({"name": "a.b"}, "Service 'a.b'", "metadata.name"),
        ({"name": TOO_LONG}, f"Service '{TOO_LONG}'", "metadata.name"),
        ({"name": "caf\u00e9"}, r"Service 'caf\xe9'", "metadata.name"),
        ({"name": "a", "namespace": "../b"}, "Service 'a'", "metadata.namespace"),
        ({"name": 1, "namespace": "shop"}, "Service (unnamed)", "metadata.name"),
        ({"name": "cart", "creationTimestamp": "yesterday"}, "Service default/cart", "metadata.creationTimestamp"),
        ({"name": "cart", "creationTimestamp": 1}, "Service default/cart", "metadata.creationTimestamp"),
    ],
)
def test_metadata_that_cannot_be_used(metadata: Any, what: str, field: str) -> None:
    error = refused(service(metadata=metadata))
    assert (error.what, error.field) == (what, field)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"metadata":{"name":"\xff"}}', b'{"a":' * 5000, b"[1,"])
def test_what_is_no_json_is_a_parse_error_too(raw: bytes) -> None:
    with pytest.raises(ParseError, match="not readable as JSON"):
        decode_object(Kind.SERVICE, raw)
    assert decode_key(Kind.SERVICE, raw) is None


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null", b'"x"'])
def test_what_is_no_object_is_a_parse_error_too(raw: bytes) -> None:
    with pytest.raises(ParseError, match="is not a mapping of fields"):
        decode_object(Kind.SERVICE, raw)


def test_the_key_of_an_object_that_cannot_be_read() -> None:
    raw = json.dumps(service({"ports": "none"})).encode()
    assert decode_key(Kind.SERVICE, raw) == ObjectKey("shop", "cart")
    assert decode_key(Kind.NODE, raw) == ObjectKey("", "cart")


def test_a_field_name_that_is_not_text_is_a_parse_error() -> None:
    with pytest.raises(ParseError, match="field name that is not text"):
        convert(Kind.SERVICE, {"metadata": {"name": "x"}, "spec": {1: 2}})
