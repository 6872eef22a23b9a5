"""Names come from the cluster and are not to be trusted: none can become another rule, option or line."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.iptables import BACKEND
from backends.iptables.kernel import open_kernel
from backends.iptables.parse import parse
from kproxy.core.document import Document, diff
from kproxy.core.plan import (
    Action,
    Client,
    Endpoint,
    Frontend,
    FrontendKind,
    HealthCheck,
    NodePlan,
    PortPlan,
    Route,
    ServicePlan,
)
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.ports import Outcome
from tests.fakes.kernel import objects
from tests.fakes.namespace import in_new_namespace

HOSTILE = st.text(max_size=70) | st.sampled_from(
    (
        'a" -j ACCEPT',
        "x\nCOMMIT\n*filter\n-F",
        "a\\",
        "$(reboot)",
        "'; drop",
        "a b",
        "-j",
        "\u202e",
        "\x00",
        "COMMIT",
        "ü",
    )
)
POOL = (Endpoint("10.64.1.1", 8080, is_local=True), Endpoint("10.64.2.2", 8080, is_local=False))
FENCED = Frontend(FrontendKind.LOAD_BALANCER, "198.51.100.1", 80, (ipaddress.ip_network("192.0.2.0/24"),))


def plan_of(namespace: str, name: str, port: str) -> NodePlan:
    """A plan of one Service with every kind of chain, under these names."""
    key = ObjectKey(namespace, name)
    frontends = (
        Frontend(FrontendKind.CLUSTER, "10.96.0.10", 80),
        Frontend(FrontendKind.NODE_PORT, None, 30080),
        FENCED,
    )
    ports = tuple(
        PortPlan(port, protocol, frontends, affinity, POOL, POOL[:1], POOL, ROUTES, ROUTES)
        for protocol, affinity in ((Protocol.TCP, 0), (Protocol.UDP, 600))
    )
    services = {key: ServicePlan(key, ports, HealthCheck(32000, 1))}
    return NodePlan(Family.IPV4, services, pods=(ipaddress.ip_network("10.64.0.0/16"),), accepts_health_checks=True)


ROUTES = (
    Route(Client.POD, masquerade=False, action=Action.CLUSTER),
    Route(Client.NODE, masquerade=False, action=Action.REJECT),
    Route(Client.ANY, masquerade=True, action=Action.LOCAL),
)
NAME = re.compile(r"KPROXY-(\w+)-[A-Z2-7]{16}")
NOTE = re.compile(r'--comment "[A-Za-z0-9._/: ?-]*"')


def without_names(document: Document) -> list[tuple[str, str, list[str]]]:
    """A document, but for what may depend on a Service's name: digests in names of chains, and comments."""
    return sorted(
        (key.table, NAME.sub(r"\1", key.chain), [NAME.sub(r"\1", NOTE.sub("", rule)) for rule in rules])
        for key, rules in cast("dict[Any, Any]", objects(document)).items()
    )


PLAIN = without_names(BACKEND.compile(plan_of("shop", "cart", "http"), None).document)


@settings(deadline=None, max_examples=100)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_names_become_digests_and_quoted_comments_and_nothing_else(namespace: str, name: str, port: str) -> None:
    document = BACKEND.compile(plan_of(namespace, name, port), None).document
    assert without_names(document) == PLAIN
    text = BACKEND.render({Family.IPV4: document})
    assert text.isascii()
    assert all(line.isprintable() for line in text.split("\n"))
    assert objects(parse(text)) == objects(document)


@pytest.mark.root
def test_whatever_the_name_the_kernel_takes_the_rules_and_gives_them_back() -> None:
    def body() -> None:
        kernel = open_kernel(Family.IPV4)

        @settings(deadline=None, max_examples=20)
        @given(HOSTILE, HOSTILE, HOSTILE)
        @example('a" -j ACCEPT', "x\nCOMMIT\n*filter\n-F", "-j")
        def each(namespace: str, name: str, port: str) -> None:
            want = BACKEND.compile(plan_of(namespace, name, port), None).document
            assert kernel.apply(diff(kernel.observe(), want)) == Outcome()
            assert objects(kernel.observe()) == objects(want)

        each()

    in_new_namespace(body)
