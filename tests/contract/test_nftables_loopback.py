"""With `route_localnet` on, what listens on loopback must stay out of the network's reach."""

from __future__ import annotations

import socket
import struct
import subprocess

import pytest

from backends.nftables import BACKEND
from kproxy.core.document import diff
from kproxy.core.values import Family
from tests.fakes.namespace import in_new_namespace, ip
from tests.unit.backends.plans import endpoints, node_port, plan, port, service

pytestmark = pytest.mark.root

STRANGER, OWN, LISTENER_PORT, MAC = "203.0.113.7", "192.0.2.11", 9999, "02:00:00:00:00:01"
WEB = service("web", port(node_port(30080), cluster=endpoints("10.64.1.1")))


def frame(destination: str, number: int) -> bytes:
    """An Ethernet frame with a UDP datagram (its checksum left out, as IPv4 allows)."""
    udp = struct.pack("!HHHH", 40000, number, 8 + 5, 0) + b"hello"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    head += socket.inet_aton(STRANGER) + socket.inet_aton(destination)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checked = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return bytes.fromhex(MAC.replace(":", "")) + bytes(6) + b"\x08\0" + checked + udp


def listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, LISTENER_PORT))
    listener.settimeout(5)
    return listener


def reaches_loopback() -> bool:
    """Whether a datagram from the network reaches a listener on 127.0.0.1; one that may come behind it tells when."""
    with (
        listen("127.0.0.1") as guarded,
        listen(OWN) as open_to_all,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        wire.bind(("outside", 0))
        wire.send(frame("127.0.0.1", LISTENER_PORT))
        wire.send(frame(OWN, LISTENER_PORT))
        assert open_to_all.recv(100) == b"hello"
        guarded.setblocking(False)
        try:
            return guarded.recv(100) == b"hello"
        except BlockingIOError:
            return False


def test_the_network_does_not_reach_what_listens_on_loopback() -> None:
    def body() -> None:
        ip("link", "add", "inside", "address", MAC, "type", "veth", "peer", "name", "outside")
        ip("addr", "add", f"{OWN}/24", "dev", "inside")
        ip("link", "set", "inside", "up")
        ip("link", "set", "outside", "up")
        ip("route", "add", "default", "dev", "inside")
        names = ("all.rp_filter=0", "inside.rp_filter=0", "all.route_localnet=1", "all.accept_local=1")
        subprocess.run(["sysctl", "-q", "-w", *(f"net.ipv4.conf.{name}" for name in names)], check=True)
        assert reaches_loopback()
        kernel = BACKEND.open(Family.IPV4)
        closed = BACKEND.compile(plan(WEB, loopback_node_ports=True), None).document
        kernel.apply(diff({}, closed))
        assert not reaches_loopback()
        kernel.close()

    in_new_namespace(body)
