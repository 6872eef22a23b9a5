"""Schedulers as connections show them, through a real IPVS."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from backends.ipvs import BACKEND
from kproxy.core.values import Family
from kproxy.ports import Kernel
from tests.contract.test_ipvs import VIP, bring, in_kernel, plan_of, run

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

ENDPOINTS = ("10.64.1.10", "10.64.1.11", "10.64.1.12")
CONNECTIONS = 30
WAIT_S = 30


def serve(listener: socket.socket, name: str, kept: list[socket.socket] | None) -> None:
    """Tell every client the endpoint's name, until the listener is shut; connections stay open in `kept`."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.sendall(name.encode())
            if kept is None:
                client.close()
            else:
                kept.append(client)


@contextmanager
def endpoints(kept: list[socket.socket] | None = None) -> Iterator[None]:
    """Endpoints that answer."""
    run("ip link add pods type dummy")
    run("ip link set pods up")
    threads = []
    with ExitStack() as stack:
        for address in ENDPOINTS:
            run(f"ip address add {address}/32 dev pods")
            listener = stack.enter_context(socket.create_server((address, 8080)))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            threads.append(threading.Thread(target=serve, args=(listener, address, kept), daemon=True))
            threads[-1].start()
        yield
    for thread in threads:
        thread.join(WAIT_S)
    for client in kept or ():
        client.close()


def spread(kernel: Kernel, scheduler: str) -> list[int]:
    """How many of the connections of one client each endpoint got, the most first."""
    bring(kernel, BACKEND.compile(plan_of(*ENDPOINTS, scheduler=scheduler), None).document)
    counts = dict.fromkeys(ENDPOINTS, 0)
    for _ in range(CONNECTIONS):
        with socket.create_connection((VIP, 80), timeout=WAIT_S) as client:
            counts[client.recv(64).decode()] += 1
    return sorted(counts.values(), reverse=True)


def hold(stack: ExitStack, count: int) -> Counter[str]:
    """Open connections that stay open; how many each endpoint got."""
    counts: Counter[str] = Counter()
    for _ in range(count):
        client = stack.enter_context(socket.create_connection((VIP, 80), timeout=WAIT_S))
        counts[client.recv(64).decode()] += 1
    return counts


def test_each_scheduler_spreads_as_it_should() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        with endpoints():
            found = {name: spread(kernels[Family.IPV4], name) for name in ("rr", "wrr", "sh", "dh", "mh")}
        even, one = [10, 10, 10], [CONNECTIONS, 0, 0]
        assert (found["rr"], found["wrr"], found["sh"], found["dh"]) == (even, even, one, one)
        # By source port too: a client's connections do not all go to one endpoint.
        assert found["mh"][0] < CONNECTIONS

    in_kernel(check)


def test_least_connection_schedulers_spare_the_endpoint_that_has_connections_and_round_robin_does_not() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel, (busy, *idle) = kernels[Family.IPV4], ENDPOINTS
        with endpoints([]):
            for scheduler in ("rr", "lc", "wlc", "sed", "nq"):
                with ExitStack() as stack:
                    bring(kernel, BACKEND.compile(plan_of(busy, scheduler=scheduler), None).document)
                    assert hold(stack, 6) == {busy: 6}
                    bring(kernel, BACKEND.compile(plan_of(*ENDPOINTS, scheduler=scheduler), None).document)
                    expected = dict.fromkeys(ENDPOINTS, 4) if scheduler == "rr" else dict.fromkeys(idle, 6)
                    assert hold(stack, 12) == expected, scheduler

    in_kernel(check)
