"""The order of a batch, and how an error is led back to an object."""

from __future__ import annotations

from collections.abc import Hashable

from backends.nftables.compile import compile_plan
from backends.nftables.encode import (
    DELCHAIN,
    DELRULE,
    DELSET,
    DELSETELEM,
    DELTABLE,
    MAX_ELEMENTS_BYTES,
    NEWCHAIN,
    NEWRULE,
    NEWSET,
    NEWSETELEM,
    NEWTABLE,
    Request,
    requests,
    subject_at,
)
from backends.nftables.objects import TABLE_ID, Element, Table, element_id
from kproxy.core.document import BASE, Addition, Change, diff
from kproxy.core.values import Family
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import cluster_ip, endpoints, plan, port, service

CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2")))
GROWN = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2", "10.64.1.3")))
STICKY = service("sticky", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1"), affinity_s=60))


def kinds(change: Change) -> list[int]:
    """The kinds of a change's messages in order, each once in a row."""
    found = [request.kind for request in requests(Family.IPV4, change)]
    return [kind for index, kind in enumerate(found) if index == 0 or found[index - 1] != kind]


def test_what_is_referred_to_comes_first() -> None:
    change = diff({}, compiled(CART, STICKY).document)
    assert kinds(change) == [NEWTABLE, NEWSET, NEWCHAIN, NEWRULE, NEWSETELEM]


def test_what_is_let_go_goes_last() -> None:
    change = diff(compiled(CART, STICKY).document, compiled(CART).document)
    assert kinds(change) == [DELRULE, NEWRULE, DELSETELEM, DELCHAIN, DELSET]


def test_scaling_is_a_few_elements_and_no_rule() -> None:
    pair = service("pair", port(cluster_ip("10.96.0.12"), cluster=endpoints("10.64.1.1", "10.64.1.2")))
    trio = service("trio", port(cluster_ip("10.96.0.13"), cluster=endpoints("10.64.1.1", "10.64.1.2", "10.64.1.3")))
    before = compiled(CART, pair, trio)
    change = diff(before.document, compile_plan(plan(GROWN, pair, trio), before).document)
    batch = requests(Family.IPV4, change)
    assert [(request.kind, len(request.subjects)) for request in batch] == [(DELSETELEM, 2), (NEWSETELEM, 3)]


def test_elements_of_a_set_that_goes_are_not_named() -> None:
    before = compiled(CART)
    change = diff(before.document, compile_plan(plan(GROWN), before).document)
    assert kinds(change) == [NEWSET, NEWCHAIN, DELRULE, NEWRULE, NEWSETELEM, DELCHAIN, DELSET]


def test_a_table_of_another_layout_goes_first() -> None:
    document = compiled(CART).document
    change = diff({BASE: {TABLE_ID: Table("another")}}, document)
    assert kinds(change) == [DELTABLE, NEWTABLE, NEWSET, NEWCHAIN, NEWRULE, NEWSETELEM]


def test_the_end_of_everything_is_one_message() -> None:
    assert kinds(diff(compiled(CART).document, {})) == [DELTABLE]


def many_elements(count: int) -> list[Request]:
    added: dict[Hashable, Addition] = {
        element_id("cluster-ips", number.to_bytes(4, "big")): Addition("shop/x", Element(b"", f"shop/{number}"))
        for number in range(count)
    }
    return requests(Family.IPV4, Change(added, {}, {}))


def test_elements_are_packed_into_few_messages() -> None:
    batch = many_elements(10000)
    assert all(len(request.payload) < 65536 for request in batch)
    assert len(batch) <= 1 + 10000 * 50 // MAX_ELEMENTS_BYTES
    assert sum(len(request.subjects) for request in batch) == 10000


def test_an_offset_leads_to_its_element() -> None:
    (request,) = many_elements(300)
    for subject in request.subjects:
        assert isinstance(subject, bytes)
        number = int.from_bytes(subject.partition(b"\0")[2], "big")
        comment = f"shop/{number}\0".encode()
        assert subject_at(request, 16 + request.payload.index(comment)) == subject


def test_an_error_without_an_offset_is_the_first_objects() -> None:
    (request,) = many_elements(3)
    assert subject_at(request, None) == request.subjects[0]
    assert subject_at(request, 9999) == request.subjects[0]
