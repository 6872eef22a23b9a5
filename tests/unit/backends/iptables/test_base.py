"""The chains that stand without any Service, and what of the plan's settings they obey."""

from __future__ import annotations

import ipaddress

import pytest

from backends.iptables.names import (
    FORWARD,
    HOOKS,
    INPUT,
    NODE_PORTS,
    OUTPUT,
    POSTROUTING,
    REFUSED,
    REFUSED_NODE_PORTS,
    SERVICES,
    UNLISTED,
    UNSERVED,
    VIPS,
)
from kproxy.core.egress_rules import CHAIN
from kproxy.core.plan import Egress, Unallocated, Unlisted
from kproxy.core.values import Family
from tests.unit.backends.iptables.plans import chains
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

TO_NODE_PORTS = f"-j {NODE_PORTS.chain}"
LOOPBACK_ONLY = "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1")))


@pytest.mark.parametrize("family", Family)
def test_every_hook_leads_to_one_chain(family: Family) -> None:
    found = chains(family=family)
    assert {hook: found[hook] for hook in HOOKS} == {hook: (f"-j {chain.chain}",) for hook, chain in HOOKS.items()}


NODE_PORT_MATCHES = {
    "every local address but loopback": (
        {"node_ports": None},
        ["! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL "],
    ),
    "loopback too": (
        {"node_ports": None, "loopback_node_ports": True},
        ["-d 127.0.0.0/8 ", "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL "],
    ),
    "addresses by number": (
        {"node_ports": frozenset({"192.0.2.11", "192.0.2.9"})},
        ["-d 192.0.2.9/32 ", "-d 192.0.2.11/32 "],
    ),
    "loopback by its own setting only": ({"node_ports": frozenset({"127.0.0.1", "192.0.2.9"})}, ["-d 192.0.2.9/32 "]),
    "loopback and an address": (
        {"node_ports": frozenset({"192.0.2.9"}), "loopback_node_ports": True},
        ["-d 127.0.0.0/8 ", "-d 192.0.2.9/32 "],
    ),
    "none": ({"node_ports": frozenset()}, []),
    "never ::1": (
        {"family": Family.IPV6, "node_ports": None, "loopback_node_ports": True},
        ["! -d ::1/128 -m addrtype --dst-type LOCAL "],
    ),
}


@pytest.mark.parametrize(("settings", "matches"), NODE_PORT_MATCHES.values(), ids=NODE_PORT_MATCHES.keys())
def test_addresses_that_take_node_ports(settings: dict[str, object], matches: list[str]) -> None:
    found = chains(**settings)
    ways = [match + TO_NODE_PORTS for match in matches]
    if ways[:1] == [f"-d 127.0.0.0/8 {TO_NODE_PORTS}"]:
        ways.insert(1, "-d 127.0.0.0/8 -j RETURN")
    assert found[SERVICES] == (f"-j {VIPS.chain}", *ways)
    refusals = [rule for rule in found[INPUT] if rule.endswith(f"-j {REFUSED_NODE_PORTS.chain}")]
    assert refusals == [f"{match}-m conntrack --ctstate NEW -j {REFUSED_NODE_PORTS.chain}" for match in matches]


def test_loopback_is_closed_to_the_network_only_where_route_localnet_opens_it() -> None:
    found = chains(loopback_node_ports=True)
    assert found[INPUT][0] == LOOPBACK_ONLY
    assert found[OUTPUT][0] == LOOPBACK_ONLY
    assert LOOPBACK_ONLY not in chains()[INPUT]
    assert all("127.0.0.0" not in rule for rule in chains(family=Family.IPV6, loopback_node_ports=True)[INPUT])


def test_invalid_packets_are_dropped_unless_conntrack_is_liberal() -> None:
    invalid = "-m conntrack --ctstate INVALID -j DROP"
    assert invalid in chains()[FORWARD]
    assert invalid not in chains(drop_invalid=False)[FORWARD]


def test_what_we_translated_or_know_may_be_forwarded() -> None:
    assert chains()[FORWARD] == (
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m conntrack --ctstate INVALID -j DROP",
        f"-m conntrack --ctstate NEW -j {REFUSED.chain}",
        "-m mark --mark 0x4000/0x4000 -j ACCEPT",
    )


RANGES = (ipaddress.ip_network("10.96.0.0/16"),)
UNLISTED_REJECT = "-d 10.96.0.10/32 -j REJECT --reject-with icmp-port-unreachable"


def test_unlisted_ports_are_refused_by_a_tree_before_what_is_unallocated_is_dropped() -> None:
    found = chains(CART, unlisted=Unlisted.REJECT, unallocated=Unallocated.DROP, cluster_ranges=RANGES)
    assert found[UNSERVED] == (f"-j {UNLISTED.chain}", "-d 10.96.0.0/16 -m addrtype ! --dst-type LOCAL -j DROP")
    assert found[UNLISTED] == (UNLISTED_REJECT,)
    for hook in (INPUT, FORWARD, OUTPUT):
        assert f"-m conntrack --ctstate NEW -j {UNSERVED.chain}" in found[hook]


def test_unlisted_ports_that_pass_are_spared_when_what_is_unallocated_is_dropped() -> None:
    found = chains(CART, unallocated=Unallocated.DROP, cluster_ranges=RANGES)
    assert found[UNSERVED] == ("-d 10.96.0.10/32 -j RETURN", "-d 10.96.0.0/16 -m addrtype ! --dst-type LOCAL -j DROP")
    assert UNLISTED not in found


def test_where_both_pass_there_is_no_chain_for_them() -> None:
    assert not {UNSERVED, UNLISTED} & set(chains(CART))


def test_egress_comes_after_what_services_masquerade() -> None:
    egress = Egress((ipaddress.ip_network("10.0.0.0/8"),))
    found = chains(egress=egress)
    assert found[POSTROUTING][-1] == f"-s 10.64.0.0/16 -m conntrack ! --ctstate DNAT -j {CHAIN.chain}"
    assert found[CHAIN][-2:] == ("-d 10.0.0.0/8 -j RETURN", "-j MASQUERADE --random-fully")
    # It is no reason to let anything through: what FORWARD does with the masquerade mark stays the Services'.
    assert found[FORWARD] == chains()[FORWARD]
    assert CHAIN not in chains()
