"""Makes the troubles of docs/conntrack-cookbook.md for real, in a namespace of its own, and prints what kproxy says.

`python -m tests.docs.cookbook udp|ports|race`, as root; `full` too, but only below `scripts/uml`, in whose kernel
nf_conntrack_max may be changed: it is one for a whole machine.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fakes.namespace import in_new_namespace, ip

KPROXY = str(Path(sys.executable).with_name("kproxy"))
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.64.1.10]}
"""
CLIENTS = ("10.64.1.7", "10.64.1.8")
NODE, OUTSIDE = "192.0.2.11", "198.51.100.7"
MASQUERADE = """
table ip outgoing {
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr 10.64.1.0/24 ip daddr 198.51.100.7 snat to 192.0.2.11 fully-random
  }
}
"""
KEEPING_PORTS = MASQUERADE.replace(" fully-random", "")
"""As most programs masquerade: with the client's own port, if no flow has it yet."""
MOST_FULL, RACES = 64, 3000


def show(*command: str) -> None:
    """A command, and what it prints."""
    print(f"$ {' '.join(command)}", flush=True)  # noqa: T201 - what it is for
    subprocess.run([KPROXY if command[0] == "kproxy" else command[0], *command[1:]], check=False)


def addresses(*wanted: str) -> None:
    """Addresses on the loopback, and routes to where packets may end."""
    for one in wanted:
        ip("addr", "add", one, "dev", "lo")
    for network in ("10.96.0.0/16", "198.51.100.0/24"):
        ip("route", "add", network, "dev", "lo")


def send(client: socket.socket, to: tuple[str, int]) -> bool:
    """One datagram; False where the kernel refuses it."""
    with contextlib.suppress(PermissionError, ConnectionRefusedError):
        client.sendto(b"question", to)
        return True
    return False


def udp() -> None:
    """A client goes on sending to an endpoint that is gone, for the kernel remembers where it sent it."""
    addresses(CLIENTS[0], "10.64.1.10", "10.64.1.11")
    with tempfile.TemporaryDirectory() as where, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        path = Path(where) / "dns.yaml"
        path.write_text(SERVICE)
        once = [KPROXY, "run", "--once", "--source", where, "--node-name", "node-a"]
        subprocess.run(once, check=True, capture_output=True)
        client.bind((CLIENTS[0], 40000))
        send(client, ("10.96.0.10", 53))
        path.write_text(SERVICE.replace("10.64.1.10", "10.64.1.11"))
        subprocess.run(once, check=True, capture_output=True)
        send(client, ("10.96.0.10", 53))
        shutil.copy(path, "dns.yaml")
        show("kproxy", "conntrack", "list", "-f", "dns.yaml", "--protocol", "udp", "--service", "kube-system/dns")
        show("kproxy", "conntrack", "check", "-f", "dns.yaml")
        show("kproxy", "conntrack", "explain", "-f", "dns.yaml", "10.64.1.7:40000,10.96.0.10:53/udp")
        show("kproxy", "conntrack", "flush", "-f", "dns.yaml", "--stale", "--yes")
        show("kproxy", "conntrack", "check", "-f", "dns.yaml")


def ports() -> None:
    """More flows to one destination than the node's address has ports."""
    addresses(*CLIENTS, NODE)
    subprocess.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=600"], check=True)
    subprocess.run(["nft", "-f", "-"], input=MASQUERADE, text=True, check=True)
    refused = 0
    for client in CLIENTS:
        for port in range(10000, 45000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.bind((client, port))
                refused += not send(one, (OUTSIDE, 53))
    print(f"{refused} of 70000 datagrams could not be sent")  # noqa: T201 - as above
    show("kproxy", "conntrack", "check")
    show("kproxy", "conntrack", "stats", "--by", "client", "--top", "3")


def race() -> None:
    """Two clients with one port send at the same moment: both find it free, one of the two loses its packet."""
    addresses(*CLIENTS, NODE)
    subprocess.run(["nft", "-f", "-"], input=KEEPING_PORTS, text=True, check=True)
    context = multiprocessing.get_context("fork")
    turns = context.Array("i", [-1, -1], lock=False)
    sockets = {client: [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(RACES)] for client in CLIENTS}
    for client, several in sockets.items():
        for number, one in enumerate(several):
            one.bind((client, 10000 + number))

    def run(own: int) -> None:
        for number, one in enumerate(sockets[CLIENTS[own]]):
            turns[own] = number
            while turns[1 - own] < number:
                pass
            send(one, (OUTSIDE, 53))

    other = context.Process(target=run, args=(1,))
    other.start()
    run(0)
    other.join()
    show("kproxy", "conntrack", "stats")


def full() -> None:
    """More connections than the table may hold."""
    addresses(CLIENTS[0])
    subprocess.run(
        ["iptables-legacy", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"], check=True
    )
    with socket.create_server((CLIENTS[0], 8080), backlog=MOST_FULL) as server:
        held = [socket.create_connection(server.getsockname(), timeout=5) for _ in range(MOST_FULL)]
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(server.getsockname(), timeout=3))
        show("kproxy", "conntrack", "check")
        show("kproxy", "conntrack", "stats", "--by", "client", "--top", "3")
        show("dmesg", "--level", "warn")


SCENES: Mapping[str, Callable[[], None]] = {"udp": udp, "ports": ports, "race": race, "full": full}

if __name__ == "__main__":
    if sys.argv[1] == "full":  # only the first namespace may set it
        subprocess.run(["modprobe", "-q", "nf_conntrack"], check=False)
        subprocess.run(["sysctl", "-qw", f"net.netfilter.nf_conntrack_max={MOST_FULL}"], check=True)
    in_new_namespace(SCENES[sys.argv[1]])
