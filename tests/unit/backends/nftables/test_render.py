"""The text of documents and changes."""

from __future__ import annotations

import ipaddress

import pytest

from backends.nftables import expressions as ex
from backends.nftables import rules as r
from backends.nftables.compile import compile_plan
from backends.nftables.layout import WORDS
from backends.nftables.objects import Chain, Rule, chain_id
from backends.nftables.render import render, render_change
from backends.nftables.rule_text import rule_text
from kproxy.core.document import Change, Replacement, diff
from kproxy.core.plan import Egress
from kproxy.core.values import Family, Protocol
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import cluster_ip, endpoints, plan, port, service

FOUR, SIX = WORDS[Family.IPV4], WORDS[Family.IPV6]
CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2")))


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


@pytest.mark.parametrize(
    ("family", "rule", "text"),
    [
        (Family.IPV4, r.in_network(FOUR, FOUR.saddr, network("10.0.0.0/8")), "ip saddr 10.0.0.0/8"),
        (Family.IPV4, r.in_network(FOUR, FOUR.saddr, network("10.16.0.0/12")), "ip saddr 10.16.0.0/12"),
        (Family.IPV4, r.in_network(FOUR, FOUR.daddr, network("10.0.0.1/32")), "ip daddr 10.0.0.1"),
        (Family.IPV4, r.in_network(FOUR, FOUR.daddr, network("0.0.0.0/0")), "ip daddr 0.0.0.0/0"),
        (Family.IPV6, r.in_network(SIX, SIX.saddr, network("fd00::/9"), inverted=True), "ip6 saddr != fd00::/9"),
        (Family.IPV4, r.from_interface("cni0"), 'iifname "cni0"'),
        (Family.IPV4, r.from_interface("veth+"), 'iifname "veth*"'),
        (Family.IPV4, r.is_local(source=True), "fib saddr type local"),
        (Family.IPV4, r.in_set(FOUR, (FOUR.daddr,), "cluster-ips"), "ip daddr @cluster-ips"),
        (
            Family.IPV6,
            r.outside_ranges(SIX, (*SIX.key(node_port=True), SIX.saddr), "nodeport-source-ranges"),
            "meta l4proto . th dport . ip6 saddr != @nodeport-source-ranges",
        ),
        (Family.IPV4, r.by_map(FOUR, FOUR.key(node_port=True), "m"), "meta l4proto . th dport vmap @m"),
        (Family.IPV4, r.of_protocol(Protocol.SCTP), "meta l4proto sctp"),
        (Family.IPV4, r.one_in(3), "numgen random mod 3 0"),
        (Family.IPV4, r.ct_state(r.CT_NEW, r.CT_INVALID), "ct state invalid,new"),
        (Family.IPV4, r.ct_status(r.IPS_DST_NAT), "ct status dnat"),
        (Family.IPV4, r.is_marked(0x4000), "meta mark & 0x00004000 == 0x00004000"),
        (Family.IPV4, r.set_mark(0x4000), "meta mark set meta mark | 0x00004000"),
        (Family.IPV4, r.clear_mark(0x80000000), "meta mark set meta mark & 0x7fffffff"),
        (Family.IPV4, r.remember(FOUR, "s"), "update @s { ip saddr }"),
        (
            Family.IPV4,
            r.dnat_to(FOUR, Protocol.TCP, "10.0.0.1", 80),
            "meta l4proto tcp dnat ip to 10.0.0.1:80",
        ),
        (
            Family.IPV6,
            r.dnat_to(SIX, Protocol.UDP, "fd00::1", 80),
            "meta l4proto udp dnat ip6 to [fd00::1]:80",
        ),
        (Family.IPV4, (*r.goto("a"), *r.jump("b")), "goto a jump b"),
        (Family.IPV4, (*r.DROP, *r.RETURN, *r.MASQUERADE), "drop return masquerade fully-random"),
        (Family.IPV4, (*r.ct_status(r.IPS_DST_NAT, inverted=True), *r.jump("a")), "ct status ! dnat jump a"),
        (Family.IPV4, (*r.to_interface("cni0"), *r.to_interface("veth+")), 'oifname "cni0" oifname "veth*"'),
        (Family.IPV6, r.reject(SIX), "reject"),
        (Family.IPV4, (ex.Opaque("counter", b"\1\2"),), "[counter 0102]"),
        (Family.IPV4, (ex.Compare(3, ex.Op.EQUAL, b"\1\0\0\0"),), "[register 3] 1"),
    ],
)
def test_a_rule_reads_as_nft_writes_it(family: Family, rule: Rule, text: str) -> None:
    assert rule_text(family, rule) == text


