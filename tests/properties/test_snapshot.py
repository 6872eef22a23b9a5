"""What holds for every fold: order of different objects, repetition, pieces, identity, and a model to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.model import Applied, Deleted, EndpointSlice, Event, Kind, KubeObject, Node, Replaced, key_of
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, ObjectKey

NAMES = ("a", "b", "c")
KEYS = tuple(ObjectKey(namespace, name) for namespace in ("m", "n") for name in NAMES)

slices = st.builds(
    lambda key, owner, family: EndpointSlice(key, ObjectKey(key.namespace, owner), family, (), ()),
    st.sampled_from(KEYS),
    st.sampled_from(NAMES),
    st.sampled_from(Family),
)
nodes = st.builds(Node, st.sampled_from(NAMES), st.just(()), st.just(()), st.sampled_from(("", "z")))
KINDS: dict[Kind, st.SearchStrategy[KubeObject]] = {Kind.ENDPOINT_SLICE: slices, Kind.NODE: nodes}


def lists(kind: Kind) -> st.SearchStrategy[Replaced]:
    items = st.lists(KINDS[kind], unique_by=key_of, max_size=6)
    return items.flatmap(
        lambda found: st.builds(
            Replaced,
            st.just(kind),
            st.just(tuple(found)),
            st.frozensets(st.sampled_from(KEYS)).map(lambda keys: keys.difference(map(key_of, found))),
        )
    )


singles = st.one_of(
    st.builds(Applied, st.one_of(*KINDS.values())),
    st.builds(Deleted, st.just(Kind.ENDPOINT_SLICE), st.sampled_from(KEYS)),
    st.builds(Deleted, st.just(Kind.NODE), st.sampled_from([ObjectKey("", name) for name in NAMES])),
)
events = st.lists(st.one_of(singles, lists(Kind.ENDPOINT_SLICE), lists(Kind.NODE)), max_size=8)
snapshots = events.map(lambda found: fold(Snapshot(), found))


def key_and_kind(event: Event) -> tuple[Kind, ObjectKey]:
    if isinstance(event, Applied):
        return Kind(type(event.item).__name__), key_of(event.item)
    assert isinstance(event, Deleted)
    return event.kind, event.key


def flat(snapshot: Snapshot) -> dict[tuple[Kind, ObjectKey], KubeObject]:
    """Everything in a snapshot by kind and key; each slice is where it says it is."""
    found: dict[tuple[Kind, ObjectKey], KubeObject] = {(Kind.NODE, key): item for key, item in snapshot.nodes.items()}
    for owner, members in snapshot.slices.items():
        assert members
        for name, item in members.items():
            assert (item.service, item.key.name) == (owner, name)
            assert (Kind.ENDPOINT_SLICE, item.key) not in found
            found[Kind.ENDPOINT_SLICE, item.key] = item
    return found


def modelled(
    before: dict[tuple[Kind, ObjectKey], KubeObject], happened: Sequence[Event]
) -> dict[tuple[Kind, ObjectKey], KubeObject]:
    """The fold as one would write it without a thought for identity."""
    now = dict(before)
    for event in happened:
        if isinstance(event, Replaced):
            now = {k: v for k, v in now.items() if k[0] is not event.kind or k[1] in event.unreadable}
            now.update(((event.kind, key_of(item)), item) for item in event.items)
        elif isinstance(event, Applied):
            now[key_and_kind(event)] = event.item
        else:
            now.pop(key_and_kind(event), None)
    return now


@settings(deadline=None, max_examples=200)
@given(snapshots, events)
def test_a_fold_says_what_a_plain_dictionary_would(before: Snapshot, happened: list[Event]) -> None:
    kept = flat(before)
    after = fold(before, happened)
    assert flat(after) == modelled(kept, happened)
    assert flat(before) == kept
    assert after.complete == before.complete | {event.kind for event in happened if isinstance(event, Replaced)}


@settings(deadline=None, max_examples=100)
@given(
    snapshots,
    st.lists(singles, unique_by=key_and_kind, max_size=8).flatmap(lambda e: st.tuples(st.just(e), st.permutations(e))),
)
def test_the_order_of_events_on_different_objects_does_not_matter(
    before: Snapshot, orders: tuple[list[Event], list[Event]]
) -> None:
    one, other = orders
    assert fold(before, one) == fold(before, other)


@settings(deadline=None, max_examples=100)
@given(snapshots, events, st.integers(0, 8))
def test_one_fold_is_many(before: Snapshot, happened: list[Event], cut: int) -> None:
    assert fold(before, happened) == fold(fold(before, happened[:cut]), happened[cut:])


@settings(deadline=None, max_examples=100)
@given(snapshots, st.lists(singles, unique_by=key_and_kind, max_size=8))
def test_twice_changes_nothing_more(before: Snapshot, happened: list[Event]) -> None:
    after = fold(before, happened)
    assert fold(after, happened) is after


@settings(deadline=None, max_examples=200)
@given(snapshots, events)
def test_what_is_equal_is_the_same_object(before: Snapshot, happened: list[Event]) -> None:
    after = fold(before, happened)
    kept = flat(before)
    assert all(item is kept[key] for key, item in flat(after).items() if kept.get(key) == item)
    for owner, members in after.slices.items():
        assert members != before.slices.get(owner) or members is before.slices[owner]
    assert after.slices != before.slices or after.slices is before.slices
    assert after.nodes != before.nodes or after.nodes is before.nodes
    assert after != before or after is before
