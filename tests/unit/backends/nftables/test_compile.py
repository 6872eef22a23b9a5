"""What a Service becomes: a few elements of its own; what it shares is counted."""

from __future__ import annotations

import ipaddress

from backends.nftables.compile import compile_plan
from backends.nftables.frontends import COMMENT_LENGTH, comment_of
from backends.nftables.layout import standard_set
from backends.nftables.objects import Chain, Element, chain_id, key_of, name_of
from backends.nftables.rules import DROP
from backends.nftables.shapes import Shape, shape_of
from backends.nftables.text import element_text
from kproxy.core.document import diff
from kproxy.core.plan import Action, Client, Egress, Frontend, FrontendKind, Route
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import REFUSED, TO_LOCAL, cluster_ip, endpoints, node_port, plan, port, service

CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2")))


def elements(fragment: object) -> list[str]:
    """The elements of a fragment as `set: text`."""
    assert isinstance(fragment, dict)
    found = []
    for key, content in fragment.items():
        if isinstance(content, Element):
            own = standard_set(Family.IPV4, name_of(key))
            assert own is not None
            found.append(f"{name_of(key)}: {element_text(own, key_of(key), content)}")
    return sorted(found)


def test_a_service_is_its_elements() -> None:
    document = compiled(CART).document
    assert elements(document["shop/cart"]) == [
        'cluster-ips: 10.96.0.10 comment "shop/cart"',
        "cluster-pool-2: 10.96.0.10 . tcp . 80 . 0 : 10.64.1.1 . 8080",
        "cluster-pool-2: 10.96.0.10 . tcp . 80 . 1 : 10.64.1.2 . 8080",
        'frontends/pod-cluster/any-masquerade-cluster: 10.96.0.10 . tcp . 80 comment "shop/cart:http"',
    ]
    assert not any(isinstance(content, Chain) for content in document["shop/cart"].values())


