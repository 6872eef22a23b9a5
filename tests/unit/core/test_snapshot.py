"""The fold: what changes, and above all what stays the very same object."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from kproxy.core.model import (
    Applied,
    Deleted,
    EndpointSlice,
    Event,
    Kind,
    KubeObject,
    Node,
    Replaced,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceType,
    TrafficPolicy,
    key_of,
)
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, ObjectKey, Protocol

CART, MALL, GONE = ObjectKey("shop", "cart"), ObjectKey("shop", "mall"), ObjectKey("shop", "gone")


def service(key: ObjectKey, port: int = 80) -> Service:
    return Service(
        key=key,
        created="",
        type=ServiceType.CLUSTER_IP,
        cluster_ips=("10.96.0.10",),
        external_ips=(),
        load_balancer_ips=(),
        source_ranges=None,
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_s=0,
        health_check_port=0,
        ports=(ServicePort("", Protocol.TCP, port, 0),),
    )


def slice_of(name: str, owner: ObjectKey = CART, family: Family = Family.IPV4) -> EndpointSlice:
    return EndpointSlice(ObjectKey("shop", name), owner, family, (), ())


def copy_of(item: KubeObject) -> KubeObject:
    """An equal object that is not the same one."""
    again = msgspec.structs.replace(item)
    assert again == item
    assert again is not item
    return again


NODE = Node("node-a", ("192.0.2.11",), (), "z1")
CIDR = ServiceCIDR("kubernetes", (ipaddress.ip_network("10.96.0.0/16"),))
FULL = fold(
    Snapshot(),
    [
        Replaced(Kind.SERVICE, (service(CART), service(MALL))),
        Replaced(Kind.ENDPOINT_SLICE, (slice_of("a"), slice_of("b"), slice_of("c", MALL))),
        Replaced(Kind.NODE, (NODE,)),
        Replaced(Kind.SERVICE_CIDR, (CIDR,)),
    ],
)
ITEMS: tuple[KubeObject, ...] = (service(CART), slice_of("a"), NODE, CIDR)


def kind_of(item: KubeObject) -> Kind:
    return Kind(type(item).__name__)


def test_lists_fill_the_snapshot() -> None:
    assert (
        Snapshot(
            services={CART: service(CART), MALL: service(MALL)},
            slices={CART: {"a": slice_of("a"), "b": slice_of("b")}, MALL: {"c": slice_of("c", MALL)}},
            nodes={ObjectKey("", "node-a"): NODE},
            service_cidrs={ObjectKey("", "kubernetes"): CIDR},
            complete=frozenset(Kind),
        )
        == FULL
    )


def test_synced_means_services_and_slices_are_complete() -> None:
    some = fold(Snapshot(), [Replaced(Kind.SERVICE, ()), Replaced(Kind.NODE, ())])
    assert not some.synced
    assert fold(some, [Replaced(Kind.ENDPOINT_SLICE, ())]).synced


def test_single_events_complete_nothing() -> None:
    assert fold(Snapshot(), [Applied(item) for item in ITEMS]).complete == frozenset()


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Applied(copy_of(item)) for item in ITEMS],
        [Deleted(Kind.SERVICE, GONE), Deleted(Kind.ENDPOINT_SLICE, GONE), Deleted(Kind.NODE, GONE)],
        [Replaced(Kind.SERVICE, (copy_of(service(MALL)), copy_of(service(CART))))],
        [Replaced(Kind.ENDPOINT_SLICE, (slice_of("c", MALL), slice_of("b"), slice_of("a")))],
        [Replaced(Kind.SERVICE, (), frozenset({CART, MALL}))],
        [Replaced(Kind.ENDPOINT_SLICE, (slice_of("b"),), frozenset({ObjectKey("shop", "a"), ObjectKey("shop", "c")}))],
        [Applied(service(CART, 81)), Applied(service(CART))],
        [Deleted(Kind.SERVICE, CART), Applied(service(CART))],
        [Applied(service(GONE)), Deleted(Kind.SERVICE, GONE)],
        [Applied(slice_of("new")), Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "new"))],
        [Applied(slice_of("a", MALL)), Applied(slice_of("a"))],
        [Replaced(Kind.ENDPOINT_SLICE, ()), *map(Applied, (slice_of("a"), slice_of("b"), slice_of("c", MALL)))],
    ],
)
def test_what_changes_nothing_in_the_end_gives_the_same_snapshot(events: list[Event]) -> None:
    assert fold(FULL, events) is FULL


@pytest.mark.parametrize("item", ITEMS)
def test_a_deleted_object_is_gone_and_the_rest_is_not_touched(item: KubeObject) -> None:
    after = fold(FULL, [Deleted(kind_of(item), key_of(item))])
    parts = {
        Kind.SERVICE: (FULL.services, after.services),
        Kind.ENDPOINT_SLICE: (FULL.slices, after.slices),
        Kind.NODE: (FULL.nodes, after.nodes),
        Kind.SERVICE_CIDR: (FULL.service_cidrs, after.service_cidrs),
    }
    assert {kind for kind, (before, now) in parts.items() if now is not before} == {kind_of(item)}
    assert fold(after, [Applied(item)]) == FULL


def test_a_changed_service_leaves_all_others_the_same_object() -> None:
    after = fold(FULL, [Applied(service(CART, 81))])
    assert after.services[CART].ports[0].port == 81
    assert after.services[MALL] is FULL.services[MALL]
    assert after.slices is FULL.slices


def test_a_changed_slice_leaves_its_neighbours_the_same_objects() -> None:
    after = fold(FULL, [Applied(slice_of("a", family=Family.IPV6))])
    assert after.slices[CART]["a"].family is Family.IPV6
    assert after.slices[CART]["b"] is FULL.slices[CART]["b"]
    assert after.slices[MALL] is FULL.slices[MALL]


def test_a_relist_keeps_the_objects_that_are_equal() -> None:
    after = fold(FULL, [Replaced(Kind.ENDPOINT_SLICE, (slice_of("a"), slice_of("c", MALL)))])
    assert set(after.slices[CART]) == {"a"}
    assert after.slices[CART]["a"] is FULL.slices[CART]["a"]
    assert after.slices[MALL] is FULL.slices[MALL]


def test_a_slice_that_changes_its_service_leaves_the_old_one() -> None:
    after = fold(FULL, [Applied(slice_of("c", CART))])
    assert after.slices == {CART: {"a": slice_of("a"), "b": slice_of("b"), "c": slice_of("c")}}


def test_the_same_in_a_relist() -> None:
    after = fold(FULL, [Replaced(Kind.ENDPOINT_SLICE, (slice_of("a", MALL),))])
    assert after.slices == {MALL: {"a": slice_of("a", MALL)}}


def test_slices_of_one_name_in_two_namespaces_are_two() -> None:
    other = EndpointSlice(ObjectKey("mine", "a"), ObjectKey("mine", "cart"), Family.IPV4, (), ())
    after = fold(FULL, [Applied(other), Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "a"))])
    assert after.slices[ObjectKey("mine", "cart")] == {"a": other}
    assert set(after.slices[CART]) == {"b"}


def test_a_service_without_slices_has_no_entry() -> None:
    after = fold(FULL, [Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "c"))])
    assert MALL not in after.slices


def test_an_unreadable_object_stays_as_it_was_last_known() -> None:
    after = fold(FULL, [Replaced(Kind.SERVICE, (service(MALL, 81),), frozenset({CART, GONE}))])
    assert after.services == {CART: service(CART), MALL: service(MALL, 81)}
    assert after.services[CART] is FULL.services[CART]


def test_an_unreadable_slice_stays_with_its_service() -> None:
    events = [Replaced(Kind.ENDPOINT_SLICE, (slice_of("b"),), frozenset({ObjectKey("shop", "a")}))]
    assert fold(FULL, events).slices == {CART: {"a": slice_of("a"), "b": slice_of("b")}}


def test_events_apply_in_their_order() -> None:
    events: list[Event] = [
        Replaced(Kind.ENDPOINT_SLICE, (slice_of("a"),)),
        Applied(slice_of("n", MALL)),
        Applied(slice_of("n", CART)),
        Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "a")),
    ]
    assert fold(FULL, events).slices == {CART: {"n": slice_of("n")}}