def test_egress_is_a_chain_off_postrouting() -> None:
    egress = Egress((ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("169.254.0.0/16")))
    text = render({Family.IPV4: compile_plan(plan(egress=egress), None).document})
    assert "\t\tct status ! dnat ip saddr 10.64.0.0/16 jump egress\n" in text
    chain = text[text.index("chain egress {") :].partition("\t}")[0]
    assert chain.split("\n\t\t")[1:] == [
        "fib daddr type local return",
        "ip daddr 10.0.0.0/8 return",
        "ip daddr 169.254.0.0/16 return",
        "masquerade fully-random\n",
    ]
    by_interface = render({Family.IPV4: compile_plan(plan(egress=egress, pods="veth+"), None).document})
    assert '\t\tct status ! dnat iifname "veth*" jump egress\n' in by_interface
    assert '\t\toifname "veth*" return\n' in by_interface


def test_a_document_loads_whatever_stood_there() -> None:
    text = render({Family.IPV4: compiled(CART).document})
    assert text.startswith("table ip kproxy {}\ndelete table ip kproxy\ntable ip kproxy {\n")
    assert 'elements = { 10.96.0.10 comment "shop/cart" }' in text


def test_both_families_stand_in_one_text() -> None:
    six = service("cart", port(cluster_ip("fd00:96::10"), cluster=endpoints("fd00:64::1")))
    documents = {
        Family.IPV6: compile_plan(plan(six, family=Family.IPV6), None).document,
        Family.IPV4: compiled(CART).document,
    }
    text = render(documents)
    assert text.index("table ip kproxy") < text.index("table ip6 kproxy")


def test_nothing_is_the_removal_of_the_table() -> None:
    assert render({Family.IPV4: {}}) == "table ip kproxy {}\ndelete table ip kproxy\n"


def test_the_text_does_not_depend_on_the_order_of_services() -> None:
    other = service("other", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1")))
    assert render({Family.IPV4: compiled(CART, other).document}) == render(
        {Family.IPV4: compiled(other, CART).document}
    )


def test_a_change_is_shown_line_by_line_with_its_owner() -> None:
    before = compiled(CART)
    moved = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.9")))
    change = diff(before.document, compile_plan(plan(moved), before).document)
    assert render_change(Family.IPV4, change) == (
        "- element cluster-pool-2 { 10.96.0.10 . tcp . 80 . 1 : 10.64.1.2 . 8080 }  # shop/cart\n"
        "+ element cluster-pool-2 { 10.96.0.10 . tcp . 80 . 1 : 10.64.1.9 . 8080 }  # shop/cart\n"
    )


def test_a_chain_that_changes_shows_only_the_rules_that_do() -> None:
    before = compiled(CART)
    after = compile_plan(plan(CART, cluster_ranges=()), before)
    assert render_change(Family.IPV4, diff(before.document, after.document)) == (
        "- rule unallocated ip daddr 10.96.0.0/16 fib daddr type != local drop  # base\n"
    )


def test_a_first_load_shows_every_object() -> None:
    document = compiled(CART).document
    lines = render_change(Family.IPV4, diff({}, document)).splitlines()
    assert all(line.startswith("+ ") for line in lines)
    assert "+ table ip kproxy  # base" in lines
    assert "+ set cluster-ips { type ipv4_addr }  # base" in lines
    assert "+ chain cluster-pool-2  # pools" in lines


def test_a_difference_that_nft_would_not_print_is_said() -> None:
    document = compiled(CART).document
    key = chain_id("prerouting")
    chain = document["base"][key]
    assert isinstance(chain, Chain)
    twin = Chain(chain.hook, ((ex.Byteorder(0), *chain.rules[0]),))
    change = Change({}, {key: Replacement("base", twin, chain)}, {})
    assert render_change(Family.IPV4, change) == "~ chain prerouting (other order, or reads alike and is not)  # base\n"


def test_a_rule_that_stands_twice_is_shown() -> None:
    document = compiled(CART).document
    key = chain_id("prerouting")
    chain = document["base"][key]
    assert isinstance(chain, Chain)
    change = Change({}, {key: Replacement("base", Chain(chain.hook, chain.rules * 2), chain)}, {})
    assert render_change(Family.IPV4, change) == "- rule prerouting goto dispatch  # base\n"
