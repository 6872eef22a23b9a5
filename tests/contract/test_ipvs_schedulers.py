"""Schedulers as connections show them, through a real IPVS."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from backends.ipvs import BACKEND
from kproxy.core.values import Family
from kproxy.ports import Kernel
from tests.contract.test_ipvs import VIP, bring, in_kernel, plan_of, run

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

ENDPOINTS = ("10.64.1.10", "10.64.1.11", "10.64.1.12")
CONNECTIONS = 30


def serve(listener: socket.socket, name: str) -> None:
    """Tell every client the endpoint's name, until the listener is shut."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.sendall(name.encode())


def spread(kernel: Kernel, scheduler: str) -> list[int]:
    """How many of the connections of one client each endpoint got, the most first."""
    bring(kernel, BACKEND.compile(plan_of(*ENDPOINTS, scheduler=scheduler), None).document)
    counts = dict.fromkeys(ENDPOINTS, 0)
    for _ in range(CONNECTIONS):
        with socket.create_connection((VIP, 80), timeout=5) as client:
            counts[client.recv(64).decode()] += 1
    return sorted(counts.values(), reverse=True)


def test_each_scheduler_spreads_as_it_should() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        run("ip link add pods type dummy")
        run("ip link set pods up")
        with ExitStack() as stack:
            for address in ENDPOINTS:
                run(f"ip address add {address}/32 dev pods")
                listener = stack.enter_context(socket.create_server((address, 8080)))
                stack.callback(listener.shutdown, socket.SHUT_RDWR)
                threading.Thread(target=serve, args=(listener, address), daemon=True).start()
            found = {name: spread(kernels[Family.IPV4], name) for name in ("rr", "wrr", "sh", "dh", "mh")}
        even, one = [10, 10, 10], [CONNECTIONS, 0, 0]
        assert (found["rr"], found["wrr"], found["sh"], found["dh"]) == (even, even, one, one)
        # By source port too: a client's connections do not all go to one endpoint.
        assert found["mh"][0] < CONNECTIONS

    in_kernel(check)
