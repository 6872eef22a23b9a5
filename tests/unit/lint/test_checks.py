"""Every check has something that it finds, and something like it that is fine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from kproxy.lint.catalogue import CHECKS
from tests.unit.lint.manifests import (
    GOOD,
    HTTP,
    SERVICE_CIDR,
    Json,
    balancer,
    endpoint,
    endpoint_slice,
    found_in,
    node,
    noted,
    service,
)


class Case(NamedTuple):
    """A check's code, what it finds (object and field), in what, and what is fine."""

    code: str
    object: str
    field: str
    bad: tuple[Json | str, ...]
    good: tuple[Json | str, ...]
    asked: Mapping[str, Any] = MappingProxyType({})


CART = "Service shop/cart"
SLICE = "EndpointSlice shop/cart-x"
BOTH = {"clusterIPs": ["10.96.0.1", "fd00:96::1"]}
SIX = endpoint_slice(endpoint("fd00:64:1::10"), name="cart-6")
NODE_PORT: Json = {"type": "NodePort", "ports": [{**HTTP, "nodePort": 30080}]}
LOCAL_PORT: Json = {**NODE_PORT, "externalTrafficPolicy": "Local"}
CHECKED: Json = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000, "ports": NODE_PORT["ports"]}
IN_ZONE = {"hints": {"forZones": [{"name": "zone-1"}]}}
NOT_READY = {"conditions": {"ready": False}}
DRAINING = {"conditions": {"ready": False, "serving": True, "terminating": True}}
DUAL_RANGES = ["192.0.2.0/24", "2001:db8::/32"]
RANGES = DUAL_RANGES[:1]
TOPOLOGY = "service.kubernetes.io/topology-mode"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"
CLOUD_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
DRAIN, SCHEDULER, IGNORE = "kproxy.io/tcp-drain-seconds", "kproxy.io/ipvs-scheduler", "kproxy.io/lint-ignore"
TIMEOUT = {"clientIP": {"timeoutSeconds": 20000}}
OLDER = {"creationTimestamp": "2024-01-01T00:00:00Z"}
NEWER = {"creationTimestamp": "2025-01-01T00:00:00Z"}
IPTABLES, NFTABLES = {"backend": "iptables"}, {"backend": "nftables"}


def annotation(name: str) -> str:
    return f"metadata.annotations[{name}]"


