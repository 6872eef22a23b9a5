"""Each feature of a Service with real packets: both families, every backend, as clients see it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import NONE, REJECT
from lab.topology import NODE_IPS, OUTSIDE_IPS, SECOND_NODE_IPS
from tests.e2e.world import (
    HERE,
    REMOTE,
    THERE,
    Vip,
    World,
    endpoint,
    endpoint_slice,
    everywhere,
    fresh_vip,
    ingress,
    sees,
    service,
    world,
)

pytestmark = pytest.mark.root

TIMEOUT_S = 2


@pytest.fixture(scope="module", params=["nftables", "iptables", pytest.param("ipvs", marks=pytest.mark.ipvs)])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(request.param, tmp_path_factory.mktemp(request.param)) as built:
        yield built


@pytest.fixture(params=[0, 1], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def vip() -> Vip:
    return fresh_vip()


def name_of(vip: Vip) -> str:
    return f"svc-{vip.number}"


def put(node: World, vip: Vip, family: int, *endpoints: dict, protocol: str = "TCP", **spec: object) -> None:
    """One Service of one port, and its slice."""
    name = name_of(vip)
    node.put(
        name,
        family,
        service(name, vip, family, protocol=protocol, **spec),
        endpoint_slice(name, family, *endpoints, protocol=protocol),
    )


def ready(family: int) -> list[dict]:
    return [endpoint(address) for address in everywhere(family)]


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_cluster_ip(node: World, family: int, vip: Vip, protocol: str) -> None:
    put(node, vip, family, *ready(family), protocol=protocol)
    address = vip.cluster[family]
    for client, masquerade in (("pod", False), ("node", True), ("outside", True)):
        expected = sees(everywhere(family), client, family, masquerade=masquerade)
        assert set(node.ask(client, address, protocol=protocol)) == expected, client


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_node_port(node: World, family: int, vip: Vip, protocol: str) -> None:
    put(node, vip, family, *ready(family), protocol=protocol, type="NodePort")
    for client in ("pod", "node", "outside"):
        expected = sees(everywhere(family), client, family, masquerade=True)
        assert set(node.ask(client, NODE_IPS[family], vip.node_port, protocol)) == expected, client


def test_node_port_on_another_address_of_the_node(node: World, family: int, vip: Vip) -> None:
    put(node, vip, family, *ready(family), type="NodePort")
    every_address = sees(everywhere(family), "outside", family, masquerade=True)
    expected = {"iptables": every_address, "ipvs": every_address, "nftables": {REJECT}}[node.backend]
    assert set(node.ask("outside", SECOND_NODE_IPS[family], vip.node_port)) == expected


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_external_ip(node: World, family: int, vip: Vip, protocol: str) -> None:
    put(node, vip, family, *ready(family), protocol=protocol, externalIPs=[vip.external[family]])
    for client in ("pod", "node", "outside"):
        expected = sees(everywhere(family), client, family, masquerade=True)
        assert set(node.ask(client, vip.external[family], protocol=protocol)) == expected, client


def test_load_balancer_and_its_source_ranges(node: World, family: int, vip: Vip) -> None:
    length = 128 if family else 32
    put(
        node,
        vip,
        family,
        *ready(family),
        type="LoadBalancer",
        loadBalancerSourceRanges=[f" {OUTSIDE_IPS[family]}/{length} "],
        status=ingress(vip.load_balancer[family]),
    )
    address = vip.load_balancer[family]
    expected = sees(everywhere(family), "outside", family, masquerade=True)
    assert set(node.ask("outside", address)) == expected
    assert set(node.ask("stranger", address, count=3)) == {NONE}
    assert set(node.ask("pod", address, count=3)) == {NONE}
    # The fence is the load balancer's alone.
    assert set(node.ask("stranger", vip.cluster[family])) == sees(
        everywhere(family), "stranger", family, masquerade=True
    )
    assert set(node.ask("stranger", NODE_IPS[family], vip.node_port)) == sees(
        everywhere(family), "stranger", family, masquerade=True
    )


def test_source_ranges_of_the_other_family_close_the_address(node: World, family: int, vip: Vip) -> None:
    other = "192.0.2.0/24" if family else "2001:db8:2::/64"
    put(
        node,
        vip,
        family,
        *ready(family),
        type="LoadBalancer",
        loadBalancerSourceRanges=[other],
        status=ingress(vip.load_balancer[family]),
    )
    assert set(node.ask("outside", vip.load_balancer[family], count=3)) == {NONE}


def test_a_proxying_load_balancer_is_not_short_circuited(node: World, family: int, vip: Vip) -> None:
    status = ingress(vip.load_balancer[family], mode="Proxy")
    put(node, vip, family, *ready(family), type="LoadBalancer", status=status)
    assert set(node.ask("pod", vip.cluster[family])) == sees(everywhere(family), "pod", family, masquerade=False)
    assert not any(" " in answer for answer in node.ask("pod", vip.load_balancer[family], count=3))


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_affinity_keeps_a_client_at_one_endpoint_until_it_was_away(
    node: World, family: int, vip: Vip, protocol: str
) -> None:
    put(
        node,
        vip,
        family,
        *ready(family),
        protocol=protocol,
        type="NodePort",
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": TIMEOUT_S}},
    )
    first = node.ask("outside", vip.cluster[family], protocol=protocol, count=1)
    assert node.ask("outside", vip.cluster[family], protocol=protocol, count=20) == {next(iter(first)): 20}
    by_node_port = set(node.ask("outside", NODE_IPS[family], vip.node_port, protocol, count=20))
    if node.backend == "ipvs":  # each frontend has a persistence of its own, and one that outlives TIME_WAIT
        assert len(by_node_port) == 1
        return
    # All frontends of a port share it.
    assert by_node_port == set(first)
    assert leaves(node, vip, family, protocol, next(iter(first)))


def leaves(node: World, vip: Vip, family: int, protocol: str, kept: str) -> bool:
    """Whether the client comes to another endpoint once it was away for longer than the time-out."""
    for _ in range(20):  # it comes back to the same one by chance with 1/3
        time.sleep(TIMEOUT_S + 1)  # the time-out itself is what is tested
        if set(node.ask("outside", vip.cluster[family], protocol=protocol, count=1)) != {kept}:
            return True
    return False


def test_affinity_is_void_once_the_endpoint_leaves(node: World, family: int, vip: Vip) -> None:
    sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
    put(node, vip, family, *ready(family), **sticky)
    kept = next(iter(node.ask("outside", vip.cluster[family], count=1)))
    others = [address for address in everywhere(family) if address not in kept]
    put(node, vip, family, *map(endpoint, others), **sticky)
    again = node.ask("outside", vip.cluster[family], count=20)
    assert len(again) == 1
    assert set(again) < sees(others, "outside", family, masquerade=True)


def test_internal_policy_local(node: World, family: int, vip: Vip) -> None:
    put(node, vip, family, *ready(family), internalTrafficPolicy="Local")
    local = (HERE[family], THERE[family])
    assert set(node.ask("pod", vip.cluster[family])) == sees(local, "pod", family, masquerade=False)
    assert set(node.ask("node", vip.cluster[family])) == sees(local, "node", family, masquerade=True)
    put(node, vip, family, endpoint(REMOTE[family]), internalTrafficPolicy="Local")
    assert set(node.ask("pod", vip.cluster[family], count=3)) == {NONE}


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_external_policy_local_keeps_the_source_and_short_circuits(
    node: World, family: int, vip: Vip, protocol: str
) -> None:
    status = ingress(vip.load_balancer[family])
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "status": status, "protocol": protocol}
    put(node, vip, family, *ready(family), **spec)
    local = (HERE[family], THERE[family])
    for address, port in ((vip.load_balancer[family], 80), (NODE_IPS[family], vip.node_port)):
        for client, endpoints, masquerade in (
            ("outside", local, False),
            ("stranger", local, False),
            ("pod", everywhere(family), False),
            ("node", everywhere(family), True),
        ):
            expected = sees(endpoints, client, family, masquerade=masquerade)
            assert set(node.ask(client, address, port, protocol)) == expected, (client, address)
    put(node, vip, family, endpoint(REMOTE[family]), **spec)
    assert set(node.ask("outside", vip.load_balancer[family], protocol=protocol, count=3)) == {NONE}
    for client, masquerade in (("pod", False), ("node", True)):
        expected = sees((REMOTE[family],), client, family, masquerade=masquerade)
        assert set(node.ask(client, vip.load_balancer[family], protocol=protocol)) == expected


def test_terminating_endpoints_serve_only_where_no_other_does(node: World, family: int, vip: Vip) -> None:
    here, there, remote = everywhere(family)
    put(node, vip, family, endpoint(here, "draining"), endpoint(there, "gone"), endpoint(remote))
    assert set(node.ask("pod", vip.cluster[family])) == sees([remote], "pod", family, masquerade=False)
    put(node, vip, family, endpoint(here, "draining"), endpoint(there, "gone"), endpoint(remote, "failing"))
    assert set(node.ask("pod", vip.cluster[family])) == sees([here], "pod", family, masquerade=False)
    put(node, vip, family, endpoint(here, "gone"), endpoint(there, "gone"), endpoint(remote, "failing"))
    assert set(node.ask("pod", vip.cluster[family], count=3)) == {REJECT}


def test_hints_for_this_zone_and_for_this_node(node: World, family: int, vip: Vip) -> None:
    here, there, remote = everywhere(family)
    zones = [
        endpoint(address, hints={"forZones": [{"name": zone}]})
        for address, zone in ((here, "zone-1"), (there, "zone-2"), (remote, "zone-1"))
    ]
    put(node, vip, family, *zones)
    assert set(node.ask("node", vip.cluster[family])) == sees([here, remote], "node", family, masquerade=True)
    nodes = [
        endpoint(address, hints={"forZones": [{"name": "zone-1"}], "forNodes": [{"name": name}]})
        for address, name in ((here, "node-b"), (there, "node-a"), (remote, "node-b"))
    ]
    put(node, vip, family, *nodes)
    assert set(node.ask("node", vip.cluster[family])) == sees([there], "node", family, masquerade=True)


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_hairpin(node: World, family: int, vip: Vip, protocol: str) -> None:
    status = ingress(vip.load_balancer[family])
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "status": status, "protocol": protocol}
    put(node, vip, family, endpoint(HERE[family]), **spec)
    expected = sees([HERE[family]], "pod", family, masquerade=True)
    for address, port in (
        (vip.cluster[family], 80),
        (vip.load_balancer[family], 80),
        (NODE_IPS[family], vip.node_port),
    ):
        assert set(node.ask("pod", address, port, protocol, count=6)) == expected, address


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_no_endpoints_is_a_refusal_everywhere(node: World, family: int, vip: Vip, protocol: str) -> None:
    put(
        node,
        vip,
        family,
        protocol=protocol,
        type="LoadBalancer",
        externalIPs=[vip.external[family]],
        status=ingress(vip.load_balancer[family]),
    )
    places = [(address[family], 80) for address in (vip.cluster, vip.external, vip.load_balancer)]
    places.append((NODE_IPS[family], vip.node_port))
    for client in ("pod", "node", "outside"):
        # All at once: Linux tells a TCP client of an ICMPv6 refusal only when it sends its SYN again, after a second.
        assert node.ask_all(client, places, protocol, count=3) == [{REJECT: 3}] * len(places), client


def test_one_port_number_for_two_protocols(node: World, family: int, vip: Vip) -> None:
    name = name_of(vip)
    ports = [{"name": "main", "port": 80, "protocol": "TCP"}, {"name": "also", "port": 80, "protocol": "UDP"}]
    tcp = endpoint_slice(name, family, endpoint(HERE[family]))
    udp = endpoint_slice(name, family, endpoint(REMOTE[family]), protocol="UDP", port=8081)
    udp["metadata"]["name"] += "-udp"
    udp["ports"][0]["name"] = "also"
    node.put(name, family, service(name, vip, family, ports=ports), tcp, udp)
    assert set(node.ask("node", vip.cluster[family], protocol="TCP")) == sees(
        [HERE[family]], "node", family, masquerade=True
    )
    assert set(node.ask("node", vip.cluster[family], protocol="UDP")) == sees(
        [REMOTE[family]], "node", family, masquerade=True, port=8081
    )


def test_a_removed_endpoint_gets_no_new_connection(node: World, family: int, vip: Vip) -> None:
    put(node, vip, family, *ready(family))
    assert set(node.ask("stranger", vip.cluster[family])) == sees(
        everywhere(family), "stranger", family, masquerade=True
    )
    put(node, vip, family, endpoint(HERE[family]), endpoint(REMOTE[family]))
    assert set(node.ask("stranger", vip.cluster[family])) == sees(
        [HERE[family], REMOTE[family]], "stranger", family, masquerade=True
    )


def test_a_removed_service_is_gone(node: World, family: int, vip: Vip) -> None:
    put(node, vip, family, *ready(family), type="NodePort")
    assert set(node.ask("outside", NODE_IPS[family], vip.node_port)) == sees(
        everywhere(family), "outside", family, masquerade=True
    )
    node.remove(name_of(vip), family)
    assert set(node.ask("outside", NODE_IPS[family], vip.node_port, count=3)) == {REJECT}
    assert not any(" " in answer for answer in node.ask("pod", vip.cluster[family], count=3))


def test_two_families_of_one_service(node: World, vip: Vip) -> None:
    name = name_of(vip)
    spec = {"clusterIPs": list(vip.cluster), "ipFamilies": ["IPv4", "IPv6"]}
    slices = [endpoint_slice(name, family, *ready(family)) for family in (0, 1)]
    node.put(name, 0, service(name, vip, 0, **spec), *slices)
    for family in (0, 1):
        expected = sees(everywhere(family), "pod", family, masquerade=False)
        assert set(node.ask("pod", vip.cluster[family])) == expected
