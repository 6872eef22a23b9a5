"""Pod egress masquerade with real packets: what the outside sees, and what is left alone, in every backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.listening import endpoint_text
from lab.machine import Target
from lab.topology import (
    CLUSTER_CIDRS,
    NODE_IPS,
    OUTSIDE_IPS,
    REMOTE_PODS,
    SECOND_NODE_IPS,
    SECOND_OUTSIDE_IPS,
    SERVICE_CIDRS,
    TRANSIT,
)
from tests.e2e.world import (
    FAMILIES,
    HERE,
    REMOTE,
    THERE,
    Manifest,
    World,
    config_text,
    endpoint,
    endpoint_slice,
    fresh_vip,
    sees,
    service,
    world,
)

pytestmark = pytest.mark.root

HOSTS = ["nftables", "iptables", "iptables legacy", pytest.param("ipvs", marks=pytest.mark.ipvs)]
PORT = 8080
EXEMPT = ["192.0.2.0/24", "2001:db8:2::/64"]
"""The outside's first addresses; its second ones are not exempt."""
HELD = Path(__file__).with_name("held.py")
PATIENCE_S = 120.0

ON = {"egressMasquerade": {"enabled": True}}
LISTED = {"egressMasquerade": {"enabled": True, "nonMasqueradeCIDRs": [*CLUSTER_CIDRS, *SERVICE_CIDRS, *EXEMPT]}}


@pytest.fixture(scope="module", params=HOSTS)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose outside and whose node answer too."""
    backend, _, variant = request.param.partition(" ")
    with world(backend, tmp_path_factory.mktemp("egress"), LISTED, legacy=bool(variant)) as built:
        for machine in (built.lab.outside, built.lab.node):
            # Ports are random here: none that was used before is to be held against a new connection (PAWS).
            machine.sysctl({"net/ipv4/tcp_max_tw_buckets": "0"})
            for protocol in ("TCP", "UDP"):
                machine.listen(protocol, PORT)
        yield built


every_way = pytest.mark.parametrize(
    ("family", "protocol"), [(0, "TCP"), (0, "UDP"), (1, "TCP"), (1, "UDP")], ids=["4-TCP", "4-UDP", "6-TCP", "6-UDP"]
)
both_ways = pytest.mark.parametrize(("family", "protocol"), [(0, "TCP"), (1, "UDP")], ids=["4-TCP", "6-UDP"])


def seen(node: World, client: str, address: str, protocol: str = "TCP") -> set[str]:
    """The sources that an address sees of a client's new connections."""
    answers = node.ask(client, address, PORT, protocol, count=8)
    own = f"{endpoint_text(address, PORT)} "
    assert all(answer.startswith(own) for answer in answers), answers
    return {answer.removeprefix(own) for answer in answers}


@every_way
def test_the_outside_sees_the_node_where_it_is_not_exempt(node: World, family: int, protocol: str) -> None:
    assert seen(node, "pod", SECOND_OUTSIDE_IPS[family], protocol) == {NODE_IPS[family]}
    assert seen(node, "pod", OUTSIDE_IPS[family], protocol) == {HERE[family]}


@both_ways
def test_what_stays_in_the_cluster_or_on_the_node_sees_the_pod(node: World, family: int, protocol: str) -> None:
    # The node's second address and its end of the transit are in no list: they are the node's own.
    for address in (THERE[family], REMOTE[family], SECOND_NODE_IPS[family], TRANSIT[family][0]):
        assert seen(node, "pod", address, protocol) == {HERE[family]}, address


@both_ways
def test_what_is_no_pod_keeps_its_address(node: World, family: int, protocol: str) -> None:
    assert seen(node, "stranger", HERE[family], protocol) == {SECOND_OUTSIDE_IPS[family]}
    # A pod in the host's network is the node itself, whichever of its addresses it takes.
    outside, own = SECOND_OUTSIDE_IPS[family], SECOND_NODE_IPS[family]
    (answers,) = node.lab.node.probe(Target(outside, PORT, protocol, own, 8))
    assert set(answers) == {f"{endpoint_text(outside, PORT)} {own}"}


