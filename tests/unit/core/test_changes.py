"""Changed keys, by the plain definition."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.changes import Edited, changed_keys

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


@settings(deadline=None)
@given(MAPPINGS, st.lists(st.tuples(MAPPINGS, st.lists(st.integers(0, 6), max_size=3)), min_size=1, max_size=4))
def test_edits_say_what_looking_would_find(
    first: dict[int, object], edits: list[tuple[dict[int, object], list[int]]]
) -> None:
    old: dict[int, object] = first
    for values, gone in edits:
        new = Edited(old, values, gone)
        assert new == {key: value for key, value in {**old, **values}.items() if key not in gone}
        assert changed_keys(old, new) == changed_keys(dict(old), dict(new))
        assert changed_keys(new, old) == changed_keys(dict(new), dict(old))
        assert changed_keys(first, new) == changed_keys(dict(first), dict(new))
        old = new


def test_edits_are_asked_only_of_the_mapping_they_were_made_to() -> None:
    base = Edited({1: VALUES[0], 2: VALUES[0]}, {})
    one, other = Edited(base, {1: VALUES[1]}), Edited(base, {2: VALUES[1]})
    assert changed_keys(base, one) == {1}
    assert changed_keys(one, other) == {1, 2}
