"""Real flows of every protocol and kind of NAT, in the calling thread's namespace, which needs but a loopback."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterable

from tests.fakes.namespace import ip

SCTP = 132
LOOPBACK_ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.244.0.5", "10.244.0.6", "fd00::1", "fd00::2", "fd00:244::5")
"""Clients (.1, .2) and endpoints."""
VIPS = ("10.96.0.0/16", "fd00:96::/64")
LASTING = (
    "icmp_timeout", "icmpv6_timeout", "sctp_timeout_closed", "sctp_timeout_cookie_wait", "tcp_timeout_time_wait",
    "udp_timeout", "udp_timeout_stream",
)  # fmt: skip
"""How long flows of each kind are remembered: by default from 3 s upwards, which a test on a busy machine may take."""
LASTING_S = 3600
PATIENCE_S = 60
"""For what happens at once, unless the machine has other things to do."""

RULES = """
table inet nat {
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.0.1 meta l4proto { tcp, udp, sctp } dnat ip to 10.244.0.5:8080
    ip6 daddr fd00:96::1 meta l4proto { tcp, udp } dnat ip6 to [fd00:244::5]:8080
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr 10.0.0.2 snat ip to 10.0.0.1
    ip6 saddr fd00::2 snat ip6 to fd00::1
  }
}
table inet zones {
  chain output {
    type filter hook output priority -300;
    ip daddr 10.244.0.6 udp dport 7 ct zone set 5
    ip daddr 10.244.0.6 udp dport 9 ct original zone set 6
  }
  chain marks {
    type filter hook output priority 0;
    ip daddr 10.244.0.6 udp dport 13 ct mark set 0x4321
  }
}
"""


def prepare(*sysctls: str) -> None:
    """Addresses, routes, NAT rules, and any sysctls (`net.netfilter.nf_conntrack_acct=1`); flows last an hour."""
    for address in LOOPBACK_ADDRESSES:
        ip("addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    _await_addresses(address for address in LOOPBACK_ADDRESSES if ":" in address)
    for network in VIPS:
        ip("route", "add", network, "dev", "lo")
    for setting in (*sysctls, *(f"net.netfilter.nf_conntrack_{name}={LASTING_S}" for name in LASTING)):
        subprocess.run(["sysctl", "-qw", setting], check=True, capture_output=True)
    subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True, capture_output=True)


def _await_addresses(addresses: Iterable[str]) -> None:
    """The kernel makes an IPv6 address usable in a work queue of its own, some time after `ip` has returned."""
    wanted = {f"local {address}" for address in addresses}
    deadline = time.monotonic() + PATIENCE_S
    while not all(one in ip("-6", "route", "show", "table", "local") for one in wanted):
        assert time.monotonic() < deadline, "IPv6 addresses do not become usable"


def udp(source: str, destination: str, port: int, *, server: str | None = None, server_port: int = 8080) -> None:
    """A datagram, and its answer where a `server` address is given."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client, socket.socket(family, socket.SOCK_DGRAM) as served:
        client.bind((source, 0))
        client.settimeout(PATIENCE_S)
        if server is not None:
            served.bind((server, server_port))
            served.settimeout(PATIENCE_S)
        client.sendto(b"question", (destination, port))
        if server is not None:
            data, peer = served.recvfrom(100)
            served.sendto(data, peer)
            client.recv(100)


def tcp(source: str, destination: str, port: int, server: str, *, close: bool = False) -> Iterable[socket.socket]:
    """A connection that carried a byte each way; kept open by what is returned, unless closed."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server, 8080))
        listener.listen()
        client = socket.create_connection((destination, port), PATIENCE_S, (source, 0))
        served, _ = listener.accept()
    for one, other in ((client, served), (served, client)):
        one.sendall(b"x")
        other.recv(1)
    if not close:
        return (client, served)
    client.close()
    served.close()
    return ()


def ping(source: str, destination: str) -> None:
    """An echo request, which the kernel answers."""
    v6 = ":" in destination
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.bind((source, 0))
        raw.settimeout(PATIENCE_S)
        body = struct.pack(">BBHHH", 128 if v6 else 8, 0, 0, 0x1234, 1)
        raw.sendto(body if v6 else body[:2] + struct.pack(">H", _checksum(body)) + body[4:], (destination, 0))
        raw.recv(200)


def sctp_init(source: str, destination: str, port: int, source_port: int = 5000) -> None:
    """The first packet of an association, which a kernel tracks without speaking SCTP itself."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 0x1111, 65536, 1, 1, 0)
    header = struct.pack(">HHI", source_port, port, 0)
    checksum = struct.pack("<I", _crc32c(header + b"\0\0\0\0" + chunk))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, SCTP) as raw:
        raw.bind((source, 0))
        raw.sendto(header + checksum + chunk, (destination, 0))


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    return ~((total >> 16) + total) & 0xFFFF


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def every_kind() -> list[socket.socket]:
    """One flow and more of everything; open as long as the sockets that are returned."""
    kept: list[socket.socket] = []
    udp("10.0.0.1", "10.244.0.6", 53)
    udp("10.0.0.1", "10.96.0.1", 80, server="10.244.0.5")
    udp("10.0.0.2", "10.96.0.1", 80, server="10.244.0.5")
    udp("10.0.0.2", "10.244.0.6", 53)
    udp("fd00::1", "fd00:96::1", 80, server="fd00:244::5")
    udp("fd00::2", "fd00:244::5", 53)
    for port in (7, 9, 13):
        udp("10.0.0.1", "10.244.0.6", port)
    kept += tcp("10.0.0.1", "10.96.0.1", 80, "10.244.0.5")
    kept += tcp("10.0.0.2", "10.96.0.1", 80, "10.244.0.5", close=True)
    kept += tcp("fd00::1", "fd00:96::1", 80, "fd00:244::5")
    kept += tcp("fd00::2", "fd00:244::5", 8080, "fd00:244::5")
    ping("10.0.0.1", "10.244.0.5")
    ping("fd00::1", "fd00:244::5")
    sctp_init("10.0.0.1", "10.96.0.1", 80)
    sctp_init("10.0.0.1", "10.244.0.6", 5060)
    return kept