def test_another_service_of_the_same_shape_and_size_adds_elements_only() -> None:
    other = service("other", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1", "10.64.1.3")))
    before = compiled(CART)
    change = diff(before.document, compile_plan(plan(CART, other), before).document)
    assert change.owners == {"shop/other"}
    assert not change.changed
    assert not change.removed


def test_an_endpoint_that_is_replaced_is_one_element() -> None:
    before = compiled(CART)
    moved = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.9")))
    change = diff(before.document, compile_plan(plan(moved), before).document)
    assert len(change.changed) == 1
    assert not change.added
    assert not change.removed


def test_another_exempt_network_is_one_chain() -> None:
    before = compile_plan(plan(CART, egress=Egress((ipaddress.ip_network("10.0.0.0/8"),))), None)
    wider = Egress((ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("198.51.100.0/24")))
    change = diff(before.document, compile_plan(plan(CART, egress=wider), before).document)
    assert (change.added, change.removed) == ({}, {})
    assert list(change.changed) == [chain_id("egress")]
    off = diff(before.document, compile_plan(plan(CART), before).document)
    assert (list(off.removed), list(off.changed)) == ([chain_id("egress")], [chain_id("postrouting")])


def test_policy_local_has_both_pools() -> None:
    both = service(
        "web",
        port(
            node_port(30080),
            cluster=endpoints("10.64.1.1", "10.64.2.1", local=["10.64.1.1"]),
            local=endpoints("10.64.1.1", local=["10.64.1.1"]),
            external=TO_LOCAL,
        ),
    )
    document = compiled(both).document
    assert elements(document["shop/web"]) == [
        "nodeport-cluster-pool-2: tcp . 30080 . 0 : 10.64.1.1 . 8080",
        "nodeport-cluster-pool-2: tcp . 30080 . 1 : 10.64.2.1 . 8080",
        'nodeport-frontends/pod-cluster/node-masquerade-cluster/any-local: tcp . 30080 comment "shop/web:http"',
        "nodeport-local-pool-1: tcp . 30080 . 0 : 10.64.1.1 . 8080",
    ]
    assert elements(document["hairpins"]) == ["hairpin: 10.64.1.1 . 10.64.1.1"]


def test_a_fence_has_no_overlaps_and_an_empty_one_admits_nobody() -> None:
    ranges = tuple(map(ipaddress.ip_network, ("192.0.2.0/25", "192.0.2.0/24", "192.0.3.0/24", "203.0.113.7/32")))
    balanced = Frontend(FrontendKind.LOAD_BALANCER, "198.51.100.1", 80, ranges)
    closed = Frontend(FrontendKind.LOAD_BALANCER, "198.51.100.2", 80, ())
    fenced = service("web", port(balanced, closed, cluster=endpoints("10.64.1.1")))
    found = elements(compiled(fenced).document["shop/web"])
    assert [one for one in found if one.startswith("source-ranges")] == [
        "source-ranges: 198.51.100.1 . tcp . 80 . 192.0.2.0/23",
        "source-ranges: 198.51.100.1 . tcp . 80 . 203.0.113.7",
    ]
    assert sum("frontends/fenced/" in one for one in found) == 2


def test_refused_frontends_reject_where_they_stand_and_nodeports_at_the_input() -> None:
    gone = service("gone", port(cluster_ip("10.96.0.10"), node_port(30080), internal=REFUSED, external=REFUSED))
    assert elements(compiled(gone).document["shop/gone"]) == [
        'cluster-ips: 10.96.0.10 comment "shop/gone"',
        'frontends/any-reject: 10.96.0.10 . tcp . 80 comment "shop/gone:http"',
        'refused-nodeports: tcp . 30080 comment "shop/gone:http"',
    ]


def test_affinity_has_chains_of_its_own_shared_by_all_frontends() -> None:
    sticky = service(
        "sticky",
        port(cluster_ip("10.96.0.10"), node_port(30080), cluster=endpoints("10.64.1.1", "10.64.1.2"), affinity_s=600),
    )
    fragment = compiled(sticky).document["shop/sticky"]
    chains = [key for key, content in fragment.items() if isinstance(content, Chain)]
    assert len(chains) == 1
    goals = {content.data.decode() for content in fragment.values() if isinstance(content, Element) and content.data}
    assert goals == {name_of(chains[0])}


def test_another_time_out_is_another_memory() -> None:
    def ids(affinity_s: int) -> set[object]:
        sticky = port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1"), affinity_s=affinity_s)
        fragment = compiled(service("sticky", sticky)).document["shop/sticky"]
        return {key for key in fragment if str(key).startswith(("set sticky/", "chain sticky/"))}

    assert len(ids(600)) == 2
    assert not ids(600) & ids(601)


def test_a_cluster_ip_of_two_services_stays_until_the_last_is_gone() -> None:
    one = service("one", port(cluster_ip("10.96.0.10", 80), cluster=endpoints("10.64.1.1")))
    two = service("two", port(cluster_ip("10.96.0.10", 81), cluster=endpoints("10.64.1.1")))
    alone = compiled(one)
    both = compile_plan(plan(one, two), alone)
    assert elements(both.document["shared-cluster-ips"]) == ["cluster-ips: 10.96.0.10"]
    assert both.document == compiled(one, two).document
    left = compile_plan(plan(two), both)
    assert left.document == compiled(two).document
    change = diff(both.document, left.document)
    assert not [key for key in change.removed if isinstance(key, bytes) and key.startswith(b"cluster-ips")]


def test_pools_are_tried_from_the_smallest() -> None:
    services = [
        service(f"s{count}", port(cluster_ip(f"10.96.0.{count}"), cluster=endpoints(*TEN[:count])))
        for count in (10, 9, 1, 2)
    ]
    chain = compiled(*services).document["pools"]["chain cluster-pool"]
    assert isinstance(chain, Chain)
    *tries, last = chain.rules
    goals = [expression.chain for (expression,) in tries]  # type: ignore[union-attr] # jumps only
    assert goals == 2 * ["cluster-pool-1", "cluster-pool-2", "cluster-pool-9", "cluster-pool-10"]
    assert last == DROP


TEN = [f"10.64.1.{number}" for number in range(1, 11)]


def test_node_ports_on_loopback_are_decided_by_their_own_setting() -> None:
    shown = service("web", port(node_port(30080), cluster=endpoints("10.64.1.1")))
    addresses = frozenset({"192.0.2.11", "127.0.0.1"})
    closed = compile_plan(plan(shown, node_ports=addresses), None).document["base"]
    assert elements(closed) == ["nodeport-ips: 192.0.2.11"]
    opened = compile_plan(plan(shown, node_ports=addresses, loopback_node_ports=True), None).document["base"]
    assert elements(opened) == ["nodeport-ips: 192.0.2.11"]
    assert closed["chain input"] != opened["chain input"]


def test_only_the_node_port_addresses_change_when_an_address_comes() -> None:
    shown = service("web", port(node_port(30080), cluster=endpoints("10.64.1.1")))
    before = compiled(shown)
    after = compile_plan(plan(shown, node_ports=frozenset({"192.0.2.11", "192.0.2.12"})), before)
    change = diff(before.document, after.document)
    assert [name_of(key) for key in change.added] == ["nodeport-ips"]
    assert not change.changed


def test_another_service_cidr_is_one_chain() -> None:
    before = compiled(CART)
    after = compile_plan(plan(CART, cluster_ranges=(ipaddress.ip_network("10.98.0.0/16"),)), before)
    change = diff(before.document, after.document)
    assert list(change.changed) == ["chain unallocated"]
    assert not change.added


def test_a_plan_of_the_other_family_takes_nothing_over() -> None:
    six = service("cart", port(cluster_ip("fd00:96::10"), cluster=endpoints("fd00:64::1")))
    after = compile_plan(plan(six, family=Family.IPV6), compiled(CART))
    assert after.document == compile_plan(plan(six, family=Family.IPV6), None).document


def test_comments_are_what_nft_takes() -> None:
    assert comment_of(ObjectKey("shop", "cart"), "http") == "shop/cart:http"
    assert comment_of(ObjectKey("shop", "cart")) == "shop/cart"
    assert comment_of(ObjectKey("shop", 'ca"rt\n'), "http") == "shop/ca_rt_:http"
    assert len(comment_of(ObjectKey("n" * 63, "s" * 63), "p" * 15)) == COMMENT_LENGTH


def test_a_shape_is_read_back_from_its_name() -> None:
    for routes in (TO_LOCAL, REFUSED, (Route(Client.ANY, False, Action.DROP),)):
        for flags in range(8):
            shape = Shape(bool(flags & 1), bool(flags & 2), bool(flags & 4), routes)
            assert shape_of(shape.name) == shape


def test_every_protocol_is_a_key_of_its_own() -> None:
    ports = [
        port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1"), name=one.lower(), protocol=one)
        for one in Protocol
    ]
    found = elements(compiled(service("dns", *ports)).document["shop/dns"])
    assert sum("cluster-pool-1" in one for one in found) == 3
