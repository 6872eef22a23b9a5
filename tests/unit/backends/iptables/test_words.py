"""The words of rules: canonical, and proof against whatever an object or a setting may hold."""

from __future__ import annotations

import ipaddress
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.iptables.words import comment, shares, words_for
from kproxy.core.plan import Client
from kproxy.core.values import Family, Protocol
from kproxy.errors import ConfigError
from tests.unit.backends.iptables.plans import plan


@given(st.text(max_size=300))
def test_a_comment_is_one_word_whatever_it_says(text: str) -> None:
    match = comment(text)
    words = shlex.split(match)
    assert words[:3] == ["-m", "comment", "--comment"]
    assert len(words) == 4
    assert len(words[3]) <= 200
    assert match.isprintable()
    assert match.isascii()
    assert match.count('"') == 2
    assert "\\" not in match


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1000])
def test_shares_are_even_to_the_31_bits_of_the_kernel(count: int) -> None:
    left, taken = 1.0, []
    for match in shares(Protocol.UDP, count):
        words = match.split()
        chance = float(words[words.index("--probability") + 1]) if "--probability" in words else 1.0
        taken.append(left * chance)
        left *= 1 - chance
    assert left == 0
    assert all(abs(share - 1 / count) < 1e-8 for share in taken)


def test_a_probability_is_printed_as_iptables_save_does() -> None:
    assert "--probability 0.33333333349 " in shares(Protocol.TCP, 3)[0]


@pytest.mark.parametrize("name", ["", "a b", "x" * 16, "cni0 -j ACCEPT", "br+x", 'a"', "!eth0", "eth0\n-A INPUT"])
def test_an_interface_that_cannot_be_one_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match="for local detection: 1 to 15"):
        words_for(plan(pods=name))


@pytest.mark.parametrize("name", ["cni0", "veth+", "+", "br-lan", "eth0.100", "x" * 15])
def test_an_interface_of_any_usual_name_is_matched(name: str) -> None:
    words = words_for(plan(pods=name))
    assert words.clients[Client.POD] == (f"-i {name} ",)
    assert words.unless_pod == f"! -i {name} "


def test_a_detector_that_holds_everybody_leaves_no_match() -> None:
    words = words_for(plan(pods=(ipaddress.ip_network("0.0.0.0/0"),)))
    assert words.clients[Client.POD] == ("",)
    assert words.unless_pod is None


def test_targets_are_bracketed_in_ipv6_only() -> None:
    assert words_for(plan()).target("10.64.1.1", 80) == "10.64.1.1:80"
    assert words_for(plan(family=Family.IPV6)).target("fd00::1", 80) == "[fd00::1]:80"