@both_ways
def test_a_services_own_decision_stands(node: World, family: int, protocol: str) -> None:
    """A ClusterIP keeps a pod's address, even to an endpoint outside the cluster; a NodePort masquerades."""
    vip = fresh_vip()
    name, outside = f"svc-{vip.number}", SECOND_OUTSIDE_IPS[family]
    node.put(
        name,
        family,
        service(name, vip, family, protocol=protocol, type="NodePort"),
        endpoint_slice(name, family, endpoint(REMOTE[family]), endpoint(outside), protocol=protocol),
    )
    answers = set(node.ask("pod", vip.cluster[family], protocol=protocol))
    assert answers == {f"{endpoint_text(address, PORT)} {HERE[family]}" for address in (REMOTE[family], outside)}
    by_node_port = set(node.ask("pod", NODE_IPS[family], vip.node_port, protocol))
    assert by_node_port == {
        *sees([REMOTE[family]], "pod", family, masquerade=True),
        f"{endpoint_text(outside, PORT)} {NODE_IPS[family]}",
    }


@both_ways
def test_a_connection_lives_through_its_being_switched_on_and_off(node: World, family: int, protocol: str) -> None:
    """Network address translation is decided by a connection's first packet; only new ones follow the setting."""
    outside = SECOND_OUTSIDE_IPS[family]
    with held(node, family, protocol) as masqueraded, ExitStack() as stack:
        with configured(node, {}):
            assert seen(node, "pod", outside, protocol) == {HERE[family]}
            plain = stack.enter_context(held(node, family, protocol))
        assert seen(node, "pod", outside, protocol) == {NODE_IPS[family]}
        assert answer(plain) == f"{endpoint_text(outside, PORT)} {HERE[family]}"
        assert answer(masqueraded) == f"{endpoint_text(outside, PORT)} {NODE_IPS[family]}"


@contextmanager
def held(node: World, family: int, protocol: str) -> Iterator[subprocess.Popen[str]]:
    """A connection of a pod to the outside that is there and goes on when asked."""
    arguments = [sys.executable, str(HELD), protocol, HERE[family], SECOND_OUTSIDE_IPS[family], str(PORT)]
    with subprocess.Popen(
        node.lab.pod_here.command(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    return process.communicate("", PATIENCE_S)[0].strip()


BY_INTERFACE = {
    "detectLocalMode": "InterfaceNamePrefix",
    "detectLocal": {"interfaceNamePrefix": "veth-"},
    "clusterCIDR": ",".join(REMOTE_PODS),
}


@both_ways
def test_pods_behind_interfaces_and_the_default_networks(node: World, family: int, protocol: str) -> None:
    """No list: clusterCIDR is exempt, here the pods elsewhere only; the neighbour is behind a pod's interface."""
    outside, transit = SECOND_OUTSIDE_IPS[family], TRANSIT[family][1]
    with configured(node, ON, **BY_INTERFACE):
        assert seen(node, "pod", outside, protocol) == {NODE_IPS[family]}
        assert seen(node, "pod", OUTSIDE_IPS[family], protocol) == {NODE_IPS[family]}
        for address in (THERE[family], REMOTE[family], NODE_IPS[family]):
            assert seen(node, "pod", address, protocol) == {HERE[family]}, address
        # What comes in by another interface is no pod here, whatever its address.
        (answers,) = node.lab.node_b.probe(Target(outside, PORT, protocol, transit, 8))
        assert set(answers) == {f"{endpoint_text(outside, PORT)} {transit}"}


@contextmanager
def configured(node: World, own: Manifest, **settings: object) -> Iterator[None]:
    """With another configuration in force, then again with the one that all tests share."""
    try:
        with node.agent.change(*FAMILIES):
            node.config.write_text(config_text(own, **settings))
        yield
    finally:
        with node.agent.change(*FAMILIES):
            node.config.write_text(config_text(LISTED))
