"""The dispatch tree: every key is found, few rules are met, and one key more changes little."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.iptables.matches import State, chance, parse_rule
from backends.iptables.tree import DEEPEST, LEAF, Layout, grow, port_key
from kproxy.core.chains import ChainId
from kproxy.core.flow import Packet
from kproxy.core.host import Host
from kproxy.core.values import Family, Protocol, address_number
from tests.unit.backends.iptables.plans import Chains, depth, lopsided

ROOT = ChainId("nat", "KPROXY-ROOT")
V4 = Layout(ROOT, "V", Family.IPV4, 32)
V6 = Layout(ROOT, "V", Family.IPV6, 128)
PORTS_ONLY = Layout(ROOT, "P", Family.IPV4, 0)
ADDRESSES_ONLY = Layout(ROOT, "H", Family.IPV4, 32, 0, "-s")
HOST = Host("node-a")

Key = tuple[str, Protocol, int]

addresses_v4 = st.integers(0, 2**32 - 1).map(lambda number: str(ipaddress.IPv4Address(number)))
near_v4 = st.integers(0, 255).map(lambda number: f"10.96.0.{number}")
addresses_v6 = st.integers(0, 2**16 - 1).map(lambda number: str(ipaddress.IPv6Address((0xFD000096 << 96) + number)))
protocols, ports = st.sampled_from(Protocol), st.one_of(st.integers(1, 65535), st.integers(80, 90))


def keys(addresses: st.SearchStrategy[str]) -> st.SearchStrategy[set[Key]]:
    return st.sets(st.tuples(addresses, protocols, ports), max_size=60)


def rules(layout: Layout, chosen: Iterable[Key]) -> dict[int, str]:
    """A rule per key, as leaves have them."""
    result = {}
    for address, protocol, port in chosen:
        where = f"-d {address}/{layout.address_bits} " if layout.address_bits else ""
        number = address_number(address) if layout.address_bits else 0
        lower = protocol.lower()
        result[port_key(number, protocol, port)] = f"{where}-p {lower} -m {lower} --dport {port} -j ACCEPT"
    return result


def walk(chains: Chains, key: Key) -> tuple[list[str], int]:
    """The leaf rules that a packet to the key meets and matches, and how many rules it was held against."""
    state = State(Packet("203.0.113.7", key[0], key[2], key[1]))
    chain, place, met, matched = ROOT, 0, 0, []
    while place < len(chains[chain]):
        text = chains[chain][place]
        rule = parse_rule(text)
        met, place = met + 1, place + 1
        if chance(rule, state, HOST)[0]:
            if not rule.goto:
                matched.append(text)
                break
            chain, place = ChainId("nat", rule.target), 0
    return matched, met


def grown(layout: Layout, chosen: Iterable[Key]) -> Chains:
    return cast("Chains", grow(layout, rules(layout, chosen)))


@pytest.mark.parametrize(
    ("layout", "addresses"),
    [(V4, near_v4), (V4, addresses_v4), (V6, addresses_v6), (PORTS_ONLY, st.just("192.0.2.11"))],
    ids=["near", "far", "ipv6", "ports"],
)
def test_each_key_is_found_and_nothing_else(layout: Layout, addresses: st.SearchStrategy[str]) -> None:
    @settings(deadline=None, max_examples=60)
    @given(keys(addresses), st.tuples(addresses, protocols, ports))
    def each(chosen: set[Key], stranger: Key) -> None:
        chains = grown(layout, chosen)
        wanted = rules(layout, chosen)
        for key in chosen:
            (found,), _ = walk(chains, key)
            assert found == wanted[port_key(address_number(key[0]) if layout.address_bits else 0, key[1], key[2])]
        if not rules(layout, [stranger]).keys() <= wanted.keys():
            assert walk(chains, stranger)[0] == []

    each()


def test_an_empty_tree_is_its_root() -> None:
    assert grow(V4, {}) == {ROOT: ()}


COMB = [1 << bit | low for bit in range(31, 3, -1) for low in range(4)]
"""Four addresses branch off at every bit."""


@pytest.mark.parametrize("numbers", [COMB, lopsided(5_000), lopsided(40_000)], ids=["comb", "lopsided", "many"])
def test_however_addresses_are_chosen_the_kernel_takes_the_tree_and_walks_are_short(numbers: list[int]) -> None:
    chosen = [(str(ipaddress.IPv4Address(number)), Protocol.TCP, 80) for number in numbers]
    chains = grown(V4, chosen)
    assert depth(chains, ROOT) <= DEEPEST
    assert max(walk(chains, key)[1] for key in chosen[::97]) <= 150
    assert max(map(len, chains.values())) <= 100


def test_few_rules_are_one_chain() -> None:
    chosen = [(f"10.96.0.{number}", Protocol.TCP, 80) for number in range(LEAF)]
    assert list(grown(V4, chosen)) == [ROOT]


def random_services(count: int) -> list[Key]:
    dice = random.Random(7)
    network = ipaddress.ip_network("10.96.0.0/12")
    return [(str(network[dice.randrange(network.num_addresses)]), Protocol.TCP, 80) for _ in range(count)]


def test_ten_thousand_services_are_tens_of_rules_away() -> None:
    chosen = random_services(10_000)
    chains = grown(V4, chosen)
    met = [walk(chains, key)[1] for key in chosen]
    assert max(met) <= 45
    assert sum(met) / len(met) <= 25


def test_one_service_more_changes_only_the_chains_on_its_way() -> None:
    chosen = random_services(2_000)
    before, after = grown(V4, chosen[:-1]), grown(V4, chosen)
    changed = [chain for chain in before.keys() | after.keys() if before.get(chain) != after.get(chain)]
    assert 1 <= len(changed) <= 4


def test_the_shape_does_not_depend_on_the_order_of_insertion() -> None:
    chosen = random_services(500)
    assert grown(V4, chosen) == grown(V4, reversed(chosen))


def test_chains_say_in_their_name_what_they_hold_and_names_fit_the_kernel() -> None:
    chosen = [(f"10.96.{number}.{host}", Protocol.TCP, 80) for number in range(4) for host in range(20)]
    assert ChainId("nat", "KPROXY-V-0a60010-26") in grown(V4, chosen)
    many_ports = [("10.96.0.1", protocol, port) for protocol in Protocol for port in range(1, 200)]
    many_v6 = [(f"fd00:96::{number:x}", Protocol.TCP, 80) for number in range(1, 200)]
    for layout, leaves in ((V4, many_ports), (V6, many_v6)):
        assert max(len(chain.chain) for chain in grown(layout, leaves)) <= 28


def test_prefixes_of_address_protocol_and_port_are_matched_by_their_own_options() -> None:
    spread = [("10.96.0.1", protocol, port) for protocol in Protocol for port in range(80, 65536, 1500)]
    leads = [rule for body in grown(V4, spread).values() for rule in body if " -g " in rule]
    assert any(rule.startswith("-d 10.96.0.1/32 -p sctp -g KPROXY-V-") for rule in leads)
    assert any(rule.startswith("-p tcp -m tcp --dport 16384:32767 -g ") for rule in leads)


def test_sources_may_be_the_key() -> None:
    rules_of = {address_number(f"10.64.{n}.1"): f"-s 10.64.{n}.1/32 -j ACCEPT" for n in range(40)}
    chains = cast("Chains", grow(ADDRESSES_ONLY, rules_of))
    assert any(rule.startswith("-s 10.64.") and " -g KPROXY-H-" in rule for rule in chains[ROOT])
