"""Whatever comes in, parsing gives a value that the core may rely on, None, or a ParseError; nothing else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.model import EndpointSlice, Kind, KubeObject, Service, ServiceCIDR, key_of
from kproxy.core.parse import ENDPOINTS, convert, decode, decode_key, decode_object, parse_endpoints, parse_object
from kproxy.core.values import canonical_address, family_of
from kproxy.errors import ParseError

DOCUMENTS: dict[str, dict[str, Any]] = {
    Kind.SERVICE: {
        "metadata": {
            "name": "cart",
            "namespace": "shop",
            "labels": {"a": "b"},
            "creationTimestamp": "2026-11-22T11:26:24Z",
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10", "fd00::a"],
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": ["198.51.100.1"],
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
            "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 32000,
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}},
    },
    Kind.ENDPOINT_SLICE: {
        "metadata": {"name": "cart-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {
                "addresses": ["10.0.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node-a",
                "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "node-a"}]},
            }
        ],
    },
    Kind.NODE: {
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z"}},
        "spec": {"podCIDR": "10.64.1.0/24", "podCIDRs": ["10.64.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    },
    Kind.SERVICE_CIDR: {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}},
    ENDPOINTS: {
        "metadata": {"name": "cart", "namespace": "shop"},
        "subsets": [{"addresses": [{"ip": "10.0.0.1", "nodeName": "n"}], "ports": [{"port": 8080}]}],
    },
}

HARMLESS = ("", "None", "a", "A", "10.0.0.1", "10.0.0.1 ", "fd00::1", "0.0.0.0/0", "1.2.3.4/99", "TCP", "IPv6", "FQDN")
HOSTILE = ("a\n-j ACCEPT", "a b", '"', "; flush ruleset", "$(id)", "\x00", "é", "٣", "a" * 300, "-", "::ffff:1.2.3.4")
words = st.sampled_from((*HARMLESS, *HOSTILE, "2026-13-01T00:00:00Z"))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(0, 70000), st.floats(), words, st.text(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
kinds = st.sampled_from(sorted(DOCUMENTS))


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in entries for place in places(value, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with one value put in the place of another."""
    if not path:
        return value
    result = copy.copy(document)
    result[path[0]] = changed(document[path[0]], path[1:], value)
    return result


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[str, Any]:
    """A good document with one or two values replaced."""
    kind = draw(kinds)
    document: Any = DOCUMENTS[kind]
    for _ in range(draw(st.integers(1, 2))):
        document = changed(document, draw(st.sampled_from(places(document))), draw(anything))
    return kind, document


def read(kind: str, raw: bytes) -> tuple[KubeObject, ...]:
    if kind == ENDPOINTS:
        return parse_endpoints(decode(kind, raw))
    item = decode_object(Kind(kind), raw)
    return () if item is None else (item,)


def convertible(kind: str, document: Any) -> tuple[KubeObject, ...]:
    wire = convert(kind, document)
    if kind == ENDPOINTS:
        return parse_endpoints(wire)
    item = parse_object(Kind(kind), wire)
    return () if item is None else (item,)


def addresses(item: KubeObject) -> list[str]:
    if isinstance(item, Service):
        return [*item.cluster_ips, *item.external_ips, *item.load_balancer_ips]
    if isinstance(item, EndpointSlice):
        assert all(family_of(endpoint.address) is item.family for endpoint in item.endpoints)
        return [endpoint.address for endpoint in item.endpoints]
    return [] if isinstance(item, ServiceCIDR) else list(item.addresses)


def ports(item: KubeObject) -> list[int]:
    if isinstance(item, Service):
        assert item.ports
        assert len({port.name for port in item.ports}) == len(item.ports)
        return [port.port for port in item.ports] + [port.node_port or 1 for port in item.ports]
    return [port.port for port in item.ports] if isinstance(item, EndpointSlice) else []


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for item in value for text in texts(item)] if isinstance(value, list | tuple) else []


def check(item: KubeObject) -> None:
    """What the core relies on, and that no text could end a word, a line, a comment or an option anywhere."""
    assert all(canonical_address(address) == address for address in addresses(item))
    assert all(1 <= port <= 65535 for port in ports(item))
    assert all(
        re.fullmatch(r"[A-Za-z0-9_.:/-]*", text)
        for text in texts(msgspec.to_builtins(item, str_keys=True, enc_hook=str))
    )
    assert not any(part.startswith("-") for part in key_of(item))


Outcome = tuple[KubeObject, ...] | ParseError


def outcome(way: Callable[[str, Any], tuple[KubeObject, ...]], kind: str, source: Any) -> Outcome:
    """What came of it, looked at closely; any exception but ParseError fails the test."""
    try:
        found = way(kind, source)
    except ParseError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 1000, message
        return error
    for item in found:
        check(item)
    return found


@settings(deadline=None, max_examples=400)
@given(nearly_right())
def test_a_document_that_is_nearly_right(case: tuple[str, Any]) -> None:
    kind, document = case
    raw = msgspec.json.encode(document)
    by_json, by_document = outcome(read, kind, raw), outcome(convertible, kind, json.loads(raw))
    if isinstance(by_json, ParseError):
        assert str(by_json) == str(by_document)
        assert by_json.what.startswith(kind)
    else:
        assert by_json == by_document


@settings(deadline=None, max_examples=200)
@given(kinds, st.one_of(anything, st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.none()), anything)))
def test_any_document_at_all(kind: str, document: Any) -> None:
    outcome(convertible, kind, document)


@settings(deadline=None, max_examples=200)
@given(kinds, st.one_of(st.binary(max_size=64), st.text(max_size=64).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_at_all(kind: str, raw: bytes) -> None:
    outcome(read, kind, raw)
    key = decode_key(kind, raw)
    assert key is None or key.name
