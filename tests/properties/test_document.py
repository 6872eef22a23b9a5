"""The one diff: what it says turns what stands into what is wanted, and says no more than that."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.document import BASE, Content, Document, ObjectId, Owner, diff, patch

quick = settings(deadline=None, max_examples=200)
OWNERS = st.sampled_from(["shop/cart", "shop/till", "web/front", BASE])
# An object id is unique in a Document: each has one owner.
OBJECTS = st.dictionaries(st.integers(0, 9), st.tuples(OWNERS, st.sampled_from([None, "accept", "drop"])))


def document(objects: Mapping[int, tuple[Owner, Content]]) -> Document:
    found: dict[Owner, dict[ObjectId, Content]] = {}
    for key, (owner, content) in objects.items():
        found.setdefault(owner, {})[key] = content
    return found


def flat(whole: Document) -> dict[ObjectId, Content]:
    return {key: content for fragment in whole.values() for key, content in fragment.items()}


DOCUMENTS = OBJECTS.map(document)


@quick
@given(DOCUMENTS, DOCUMENTS)
def test_the_change_leads_from_one_to_the_other(have: Document, want: Document) -> None:
    change = diff(have, want)
    assert flat(patch(have, change)) == flat(want)
    assert not diff(patch(have, change), want)


@quick
@given(DOCUMENTS, DOCUMENTS)
def test_the_change_holds_what_differs_and_nothing_else(have: Document, want: Document) -> None:
    change, before, after = diff(have, want), flat(have), flat(want)
    assert change.added.keys() == after.keys() - before.keys()
    assert change.removed.keys() == before.keys() - after.keys()
    assert change.changed.keys() == {key for key in before.keys() & after.keys() if before[key] != after[key]}
    assert bool(change) is (before != after)


@quick
@given(DOCUMENTS, DOCUMENTS)
def test_everything_is_said_with_its_owner_and_content(have: Document, want: Document) -> None:
    change = diff(have, want)
    for key, addition in change.added.items():
        assert want[addition.owner][key] == addition.content
    for key, removal in change.removed.items():
        assert have[removal.owner][key] == removal.content
    for key, replacement in change.changed.items():
        assert want[replacement.owner][key] == replacement.new
        assert flat(have)[key] == replacement.old
    parts = (change.added, change.changed, change.removed)
    assert change.owners == {entry.owner for part in parts for entry in part.values()}


@quick
@given(OBJECTS, st.lists(OWNERS, min_size=10, max_size=10))
def test_an_object_that_only_changes_its_owner_is_no_change(
    objects: dict[int, tuple[Owner, Content]], owners: list[Owner]
) -> None:
    moved = {key: (owners[key], content) for key, (_, content) in objects.items()}
    assert not diff(document(objects), document(moved))


@quick
@given(DOCUMENTS, DOCUMENTS)
def test_fragments_that_are_the_same_object_are_as_if_compared(have: Document, want: Document) -> None:
    shared: Document = {**have, **{owner: have[owner] for owner in want if owner in have}}
    copied: Document = {owner: dict(fragment) for owner, fragment in shared.items()}
    assert diff(have, shared) == diff(have, copied)
    assert not diff(have, copied)


def test_nothing_from_nothing_is_nothing() -> None:
    assert not diff({}, {})
    assert patch({}, diff({}, {})) == {}
    assert patch({"shop/cart": {1: "accept"}}, diff({"shop/cart": {1: "accept"}}, {})) == {}
