"""The choice of endpoints (kube-proxy's topology.go), and the reasons given for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.endpoints import Place, Pools, Topology, choose_pools, count_local_ready, gather, topology_of
from kproxy.core.model import EndpointSlice, ServicePort, SliceEndpoint, SlicePort
from kproxy.core.plan import Endpoint
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.core.why import PortStory, Standing, explain_endpoints
from tests.properties.strategies import FAMILIES, NODE, SERVICE_PORTS, endpoint_slices

HTTP = ServicePort("http", Protocol.TCP, 80, 0)
HERE = Place("node-a", "zone-1")
NOWHERE = Place("node-a", "")
READY, DRAINING, GONE, FAILING, PUBLISHED, WAITING, LEAVING = (
    (True, True, False),
    (False, True, True),
    (False, False, True),
    (False, False, False),
    (True, False, False),
    (False, True, False),
    (True, True, True),
)


def endpoint(
    address: str,
    condition: tuple[bool, bool, bool] = READY,
    node: str = "node-b",
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> SliceEndpoint:
    ready, serving, terminating = condition
    return SliceEndpoint(address, ready, serving, terminating, node, zones, nodes)


def one_slice(
    *endpoints: SliceEndpoint,
    name: str = "shop-x",
    ports: tuple[SlicePort, ...] = (SlicePort("http", Protocol.TCP, 8080),),
    family: Family = Family.IPV4,
) -> EndpointSlice:
    return EndpointSlice(ObjectKey("ns", name), ObjectKey("ns", "shop"), family, ports, endpoints)


def pools(*endpoints: SliceEndpoint, place: Place = HERE) -> Pools:
    return choose_pools(gather([one_slice(*endpoints)], Family.IPV4, HTTP, place), place)


def story(*endpoints: SliceEndpoint, place: Place = HERE) -> PortStory:
    return explain_endpoints([one_slice(*endpoints)], Family.IPV4, HTTP, place)


def addresses(pool: tuple[Endpoint, ...]) -> list[str]:
    return [one.address for one in pool]


def test_ready_endpoints_serve_and_are_sorted_by_number() -> None:
    found = pools(endpoint("10.0.0.10", node="node-a"), endpoint("10.0.0.9"), endpoint("9.0.0.200"))
    assert addresses(found.cluster) == ["9.0.0.200", "10.0.0.9", "10.0.0.10"]
    assert found.local == (Endpoint("10.0.0.10", 8080, is_local=True),)
    assert found.serving is found.cluster


@pytest.mark.parametrize(
    ("conditions", "cluster"),
    [
        ([READY, DRAINING, GONE, FAILING], [0]),
        ([DRAINING, GONE, FAILING, DRAINING], [0, 3]),
        ([GONE, FAILING], []),
        ([PUBLISHED, DRAINING], [0]),
        ([WAITING, DRAINING], [1]),
        ([WAITING], []),
        ([], []),
    ],
)
def test_terminating_endpoints_serve_only_if_none_is_ready(
    conditions: list[tuple[bool, bool, bool]], cluster: list[int]
) -> None:
    found = pools(*(endpoint(f"10.0.0.{number}", one) for number, one in enumerate(conditions)))
    assert addresses(found.cluster) == [f"10.0.0.{number}" for number in cluster]
    serving = [number for number, one in enumerate(conditions) if one[0] or one[1]]
    assert addresses(found.serving) == [f"10.0.0.{number}" for number in serving]


def test_the_local_pool_falls_back_by_itself() -> None:
    found = pools(endpoint("10.0.0.1", DRAINING, "node-a"), endpoint("10.0.0.2", READY, "node-b"))
    assert (addresses(found.cluster), addresses(found.local)) == (["10.0.0.2"], ["10.0.0.1"])


def test_hints_do_not_apply_to_the_local_pool_and_not_to_the_fallback() -> None:
    found = pools(endpoint("10.0.0.1", node="node-a", zones=("zone-2",)), endpoint("10.0.0.2", zones=("zone-1",)))
    assert (addresses(found.cluster), addresses(found.local)) == (["10.0.0.2"], ["10.0.0.1"])
    found = pools(endpoint("10.0.0.1", DRAINING, zones=("zone-2",)), endpoint("10.0.0.2", DRAINING, zones=("zone-1",)))
    assert addresses(found.cluster) == ["10.0.0.1", "10.0.0.2"]


ZONE_1, ZONE_2, BOTH, NONE = ("zone-1",), ("zone-2",), ("zone-1", "zone-2"), ()


@pytest.mark.parametrize(
    ("hints", "place", "cluster"),
    [
        ([ZONE_1, ZONE_2, BOTH], HERE, [0, 2]),
        ([ZONE_1, ZONE_2, NONE], HERE, [0, 1, 2]),
        ([ZONE_2, ZONE_2], HERE, [0, 1]),
        ([NONE, NONE], HERE, [0, 1]),
        # A node that does not know its zone yet takes all, and narrows the pool once it does (a fact, not an event).
        ([ZONE_1, ZONE_2], NOWHERE, [0, 1]),
        ([("",), ZONE_2], NOWHERE, [0, 1]),
    ],
)
def test_zone_hints(hints: list[tuple[str, ...]], place: Place, cluster: list[int]) -> None:
    endpoints = [endpoint(f"10.0.0.{number}", zones=zones) for number, zones in enumerate(hints)]
    assert addresses(pools(*endpoints, place=place).cluster) == [f"10.0.0.{number}" for number in cluster]


def test_hints_of_endpoints_that_are_not_ready_are_not_asked() -> None:
    found = pools(endpoint("10.0.0.1", zones=ZONE_1), endpoint("10.0.0.2", zones=ZONE_2), endpoint("10.0.0.3", FAILING))
    assert addresses(found.cluster) == ["10.0.0.1"]


def test_node_hints_go_before_zone_hints_and_fall_back_to_them() -> None:
    near = endpoint("10.0.0.1", zones=ZONE_1, nodes=("node-b",))
    here = endpoint("10.0.0.2", zones=ZONE_1, nodes=("node-a",))
    far = endpoint("10.0.0.3", zones=ZONE_2, nodes=("node-c",))
    assert addresses(pools(near, here, far).cluster) == ["10.0.0.2"]
    assert addresses(pools(near, far).cluster) == ["10.0.0.1"]
    assert topology_of(gather([one_slice(near, here, far)], Family.IPV4, HTTP, HERE), HERE) is Topology.SAME_NODE


def test_only_slices_of_the_family_and_ports_of_the_name_and_protocol_count() -> None:
    ports = (
        SlicePort("http", Protocol.TCP, 8080),
        SlicePort("http", Protocol.UDP, 8081),
        SlicePort("", Protocol.TCP, 8082),
        SlicePort("http", Protocol.TCP, 8083),
    )
    slices = [
        one_slice(endpoint("10.0.0.1"), ports=ports),
        one_slice(endpoint("2001:db8::1"), ports=ports, family=Family.IPV6, name="shop-y"),
    ]
    assert list(gather(slices, Family.IPV4, HTTP, HERE)) == [("10.0.0.1", 8080), ("10.0.0.1", 8083)]
    assert list(gather(slices, Family.IPV6, HTTP, HERE)) == [("2001:db8::1", 8080), ("2001:db8::1", 8083)]
    assert list(gather(slices, Family.IPV4, ServicePort("", Protocol.UDP, 80, 0), HERE)) == []


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        (READY, DRAINING, READY),
        (DRAINING, FAILING, FAILING),
        (FAILING, READY, READY),
        (GONE, DRAINING, DRAINING),
        (LEAVING, FAILING, FAILING),
        (LEAVING, DRAINING, LEAVING),
    ],
)
def test_of_two_entries_for_one_address_the_one_that_is_not_terminating_wins(
    one: tuple[bool, bool, bool], other: tuple[bool, bool, bool], winner: tuple[bool, bool, bool]
) -> None:
    for first, second in ((one, other), (other, one)):
        slices = [one_slice(endpoint("10.0.0.1", first), name="a"), one_slice(endpoint("10.0.0.1", second), name="b")]
        (found,) = gather(slices, Family.IPV4, HTTP, HERE).values()
        assert (found.ready, found.serving, found.terminating) == winner


def test_an_endpoint_of_no_known_node_is_never_local() -> None:
    assert pools(endpoint("10.0.0.1", node=""), place=Place("", "")).local == ()


def test_health_checks_count_distinct_local_ready_addresses_of_all_ports() -> None:
    https = ServicePort("https", Protocol.TCP, 443, 0)
    ports = (SlicePort("http", Protocol.TCP, 8080), SlicePort("https", Protocol.TCP, 8443))
    slices = [
        one_slice(endpoint("10.0.0.1", node="node-a"), endpoint("10.0.0.2"), ports=ports),
        one_slice(endpoint("10.0.0.3", node="node-a"), endpoint("10.0.0.4", DRAINING, "node-a"), name="shop-y"),
    ]
    assert count_local_ready(slices, Family.IPV4, [HTTP, https], HERE) == 2
    assert count_local_ready(slices, Family.IPV4, [https], HERE) == 1


def test_the_story_says_why() -> None:
    told = story(
        endpoint("10.0.0.1"),
        endpoint("10.0.0.2", DRAINING, "node-a"),
        endpoint("10.0.0.3", GONE, ""),
        endpoint("10.0.0.4", FAILING, "node-a"),
    )
    assert [(one.cluster, one.local) for one in told.endpoints] == [
        (Standing(True, "ready"), Standing(False, "on node node-b")),
        (
            Standing(False, "terminating, still serving; an endpoint is ready"),
            Standing(True, "terminating, still serving; no endpoint on this node is ready"),
        ),
        (Standing(False, "terminating, no longer serving"), Standing(False, "on no known node")),
        (Standing(False, "not ready"), Standing(False, "not ready")),
    ]
    assert told.notes == ()


@pytest.mark.parametrize(
    ("endpoints", "place", "notes"),
    [
        ([endpoint("10.0.0.1", zones=ZONE_1)], HERE, ("zone hints are followed: this node is in zone-1",)),
        ([endpoint("10.0.0.1", zones=ZONE_1)], NOWHERE, ("zone hints are ignored: this node's zone is not known",)),
        (
            [endpoint("10.0.0.1", zones=ZONE_1), endpoint("10.0.0.2")],
            HERE,
            ("zone hints are ignored: endpoint 10.0.0.2:8080 has none",),
        ),
        (
            [endpoint("10.0.0.1", zones=ZONE_2)],
            HERE,
            ("zone hints are ignored: no ready endpoint is hinted for zone-1",),
        ),
        ([endpoint("10.0.0.1", nodes=("node-a",))], HERE, ("node hints are followed: this is node-a",)),
        (
            [endpoint("10.0.0.1", nodes=("node-b",), zones=ZONE_1)],
            HERE,
            (
                "node hints are ignored: no ready endpoint is hinted for node-a",
                "zone hints are followed: this node is in zone-1",
            ),
        ),
        ([endpoint("10.0.0.1")], HERE, ()),
    ],
)
def test_the_story_says_what_became_of_hints(
    endpoints: list[SliceEndpoint], place: Place, notes: tuple[str, ...]
) -> None:
    assert story(*endpoints, place=place).notes == notes


def test_the_story_names_hints_and_slices_that_do_not_fit() -> None:
    told = story(endpoint("10.0.0.1", zones=ZONE_1), endpoint("10.0.0.2", zones=ZONE_2))
    assert [one.cluster.why for one in told.endpoints] == [
        "ready, hinted for zone: zone-1",
        "ready, hinted for another zone: zone-2",
    ]
    stranger = one_slice(endpoint("10.0.0.1"), ports=(SlicePort("web", Protocol.TCP, 80),))
    told = explain_endpoints([stranger], Family.IPV4, HTTP, HERE)
    assert (told.endpoints, told.notes) == ((), ("EndpointSlice ns/shop-x has no port http/TCP",))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(endpoint_slices(st.just(ObjectKey("shop", "a"))), max_size=4, unique_by=lambda one: one.key),
    FAMILIES,
    SERVICE_PORTS,
    st.sampled_from(["", "zone-1"]),
)
def test_the_story_is_the_choice(
    slices: list[EndpointSlice], family: Family, ports: tuple[ServicePort, ...], zone: str
) -> None:
    place = Place(NODE, zone)
    found = choose_pools(gather(slices, family, ports[0], place), place)
    told = explain_endpoints(slices, family, ports[0], place)
    for pool, standings in (
        (found.cluster, [(one, one.cluster) for one in told.endpoints]),
        (found.local, [(one, one.local) for one in told.endpoints]),
    ):
        assert [(one.address, one.port) for one in pool] == [
            (one.address, one.port) for one, standing in standings if standing.chosen
        ]
    assert all(standing.why for one in told.endpoints for standing in (one.cluster, one.local))
