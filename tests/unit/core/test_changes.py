"""Changed keys, by the plain definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.changes import changed_keys

VALUES = [object(), object(), object()]
MAPPINGS = st.dictionaries(st.integers(0, 6), st.sampled_from(VALUES))


@settings(deadline=None)
@given(MAPPINGS, MAPPINGS)
def test_a_key_changed_if_it_stands_for_another_object_or_for_none(
    old: dict[int, object], new: dict[int, object]
) -> None:
    expected = {key for key in {**old, **new} if old.get(key) is not new.get(key)}
    assert changed_keys(old, new) == expected
    in_old_order = {key: new.get(key, VALUES[0]) for key in old}
    assert changed_keys(old, in_old_order) == {key for key in old if old[key] is not in_old_order[key]}


def test_equal_is_not_the_same() -> None:
    assert changed_keys({1: [0]}, {1: [0]}) == {1}
