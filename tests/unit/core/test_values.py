"""Addresses and networks against the standard library, which is the oracle."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.core.values import (
    Family,
    Protocol,
    address_number,
    canonical_address,
    family_of,
    network_contains,
)

addresses = st.ip_addresses()


def networks(version: int) -> st.SearchStrategy[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    kind, bits = (ipaddress.IPv4Network, 32) if version == 4 else (ipaddress.IPv6Network, 128)
    return st.builds(
        lambda address, length: kind((int(address) >> (bits - length) << (bits - length), length)),
        st.ip_addresses(v=version),
        st.integers(0, bits),
    )


@given(addresses)
def test_canonical_text_is_a_fixed_point_and_keeps_the_family(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    text = canonical_address(address.exploded)
    assert text == str(address) == canonical_address(text)
    assert family_of(text) == address.version
    assert address_number(text) == int(address)


@pytest.mark.parametrize("text", ["", "10.0.0", "010.0.0.1", "1.2.3.4/32", "::1%lo", "::g", " 10.0.0.1", "10.0.0.1\n"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_address(text)


@given(networks(4) | networks(6), addresses)
def test_membership_is_the_standard_librarys(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    assert network_contains(network, str(address)) == (address in network)
    for own in (network[0], network[-1]):
        assert network_contains(network, str(own))


def test_words_are_the_apis() -> None:
    assert [family.label for family in Family] == ["IPv4", "IPv6"]
    assert [(protocol.value, protocol.number) for protocol in Protocol] == [("TCP", 6), ("UDP", 17), ("SCTP", 132)]
