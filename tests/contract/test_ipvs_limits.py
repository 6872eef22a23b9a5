"""What IPVS cannot do, proved with connections.

It knows a reply's connection by client and endpoint alone. Two connections at
the same time, from one address and port, to two frontends that lead to one
endpoint are mixed up, and so are a direct one and one that has ended. A kernel
chooses such ports by itself; the laboratory's clients therefore never use a
port twice.

And a persistent virtual server by mark sends packets on to the port that they
came for, whatever its real servers' is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from backends.ipvs import BACKEND
from kproxy.core.model import TrafficPolicy
from kproxy.core.plan import Endpoint, Frontend, FrontendKind, NodePlan, PortPlan, ServicePlan
from kproxy.core.routes import Sight, Supply, external_routes
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.ports import Kernel
from tests.contract.test_ipvs import bring, in_kernel, run

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

NODE, ENDPOINT = "192.0.2.11", "10.64.1.10"
PORTS = (30080, 30081)
FIRST, SECOND = ((NODE, port) for port in PORTS)
UNSERVED = 30090
"""A port of the node that no Service has."""
WAIT_S, SILENCE_S = 30, 3


def plan() -> NodePlan:
    """Two Services with a NodePort each, both for the same endpoint."""
    pool = (Endpoint(ENDPOINT, 8080, False),)
    routes = external_routes(TrafficPolicy.CLUSTER, Supply(anywhere=True, here=False), Sight(False, False))
    services = {}
    for number in PORTS:
        front = (Frontend(FrontendKind.NODE_PORT, None, number),)
        port = PortPlan("http", Protocol.TCP, front, 0, pool, (), pool, routes, routes)
        name = ObjectKey("shop", f"to-{number}")
        services[name] = ServicePlan(name, (port,))
    return NodePlan(Family.IPV4, services)


@contextmanager
def connected(source_port: int, place: tuple[str, int], timeout_s: float = WAIT_S) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(timeout_s)
        client.bind((NODE, source_port))
        client.connect(place)
        yield client


def arrives(client: socket.socket, listener: socket.socket) -> bool:
    """Whether the endpoint's first word reaches the client."""
    served, _ = listener.accept()
    with served:
        served.sendall(b"hello")
        try:
            return client.recv(5) == b"hello"
        except (TimeoutError, ConnectionError):
            return False


def with_endpoint(check: Callable[[socket.socket], None]) -> None:
    """Call with the endpoint's listener, behind both NodePorts."""

    def body(kernels: dict[Family, Kernel]) -> None:
        run("ip link add uplink type dummy")
        run("ip link set uplink up")
        for address in (NODE, ENDPOINT):
            run(f"ip address add {address}/32 dev uplink")
        bring(kernels[Family.IPV4], BACKEND.compile(plan(), None).document)
        with socket.create_server((ENDPOINT, 8080)) as listener:
            listener.settimeout(WAIT_S)
            check(listener)

    in_kernel(body)


def test_two_connections_of_one_source_port_to_one_endpoint_are_mixed_up_and_of_two_ports_are_not() -> None:
    def check(listener: socket.socket) -> None:
        with connected(45001, FIRST) as first, connected(45002, SECOND) as second:
            assert (arrives(first, listener), arrives(second, listener)) == (True, True)
        with connected(45003, FIRST) as first, connected(45003, SECOND) as second:
            first.settimeout(SILENCE_S)
            assert (arrives(first, listener), arrives(second, listener)) == (False, True)

    with_endpoint(check)


def test_a_connection_that_has_ended_still_takes_the_answers_to_a_direct_one_from_its_port() -> None:
    def check(listener: socket.socket) -> None:
        with connected(45001, FIRST) as client:
            assert arrives(client, listener)
        with connected(45002, (ENDPOINT, 8080)) as client:
            assert arrives(client, listener)
        with pytest.raises(TimeoutError), connected(45001, (ENDPOINT, 8080), SILENCE_S):
            pass

    with_endpoint(check)


def test_a_persistent_virtual_server_by_mark_does_not_change_the_port_and_one_without_persistence_does() -> None:
    def check(listener: socket.socket) -> None:
        run(f"iptables-legacy -t mangle -I OUTPUT -d {NODE} -p tcp --dport {UNSERVED} -j MARK --set-mark 7")
        run("ipvsadm -A -f 7 -s rr")
        run(f"ipvsadm -a -f 7 -r {ENDPOINT}:8080 -m")
        with connected(45001, (NODE, UNSERVED)) as client:
            assert arrives(client, listener)
        run("ipvsadm -E -f 7 -s rr -p 600")
        with (
            socket.create_server((ENDPOINT, UNSERVED)) as other,
            connected(45002, (NODE, UNSERVED)) as client,
        ):
            other.settimeout(WAIT_S)
            assert arrives(client, other)

    with_endpoint(check)
