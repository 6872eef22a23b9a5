"""Step by step through small documents: what was met, what decided, with which chance."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from backends.nftables import expressions as ex
from backends.nftables.compile import compile_plan
from backends.nftables.objects import Chain, chain_id, name_of
from backends.nftables.trace import trace
from kproxy.core.decide import decide
from kproxy.core.document import Document, ObjectId
from kproxy.core.flow import Packet, Trace, Verdict
from kproxy.core.host import Host
from kproxy.core.plan import Frontend, FrontendKind
from kproxy.core.values import Family, Protocol
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import REFUSED, TO_LOCAL, cluster_ip, endpoints, node_port, plan, port, service

HOST = Host("node-a", ("192.0.2.11",), frozenset({"192.0.2.11", "127.0.0.1", "::1"}))
CART = service(
    "cart",
    port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.2.1", "10.64.2.2", local=["10.64.1.1"])),
)


def traced(document: Document, source: str, destination: str, number: int = 80, interface: str | None = None) -> Trace:
    return trace(Family.IPV4, document, Packet(source, destination, number, Protocol.TCP, interface), HOST)


def effects(found: Trace) -> list[tuple[str, str]]:
    return [(step.place.removeprefix("ip kproxy "), step.effect) for step in found.steps]


def test_the_way_to_an_endpoint() -> None:
    found = traced(compiled(CART).document, "10.64.1.9", "10.96.0.10")
    assert effects(found)[:6] == [
        ("prerouting", "goto dispatch"),
        ("frontends/pod-cluster/any-masquerade-cluster", "found shop/cart:http"),
        ("dispatch", "goto frontends/pod-cluster/any-masquerade-cluster"),
        ("frontends/pod-cluster/any-masquerade-cluster", "goto cluster-pool"),
        ("cluster-pool", "jump cluster-pool-3"),
        ("cluster-pool-3", "DNAT to 10.64.1.1:8080 (1/3)"),
    ]
    assert found.steps[1].rule == '10.96.0.10 . tcp . 80 comment "shop/cart:http"'
    assert found.steps[3].rule == "ip saddr 10.64.0.0/16 goto cluster-pool"
    assert [choice.probability for choice in found.answer.choices] == pytest.approx([1 / 3] * 3)


def test_only_the_endpoint_that_meets_itself_is_masqueraded() -> None:
    found = traced(compiled(CART).document, "10.64.1.1", "10.96.0.10")
    assert [(one.address, one.masquerade) for one in found.answer.choices] == [
        ("10.64.1.1", True),
        ("10.64.2.1", False),
        ("10.64.2.2", False),
    ]


def test_a_mark_is_set_cleared_and_masqueraded() -> None:
    found = traced(compiled(CART).document, "203.0.113.7", "10.96.0.10")
    assert ("frontends/pod-cluster/any-masquerade-cluster", "mark to be masqueraded, goto cluster-pool") in effects(
        found
    )
    assert effects(found)[-1] == ("postrouting", "masquerade")
    assert found.answer.masquerade


def test_pools_of_other_sizes_are_passed_without_a_word() -> None:
    lone = service("lone", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1")))
    found = traced(compiled(CART, lone).document, "10.64.1.9", "10.96.0.10")
    assert ("cluster-pool", "jump cluster-pool-1") in effects(found)
    assert not [effect for place, effect in effects(found) if place == "cluster-pool-1"]
    assert sum(choice.probability for choice in found.answer.choices) == pytest.approx(1)


def test_a_packet_that_misses_its_pool_between_two_lookups_is_not_left_to_the_node() -> None:
    """The frontend is known and no map has it, as a packet may find it that is under way during a commit."""
    document = dict(compiled(CART).document)
    owner = next(owner for owner, fragment in document.items() if any(is_in_a_pool(key) for key in fragment))
    document[owner] = {key: content for key, content in document[owner].items() if not is_in_a_pool(key)}
    assert traced(document, "10.64.1.9", "10.96.0.10").answer.verdict is Verdict.DROP


def is_in_a_pool(key: ObjectId) -> bool:
    return isinstance(key, bytes) and name_of(key).startswith("cluster-pool-")


@pytest.mark.parametrize(
    ("destination", "number", "verdict", "place"),
    [
        ("10.96.0.10", 81, Verdict.REJECT, "dispatch"),
        ("10.96.7.7", 80, Verdict.DROP, "unallocated"),
        ("203.0.113.7", 80, Verdict.PASS, "prerouting"),
    ],
    ids=["unlisted port", "unallocated address", "somewhere else"],
)
def test_where_there_is_no_frontend(destination: str, number: int, verdict: Verdict, place: str) -> None:
    found = traced(compiled(CART).document, "10.64.1.9", destination, number)
    assert found.answer.verdict is verdict
    assert effects(found)[-1][0] == place


def test_an_unallocated_address_that_the_node_has_is_a_virtual_servers() -> None:
    packet = Packet("10.64.1.9", "10.96.7.7", 80, Protocol.TCP)
    has_it = msgspec.structs.replace(HOST, addresses=HOST.addresses | {"10.96.7.7"})
    document = compiled(CART).document
    assert trace(Family.IPV4, document, packet, HOST).answer.verdict is Verdict.DROP
    assert trace(Family.IPV4, document, packet, has_it).answer.verdict is Verdict.PASS
    assert decide(plan(CART), packet, has_it).verdict is Verdict.PASS


def test_a_node_port_without_endpoints_is_refused_at_the_input_by_the_node_itself_too() -> None:
    gone = service("gone", port(node_port(30080), external=REFUSED))
    for source in ("203.0.113.7", "192.0.2.11"):
        found = traced(compiled(gone).document, source, "192.0.2.11", 30080)
        assert found.answer.verdict is Verdict.REJECT
        assert effects(found)[-2:] == [("refused-nodeports", "found shop/gone:http"), ("input", "reject")]


def test_the_fence_comes_first() -> None:
    balanced = Frontend(FrontendKind.LOAD_BALANCER, "198.51.100.1", 80, (ipaddress.ip_network("203.0.113.0/29"),))
    fenced = compiled(service("web", port(balanced, cluster=endpoints("10.64.1.1")))).document
    assert traced(fenced, "203.0.113.7", "198.51.100.1").answer.verdict is Verdict.DNAT
    assert traced(fenced, "203.0.113.0", "198.51.100.1").answer.verdict is Verdict.DNAT
    assert traced(fenced, "203.0.113.8", "198.51.100.1").answer.verdict is Verdict.DROP


def test_local_pools_and_short_circuits() -> None:
    web = port(
        node_port(30080),
        cluster=endpoints("10.64.1.1", "10.64.2.1", local=["10.64.1.1"]),
        local=endpoints("10.64.1.1", local=["10.64.1.1"]),
        external=TO_LOCAL,
    )
    document = compiled(service("web", web)).document
    for source, count, masquerade in (
        ("203.0.113.7", 1, False),
        ("10.64.1.9", 2, False),
        ("192.0.2.11", 2, True),
    ):
        answer = traced(document, source, "192.0.2.11", 30080).answer
        assert (len(answer.choices), answer.masquerade) == (count, masquerade)


def test_affinity_chooses_evenly_the_first_time() -> None:
    sticky = port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2", "10.64.1.3"), affinity_s=60)
    answer = traced(compiled(service("sticky", sticky)).document, "10.64.1.9", "10.96.0.10").answer
    assert [one.probability for one in answer.choices] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("pods", "interface", "masquerade"),
    [("cni0", "cni0", False), ("cni0", "cni01", True), ("cni+", "cni01", False), ("cni0", None, True)],
)
def test_a_pod_known_by_its_interface(pods: str, interface: str | None, *, masquerade: bool) -> None:
    document = compile_plan(plan(CART, pods=pods), None).document
    assert traced(document, "10.64.1.9", "10.96.0.10", interface=interface).answer.masquerade is masquerade


def test_rules_of_others_match_nothing() -> None:
    document = compile_plan(plan(CART, cluster_ranges=()), None).document
    foreign = Chain(None, ((ex.Opaque("counter", b""), ex.Jump(ex.Code.DROP)), (ex.Jump(ex.Code.ACCEPT),)))
    changed = {**document, "frontends": {**document["frontends"], chain_id("dispatch"): foreign}}
    assert traced(changed, "10.64.1.9", "10.96.0.10").answer.verdict is Verdict.PASS


def test_without_a_table_everything_passes() -> None:
    assert traced({}, "10.64.1.9", "10.96.0.10") == Trace(traced({}, "10.64.1.9", "192.0.2.11").answer, ())
