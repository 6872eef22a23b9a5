"""Leaving endpoints with live connections, through a real IPVS: they finish, or their deadline ends them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from backends.ipvs import BACKEND
from backends.ipvs.kernel import IpvsKernel
from kproxy.core.document import Document, diff
from kproxy.core.values import Family
from kproxy.ports import Kernel
from tests.contract.test_ipvs import VIP, bring, in_kernel, plan_of, run

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

FIRST, SECOND = "10.64.1.10", "10.64.1.11"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def document(*endpoints: str, drain_s: int | None = None) -> Document:
    return BACKEND.compile(plan_of(*endpoints, drain_s=drain_s), None).document


def reals() -> dict[str, str]:
    """The real servers' addresses and weights."""
    lines = [line.split() for line in run("ipvsadm -Sn").splitlines() if line.startswith("-a")]
    return {words[words.index("-r") + 1]: words[words.index("-w") + 1] for words in lines}


def with_connection(check: Callable[[IpvsKernel, Clock, socket.socket, socket.socket], None]) -> None:
    """Call with a connection under way from the node through the VIP to the first endpoint."""

    def body(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        assert isinstance(kernel, IpvsKernel)
        clock = Clock()
        kernel._clock = clock
        run("ip link add pods type dummy")
        run("ip link set pods up")
        for address in (FIRST, SECOND):
            run(f"ip address add {address}/32 dev pods")
        bring(kernel, document(FIRST))
        with socket.create_server((FIRST, 8080)) as listener, socket.create_connection((VIP, 80), timeout=5) as client:
            listener.settimeout(5)
            served, _ = listener.accept()
            with served:
                check(kernel, clock, client, served)

    in_kernel(body)


def works(client: socket.socket, served: socket.socket) -> bool:
    client.sendall(b"x")
    served.settimeout(5)
    return served.recv(1) == b"x"


def change(kernel: Kernel, before: Document, after: Document) -> None:
    assert not kernel.apply(diff(before, after)).refusals


def test_a_leaving_endpoint_keeps_its_connections_until_the_deadline_even_after_a_restart() -> None:
    def check(kernel: IpvsKernel, clock: Clock, client: socket.socket, served: socket.socket) -> None:
        both, one = document(FIRST, SECOND, drain_s=60), document(SECOND, drain_s=60)
        change(kernel, document(FIRST), both)
        change(kernel, both, one)
        assert reals() == {f"{FIRST}:8080": "0", f"{SECOND}:8080": "1"}
        assert works(client, served)
        assert not diff(kernel.observe(), one)
        clock.now += 59
        kernel._drains.clear()  # as a new process would begin
        bring(kernel, one)
        assert reals() == {f"{FIRST}:8080": "0", f"{SECOND}:8080": "1"}
        assert works(client, served)
        clock.now += 1
        bring(kernel, one)
        assert reals() == {f"{SECOND}:8080": "1"}

    with_connection(check)


def test_an_endpoint_that_returns_serves_again_as_if_it_had_not_left() -> None:
    def check(kernel: IpvsKernel, clock: Clock, client: socket.socket, served: socket.socket) -> None:
        both, one = document(FIRST, SECOND), document(SECOND)
        change(kernel, document(FIRST), both)
        change(kernel, both, one)
        assert reals()[f"{FIRST}:8080"] == "0"
        change(kernel, one, both)
        assert reals() == {f"{FIRST}:8080": "1", f"{SECOND}:8080": "1"}
        clock.now += 10_000
        assert not diff(kernel.observe(), both)
        assert works(client, served)

    with_connection(check)


def test_without_connections_or_without_a_drain_time_an_endpoint_goes_at_once() -> None:
    def check(kernel: IpvsKernel, _: Clock, client: socket.socket, served: socket.socket) -> None:
        assert works(client, served)
        both = document(FIRST, SECOND)
        change(kernel, document(FIRST), both)
        change(kernel, both, document(FIRST))
        assert reals() == {f"{FIRST}:8080": "1"}
        at_once = document(FIRST, SECOND, drain_s=0)
        change(kernel, document(FIRST), at_once)
        change(kernel, at_once, document(SECOND, drain_s=0))
        assert reals() == {f"{SECOND}:8080": "1"}

    with_connection(check)
