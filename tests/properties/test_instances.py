"""Whatever two instances are called, no name of the one is the other's, or a part of it."""

from __future__ import annotations

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from kproxy.core.instance import DEFAULT, Instance, instance_named

LETTERS = string.ascii_letters + string.digits
ENDS = st.sampled_from(LETTERS)
SHORT = st.text(LETTERS.lower(), min_size=1, max_size=7)
LONG = st.builds(lambda first, middle, last: first + middle + last, ENDS, st.text(LETTERS + "-_.", max_size=20), ENDS)
INSTANCES = st.one_of(st.just(DEFAULT), st.builds(instance_named, st.one_of(SHORT, LONG, st.just("roxy"))))
LONGEST_CHAIN, CHAIN_AFTER_PREFIX = 28, 20
"""XT_EXTENSION_MAXNAMELEN less the zero byte; `SVC-` and 16 characters."""


@given(INSTANCES, INSTANCES)
def test_names_of_two_instances_never_meet(one: Instance, other: Instance) -> None:
    assume(one != other)
    assert one.table != other.table
    if one.local_name == other.local_name:  # two hashes alike: then the lock keeps the second one out
        assert one.chain_prefix == other.chain_prefix
        assert one.chain_prefix.lower() == one.chain_prefix.replace("KP", "kp")
    else:
        assert not one.chain_prefix.startswith(other.chain_prefix)


@given(INSTANCES)
def test_chains_have_room_for_the_prefix(one: Instance) -> None:
    assert one.chain_prefix.startswith("KP")
    assert one.chain_prefix.endswith("-")
    assert one.chain_prefix.count("-") == 1
    assert len(one.chain_prefix) + CHAIN_AFTER_PREFIX <= LONGEST_CHAIN
