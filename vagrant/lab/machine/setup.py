"""Makes a machine of the laboratory of this one at every start: addresses, routes, and pods as network namespaces.

    python3 setup.py             # the hostname says which machine it is, by inventory.json

Rules kept: only the standard library and iproute2; everything is made anew at a start, so that a machine that was
switched off comes back as it was. A pod is a namespace with a veth to the host, as in lab/topology.py.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
POD_GATEWAYS = ("169.254.1.1", "fd00:169:254::1")
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.icmp.ratelimit": "0",
}


def run(*command: str, stdin: str | None = None) -> str:
    """What a program prints; CalledProcessError if it fails."""
    return subprocess.run(command, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def bits(address: str) -> int:
    """The length of a single address's network."""
    return 128 if ":" in address else 32


def unprobed(address: str) -> str:
    """The end of a line that adds an address: IPv6 would look for duplicates first, and answer a second later."""
    return " nodad" if ":" in address else ""


def link_of(mac: str) -> str:
    """The name of the link with this hardware address."""
    links = json.loads(run("ip", "-json", "link"))
    (name,) = (link["ifname"] for link in links if link.get("address") == mac)
    return str(name)


def own_lines(me: dict[str, Any], others: list[dict[str, Any]]) -> Iterator[str]:
    """The lines for `ip -batch` that give this machine its addresses, and the ways to the others' pods.

    A node's own packets to a ClusterIP need some route before they meet a rule: by the machine without pods.
    """
    link = link_of(me["mac"])
    yield f"link set {link} up"
    for address in me["addresses"]:
        yield f"address replace {address}/{64 if ':' in address else 24} dev {link}{unprobed(address)}"
    for other in others:
        if me["pods"] and not other["pods"]:
            for gateway in other["addresses"]:
                yield f"route replace default via {gateway} dev {link} metric 4096"
        for addresses in other["pods"].values():
            for gateway, address in zip(other["addresses"], addresses, strict=True):
                yield f"route replace {address}/{bits(address)} via {gateway}"


def pod_lines(pod: str, addresses: list[str]) -> Iterator[str]:
    """The host's side of a pod."""
    link = f"veth-{pod}"
    yield f"netns add {pod}"
    yield f"link add {link} type veth peer name eth0 netns {pod}"
    yield f"link set {link} up"
    for gateway, address in zip(POD_GATEWAYS, addresses, strict=True):
        yield f"address add {gateway}/{bits(gateway)} dev {link}{unprobed(gateway)}"
        yield f"route add {address}/{bits(address)} dev {link}"


def inner_lines(addresses: list[str]) -> Iterator[str]:
    """The pod's own side."""
    yield "link set lo up"
    yield "link set eth0 up"
    for gateway, address in zip(POD_GATEWAYS, addresses, strict=True):
        yield f"address add {address}/{bits(address)} dev eth0{unprobed(address)}"
        yield f"route add {gateway} dev eth0 scope link"
        yield f"route add default via {gateway} dev eth0"


def main() -> None:
    """Set this machine up."""
    machines = json.loads((HERE / "inventory.json").read_text())["machines"]
    name = socket.gethostname()
    for key, value in SYSCTLS.items():
        Path("/proc/sys", *key.split(".")).write_text(value)
    others = [machine for other, machine in machines.items() if other != name]
    batch = [*own_lines(machines[name], others)]
    for pod, addresses in machines[name]["pods"].items():
        batch += pod_lines(pod, addresses)
    run("ip", "-batch", "-", stdin="\n".join(batch) + "\n")
    for pod, addresses in machines[name]["pods"].items():
        run("ip", "netns", "exec", pod, "ip", "-batch", "-", stdin="\n".join(inner_lines(addresses)) + "\n")
        run("systemctl", "start", f"lab-pod@{pod}.service")
    if machines[name]["pods"]:
        run("systemctl", "start", "kproxy.service")


if __name__ == "__main__":
    main()