READING = [
    Case(
        "KPX080",
        CART,
        "spec.externalTrafficPolciy",
        (service(externalTrafficPolciy="Local"),),
        (service(externalTrafficPolicy="Local", type="NodePort"),),
    ),
    Case("KPX080", CART, "spec.ports[0].nodeport", (service(ports=[{**HTTP, "nodeport": 30080}]),), (service(),)),
    Case("KPX080", SLICE, "endpoints[0].condition", (endpoint_slice(endpoint("10.64.1.10", condition={})),), (GOOD,)),
    Case("KPX001", CART, "spec.ports[0].port", (service(ports=[{"port": 0}]),), (service(),)),
    Case("KPX001", SLICE, "endpoints[0].addresses[0]", (endpoint_slice(endpoint("169.254.169.254")),), (GOOD,)),
    Case("KPX003", CART, "spec.clusterIP", (service(clusterIP=None),), (service(clusterIP="None"),)),
    Case("KPX004", CART, "spec.type", (service(type="ExternalName", externalName="a.example"),), (service(),)),
    Case(
        "KPX005", CART, f"metadata.labels[{PROXY_NAME}]", (service(meta={"labels": {PROXY_NAME: "x"}}),), (service(),)
    ),
    Case(
        "KPX006",
        CART,
        f"metadata.labels[{HEADLESS}]",
        (service(meta={"labels": {HEADLESS: ""}}),),
        (service(meta={"labels": {HEADLESS: ""}}, clusterIP="None"),),
    ),
    Case("KPX007", CART, annotation(DRAIN), (service(meta=noted(DRAIN, "soon")),), (service(meta=noted(DRAIN, "5")),)),
    Case(
        "KPX007",
        CART,
        annotation(SCHEDULER),
        (service(meta=noted(SCHEDULER, "best")),),
        (service(meta=noted(SCHEDULER, "lc")),),
    ),
    Case(
        "KPX007",
        CART,
        annotation("kproxy.io/drain-timeout"),
        (service(meta=noted("kproxy.io/drain-timeout", "5d")),),
        (service(meta=noted("kproxy.io/drain-timeout", "5m")),),
    ),
    Case(
        "KPX008",
        CART,
        annotation("kproxy.io/tcp-drain"),
        (service(meta=noted("kproxy.io/tcp-drain", "5")),),
        (service(meta=noted("example.com/tcp-drain", "5")),),
    ),
    Case("KPX009", CART, annotation(SCHEDULER), (service(meta=noted(SCHEDULER, "rr")),), (service(),), NFTABLES),
    Case("KPX011", CART, annotation(CLOUD_RANGES), (balancer(meta=noted(CLOUD_RANGES, "10.0.0.0/8")),), (balancer(),)),
    Case(
        "KPX047",
        CART,
        "spec.sessionAffinityConfig",
        (service(sessionAffinityConfig=TIMEOUT),),
        (service(sessionAffinityConfig=TIMEOUT, sessionAffinity="ClientIP"),),
    ),
    Case(
        "KPX099",
        CART,
        annotation(IGNORE),
        (service(meta=noted(IGNORE, "KPX998")),),
        (service(meta=noted(IGNORE, "KPX014")),),
    ),
]
FENCE = "spec.loadBalancerSourceRanges"
INGRESS = "status.loadBalancer.ingress[0].ip"
EXPOSURE = [
    Case(
        "KPX010",
        CART,
        FENCE,
        (balancer("198.51.100.1", "2001:db8:51::1", loadBalancerSourceRanges=RANGES, **BOTH),),
        (balancer("198.51.100.1", "2001:db8:51::1", loadBalancerSourceRanges=DUAL_RANGES, **BOTH),),
    ),
    Case(
        "KPX010",
        CART,
        FENCE,
        (balancer(clusterIP=None, ipFamilyPolicy="RequireDualStack", loadBalancerSourceRanges=RANGES),),
        (balancer(clusterIP=None, loadBalancerSourceRanges=RANGES),),
    ),
    Case(
        "KPX012",
        CART,
        FENCE,
        (service(loadBalancerSourceRanges=RANGES),),
        (balancer("198.51.100.1", loadBalancerSourceRanges=RANGES),),
    ),
    Case(
        "KPX013",
        CART,
        "spec.ports[0].nodePort",
        (balancer("198.51.100.1", loadBalancerSourceRanges=RANGES, ports=NODE_PORT["ports"]),),
        (balancer("198.51.100.1", ports=NODE_PORT["ports"]),),
    ),
    Case("KPX014", CART, "spec.externalIPs", (service(externalIPs=["198.51.100.1"]),), (balancer("198.51.100.1"),)),
    Case(
        "KPX015",
        CART,
        "spec.externalIPs[0]",
        (service(externalIPs=["10.96.7.7"]), SERVICE_CIDR),
        (service(externalIPs=["10.97.7.7"]), SERVICE_CIDR),
    ),
    Case(
        "KPX015",
        CART,
        "spec.externalIPs[0]",
        (service(externalIPs=["10.96.0.2"]), service("web", clusterIP="10.96.0.2")),
        (service(externalIPs=["10.96.0.3"]), service("web", clusterIP="10.96.0.2")),
    ),
    Case("KPX016", CART, INGRESS, (balancer("10.64.1.7"), node()), (balancer("10.64.2.7"), node())),
    Case(
        "KPX017",
        CART,
        "spec.externalIPs[0]",
        (service(externalIPs=["192.0.2.11"]), node()),
        (service(externalIPs=["192.0.2.99"]), node()),
    ),
    Case("KPX018", CART, INGRESS, (balancer("192.0.2.11"), node()), (balancer("192.0.2.99"), node())),
    Case("KPX019", CART, INGRESS, (balancer("127.0.0.1"),), (balancer("198.51.100.1"),)),
    Case(
        "KPX020",
        "Service shop/web",
        "spec",
        (
            balancer("198.51.100.1", meta=OLDER),
            {**balancer("198.51.100.1"), "metadata": {"name": "web", "namespace": "shop", **NEWER}},
        ),
        (
            balancer("198.51.100.1", meta=OLDER),
            service("web", clusterIP="10.96.0.2", externalIPs=["198.51.100.2"]),
        ),
    ),
    Case(
        "KPX021",
        CART,
        "spec.healthCheckNodePort",
        (
            balancer(**CHECKED, meta=NEWER),
            service("web", **{**NODE_PORT, "ports": [{**HTTP, "nodePort": 32000}]}, meta=OLDER),
        ),
        (
            balancer(**CHECKED, meta=NEWER),
            service("web", **{**NODE_PORT, "ports": [{**HTTP, "nodePort": 32001}]}, meta=OLDER),
        ),
    ),
    Case(
        "KPX022",
        CART,
        "spec.ports[0].nodePort",
        (service(**NODE_PORT), node("node-a", "192.168.0.1", "51.15.3.4")),
        (service(**NODE_PORT), node("node-a", "192.168.0.1", "100.64.0.1", "fd00::1")),
        IPTABLES,
    ),
    Case(
        "KPX023",
        CART,
        "spec.ports[0].nodePort",
        (service(type="NodePort", ports=[{**HTTP, "nodePort": 10250}]),),
        (service(**NODE_PORT),),
    ),
]
SUPPLY = [
    Case(
        "KPX030", CART, "spec.selector", (service(), endpoint_slice(endpoint("10.64.1.1"), of="web")), (service(), GOOD)
    ),
    Case("KPX030", CART, "spec.selector", (service(), endpoint_slice()), (service(),)),
    Case("KPX031", CART, "spec.ipFamilies", (service(**BOTH), GOOD), (service(**BOTH), GOOD, SIX)),
    Case(
        "KPX032",
        CART,
        "spec.ports[0]",
        (service(), endpoint_slice(endpoint("10.64.1.10", **NOT_READY))),
        (service(), GOOD),
    ),
    Case(
        "KPX033",
        CART,
        "spec.ports[0]",
        (service(), endpoint_slice(endpoint("10.64.1.10", **DRAINING))),
        (service(), GOOD),
    ),
    Case(
        "KPX034",
        CART,
        "spec.ports[0].name",
        (service(), endpoint_slice(endpoint("10.64.1.10"), port="web")),
        (
            service(),
            endpoint_slice(endpoint("10.64.1.10"), port="web"),
            endpoint_slice(endpoint("10.64.1.10"), name="b"),
        ),
    ),
    Case(
        "KPX035",
        SLICE,
        "ports[0].name",
        (service(), endpoint_slice(endpoint("10.64.1.10"), port="web")),
        (service(), GOOD),
    ),
    Case("KPX036", SLICE, "metadata.labels[kubernetes.io/service-name]", (GOOD,), (service(clusterIP="None"), GOOD)),
    Case(
        "KPX037",
        CART,
        "spec.selector",
        (service(), endpoint_slice(endpoint("10.65.0.1")), node()),
        (service(), endpoint_slice(endpoint("192.0.2.11")), node()),
    ),
    Case(
        "KPX038",
        SLICE,
        "endpoints[0].addresses[0]",
        (service(), endpoint_slice(endpoint("168.63.129.16"))),
        (service(), GOOD),
    ),
    Case(
        "KPX038",
        SLICE,
        "endpoints[0].addresses[0]",
        (service(), endpoint_slice(endpoint("10.96.0.77")), SERVICE_CIDR),
        (service(), GOOD, SERVICE_CIDR),
    ),
    Case(
        "KPX039",
        SLICE,
        "endpoints[0].addresses[0]",
        (service(selector=None), endpoint_slice(endpoint("192.0.2.11")), node()),
        (service(), endpoint_slice(endpoint("192.0.2.11")), node()),
    ),
    Case(
        "KPX040",
        CART,
        "spec.publishNotReadyAddresses",
        (service(publishNotReadyAddresses=True),),
        (service(publishNotReadyAddresses=True, clusterIP="None"),),
    ),
    Case(
        "KPX046",
        CART,
        "",
        (service(), GOOD, endpoint_slice(endpoint("10.64.1.10", **NOT_READY), name="cart-b")),
        (service(), GOOD, endpoint_slice(endpoint("10.64.1.10"), name="cart-b")),
    ),
]
OTHER = node("node-b", "192.0.2.12", zone="zone-2", pods="10.64.2.0/24")
INTERNAL, EXTERNAL = "spec.internalTrafficPolicy", "spec.externalTrafficPolicy"
NO_NODE = {"addresses": ["10.64.1.10"]}
HINTED = endpoint_slice(endpoint("10.64.1.10", **IN_ZONE))
DISTRIBUTION = "spec.trafficDistribution"
POLICY = [
    Case(
        "KPX050",
        CART,
        INTERNAL,
        (service(internalTrafficPolicy="Local"), GOOD, node(), OTHER),
        (service(), GOOD, node(), OTHER),
    ),
    Case("KPX051", CART, EXTERNAL, (service(**LOCAL_PORT), GOOD, node(), OTHER), (service(**LOCAL_PORT), GOOD, node())),
    Case("KPX052", CART, EXTERNAL, (balancer(**CHECKED), GOOD, node(), OTHER), (balancer(**CHECKED), GOOD, node())),
    Case(
        "KPX053",
        CART,
        INTERNAL,
        (service(internalTrafficPolicy="Local"), endpoint_slice(NO_NODE)),
        (service(internalTrafficPolicy="Local"), GOOD),
    ),
    Case(
        "KPX054",
        CART,
        "spec.healthCheckNodePort",
        (balancer(externalTrafficPolicy="Local"),),
        (balancer(externalTrafficPolicy="Local", clusterIP=None),),
    ),
    Case(
        "KPX055",
        CART,
        DISTRIBUTION,
        (service(), endpoint_slice(endpoint("10.64.1.10", **IN_ZONE), endpoint("10.64.1.11"))),
        (service(), HINTED),
    ),
    Case("KPX056", CART, DISTRIBUTION, (service(), HINTED, node(), OTHER), (service(), HINTED, node())),
    Case(
        "KPX057",
        "Node node-a",
        "metadata.labels[topology.kubernetes.io/zone]",
        (service(), HINTED, node(zone="")),
        (service(), GOOD, node(zone="")),
    ),
    Case(
        "KPX058",
        CART,
        DISTRIBUTION,
        (service(trafficDistribution="Near"),),
        (service(trafficDistribution="PreferSameNode"),),
    ),
    Case(
        "KPX059",
        CART,
        DISTRIBUTION,
        (service(trafficDistribution="PreferClose"),),
        (service(trafficDistribution="PreferSameZone"),),
    ),
    Case("KPX060", CART, annotation(TOPOLOGY), (service(meta=noted(TOPOLOGY, "Auto")),), (service(),)),
    Case(
        "KPX061",
        CART,
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        (service(sessionAffinity="ClientIP", sessionAffinityConfig=TIMEOUT),),
        (service(sessionAffinity="ClientIP"),),
    ),
]
CASES = [*READING, *EXPOSURE, *SUPPLY, *POLICY]
ELSEWHERE = {"KPX002", "KPX070", "KPX071", "KPX072"}
"""Checks of files and configurations: see test_settings."""


def test_every_check_has_a_case() -> None:
    assert {case.code for case in CASES} | ELSEWHERE == {check.code for check in CHECKS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.field}")
def test_a_check_finds_what_is_bad_and_nothing_in_what_is_good(case: Case, tmp_path: Path) -> None:
    bad = [one for one in found_in(tmp_path, *case.bad, **case.asked) if one.code == case.code]
    assert (case.object, case.field) in {(str(one.object), one.field) for one in bad}
    assert all(one.reason and one.remedy and one.place is not None and one.place.line for one in bad)
    assert not [one for one in found_in(tmp_path, *case.good, **case.asked) if one.code == case.code]
