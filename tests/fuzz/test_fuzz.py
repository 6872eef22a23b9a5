"""Each target for a bounded number of inputs: any bytes, and well-formed input with a few places changed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.ipvs.servers import OURS
from kproxy.netlink.attributes import attribute, nested
from kproxy.netlink.generic import generic
from kproxy.netlink.messages import message, netfilter
from kproxy.netlink.virtual_servers import ADDRESS, ADDRESS_FAMILY, FLAGS, PORT, PROTOCOL, SCHEDULER, SERVICE
from tests.fuzz.damage import hurt_messages
from tests.fuzz.targets import TARGETS, seeds

SERVER_PARTS = (
    attribute(ADDRESS_FAMILY, (2).to_bytes(2, "little")),
    attribute(PROTOCOL, (6).to_bytes(2, "little")),
    attribute(FLAGS, (OURS).to_bytes(8, "little")),
    attribute(SCHEDULER, b"rr\0"),
    attribute(PORT, b"\0\x50"),
)
MESSAGES = ("netlink", "nftables", "ipvs", "conntrack")
EXAMPLES = {"manifests": 40, "config": 40}
"""Of those that take long; each run is about two seconds."""
MANY = 250


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """One of a target's seeds with a few bytes changed, cut out, doubled, or of another seed."""
    pool = seeds(name)
    data = bytearray(draw(st.sampled_from(pool)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 8))
        change = draw(st.sampled_from(("set", "cut", "double", "end", "insert")))
        if change == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[at : at + length]
        elif change == "double":
            data[at:at] = data[at : at + length]
        elif change == "end":
            del data[at:]
        else:
            data[at:at] = draw(st.binary(max_size=length))
    return bytes(data)


@st.composite
def hurt(draw: st.DrawFn, name: str) -> bytes:
    """One of a target's seeds with attributes changed, all lengths being right."""
    data = draw(st.sampled_from(seeds(name)))
    chance = draw(st.randoms(use_true_random=False))
    for _ in range(draw(st.integers(1, 3))):
        data = hurt_messages(chance, data)
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_input_is_read_or_refused(name: str) -> None:
    examples = EXAMPLES.get(name, MANY)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300) | damaged(name) | (hurt(name) if name in MESSAGES else st.nothing()))
    def fuzz(data: bytes) -> None:
        TARGETS[name](data)

    fuzz()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_well_formed_is_taken(name: str) -> None:
    for data in seeds(name):
        TARGETS[name](data)


CRASHES = {
    "an error of the watch that is not UTF-8": ("watch", b'{"type":"ERROR","object":{"message":"\x80"}}'),
    "a virtual server without the bytes of its address": (
        "ipvs",
        message(16, 2, 1, generic(1, nested(SERVICE, *SERVER_PARTS, attribute(ADDRESS, b"")))),
    ),
    "a virtual server with half its flags": (
        "ipvs",
        message(16, 2, 1, generic(1, nested(SERVICE, *SERVER_PARTS[:2], attribute(FLAGS, b"\0\0")))),
    ),
    "a real server without the bytes of its address": (
        "ipvs",
        message(16, 2, 1, generic(5, nested(2, attribute(1, b""), attribute(2, b"\0\x50")))),
    ),
    "a member of a set without an address": (
        "ipvs",
        message(6 << 8 | 7, 2, 1, netfilter(2, attribute(2, b"KPROXY-VIPS\0"), nested(8, nested(7, nested(1))))),
    ),
}
"""What was found, as it was found."""


@pytest.mark.parametrize("what", CRASHES)
def test_what_once_crashed_is_refused(what: str) -> None:
    name, data = CRASHES[what]
    TARGETS[name](data)
