"""First-packet latency: how long connect(2) takes to a Service whose endpoints are this machine itself."""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping

from tests.bench.cluster import PORT, TARGET_PORT, cluster_ips, endpoint_address, fresh_endpoint

CONNECTS = 400
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close at once, so that no socket stays in TIME_WAIT."""


def prepare(addresses: Iterable[str]) -> None:
    """Give this namespace a way out for everybody, and the endpoints' addresses as its own."""
    for command in (
        "link set lo up",
        "link add out0 type veth peer name out1",
        "link set out1 up",
        "addr add 192.0.2.11/24 dev out0",
        "link set out0 up",
        "route add default dev out0",
        *(f"addr add {address}/32 dev lo" for address in addresses),
    ):
        subprocess.run(["ip", *command.split()], check=True)
    listener = socket.create_server(("0.0.0.0", TARGET_PORT), backlog=1024)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()


def connect_us(targets: Mapping[str, tuple[str, int]]) -> dict[str, float]:
    """The median time of connect(2) to each target, in µs; the targets take turns."""
    times: dict[str, list[float]] = {label: [] for label in targets}
    for _ in range(CONNECTS):
        for label, target in targets.items():
            times[label].append(_connect_once(target))
    return {label: round(statistics.median(taken), 1) for label, taken in times.items()}


def measure(services: int, endpoints: int) -> dict[str, float]:
    """To the first, the middle and the last Service, and to an endpoint without a Service."""
    ips = cluster_ips(services)
    places = {"first": 0, "middle": services // 2, "last": services - 1}
    own = [
        endpoint_address(number)
        for place in places.values()
        for number in (fresh_endpoint(services, endpoints, place), *range(place * endpoints, (place + 1) * endpoints))
    ]
    prepare(dict.fromkeys(own))
    targets = {label: (ips[place], PORT) for label, place in places.items()}
    return connect_us({"direct": (own[-1], TARGET_PORT), **targets})


def _connect_once(target: tuple[str, int]) -> float:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.settimeout(5)
        started = time.perf_counter_ns()
        client.connect(target)
        return (time.perf_counter_ns() - started) / 1000


def _accept(listener: socket.socket) -> None:
    while True:
        listener.accept()[0].close()
