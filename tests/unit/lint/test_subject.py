"""Finding a network among thousands says the same as asking each of them."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.values import network_contains
from kproxy.lint.subject import containing, index_of, some_of

NETWORKS = st.one_of(
    st.builds(lambda n, p: ipaddress.ip_network((n, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(
        lambda n, p: ipaddress.ip_network((n, p), strict=False), st.integers(2**100, 2**128 - 1), st.integers(0, 128)
    ),
)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@settings(deadline=None)
@given(st.lists(NETWORKS, max_size=6), ADDRESSES)
def test_an_index_says_what_each_network_says(networks: list[ipaddress.IPv4Network], address: str) -> None:
    found = containing(index_of(networks), address)
    assert (found is not None) == any(network_contains(one, address) for one in networks)
    assert found is None or network_contains(found, address)


def test_of_many_names_a_few_are_said() -> None:
    assert some_of("abc") == "a, b, c"
    assert some_of("abcde") == "a, b, c and 2 more"
