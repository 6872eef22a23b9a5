"""Which machines there are, and how they are wired; the one that kube-proxy's answers were recorded in.

    pod-here 10.64.1.10 ─┐                     ┌─ 192.0.2.11/24 ── outside 192.0.2.100
                         ├─ 169.254.1.1  node ─┤  198.18.0.11                203.0.113.7
    pod-there 10.64.1.11 ┘                     └─ 10.200.1.1/30 ── node-b 10.200.1.2, all of 10.64.2.0/24

The node routes everything it does not know to `outside`, which routes pods,
ClusterIPs, the node's second address and the load balancer's addresses to the
node. The same again for IPv6. Reverse-path filters and ICMP rate limits are off,
duplicate address detection too, so that every address answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab.machine import Machine, Target, require_root

PORTS = (8080, 8081)
PODS = {"pod-here": ("10.64.1.10", "fd00:10:64:1::10"), "pod-there": ("10.64.1.11", "fd00:10:64:1::11")}
POD_GATEWAYS = ("169.254.1.1", "fd00:169:254::1")
NODE_IPS = ("192.0.2.11", "2001:db8:2::11")
SECOND_NODE_IPS = ("198.18.0.11", "2001:db8:18::11")
OUTSIDE_IPS = ("192.0.2.100", "2001:db8:2::100")
SECOND_OUTSIDE_IPS = ("203.0.113.7", "2001:db8:113::7")
TRANSIT = (("10.200.1.1", "10.200.1.2", 30), ("fd00:10:200:1::1", "fd00:10:200:1::2", 126))
REMOTE_PODS = ("10.64.2.0/24", "fd00:10:64:2::/64")
REMOTE_POD = ("10.64.2.1", "fd00:10:64:2::1")
BEHIND_NODE = (
    ("10.0.0.0/8", "198.18.0.0/15", "198.51.100.0/23"),
    ("fd00:10::/32", "2001:db8:18::/48", "2001:db8:51::/48"),
)
CLUSTER_CIDRS = ("10.64.0.0/16", "fd00:10:64::/48")
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/108")
NODE_NAME = "node-a"

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/route_localnet": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
    # Per namespace since Linux 6.12 or so; before, the host's own value stays in force.
    "net/ipv4/icmp_msgs_per_sec?": "1000000",
    "net/ipv4/icmp_msgs_burst?": "1000000",
}


@dataclass(frozen=True)
class Lab:
    """The machines by their role."""

    node: Machine
    pod_here: Machine
    pod_there: Machine
    node_b: Machine
    outside: Machine

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All of them."""
        return (self.node, self.pod_here, self.pod_there, self.node_b, self.outside)

    def controls(self) -> dict[Machine, list[Target]]:
        """Endpoints that every machine reaches without any Service, in both families."""
        addresses = (*PODS["pod-here"], *PODS["pod-there"], *REMOTE_POD)
        return {machine: [Target(address, PORTS[0]) for address in addresses] for machine in self.machines}


@contextmanager
def laboratory() -> Iterator[Lab]:
    """A wired laboratory whose pods and second node answer on PORTS by TCP, UDP and SCTP; gone at the end."""
    require_root()
    with ExitStack() as stack:
        lab = Lab(*(stack.enter_context(Machine(name)) for name in (NODE_NAME, *PODS, "node-b", "outside")))
        for machine in lab.machines:
            machine.sysctl(SYSCTLS)
            machine.ip(["link set lo up"])
        _wire_outside(lab)
        _wire_node_b(lab)
        _wire_pod(lab.node, lab.pod_here)
        _wire_pod(lab.node, lab.pod_there)
        for machine in (lab.pod_here, lab.pod_there, lab.node_b):
            for protocol in ("TCP", "UDP", "SCTP"):
                machine.listen(protocol, *PORTS)
        yield lab


def _veth(node: Machine, link: str, other: Machine) -> None:
    """A cable from the node's `link` to the other machine's `eth0`."""
    node.ip([f"link add {link} type veth peer name eth0 netns {other.process.pid}", f"link set {link} up"])
    other.ip(["link set eth0 up"])


def _wire_outside(lab: Lab) -> None:
    _veth(lab.node, "uplink", lab.outside)
    own, out = zip(NODE_IPS, (24, 64), strict=True), zip(OUTSIDE_IPS, (24, 64), strict=True)
    lab.node.ip(f"address add {address}/{length} dev uplink" for address, length in own)
    lab.node.ip(f"address add {address} dev uplink preferred_lft 0" for address in SECOND_NODE_IPS)
    lab.outside.ip(f"address add {address}/{length} dev eth0" for address, length in out)
    # Deprecated, so that it is a source only where a probe asks for it.
    lab.outside.ip(f"address add {address} dev eth0 preferred_lft 0" for address in SECOND_OUTSIDE_IPS)
    lab.node.ip(f"route add default via {gateway}" for gateway in OUTSIDE_IPS)
    for gateway, networks in zip(NODE_IPS, BEHIND_NODE, strict=True):
        lab.outside.ip(f"route add {network} via {gateway}" for network in networks)


def _wire_node_b(lab: Lab) -> None:
    _veth(lab.node, "transit", lab.node_b)
    for (near, far, length), network in zip(TRANSIT, REMOTE_PODS, strict=True):
        lab.node.ip([f"address add {near}/{length} dev transit", f"route add {network} via {far}"])
        lab.node_b.ip(
            [
                f"address add {far}/{length} dev eth0",
                f"route add default via {near}",
                f"route add local {network} dev lo",
            ]
        )


def _wire_pod(node: Machine, pod: Machine) -> None:
    link = f"veth-{pod.name}"
    _veth(node, link, pod)
    for address, gateway in zip(PODS[pod.name], POD_GATEWAYS, strict=True):
        bits = 128 if ":" in address else 32
        node.ip([f"address add {gateway}/{bits} dev {link}", f"route add {address}/{bits} dev {link}"])
        pod.ip(
            [
                f"address add {address}/{bits} dev eth0",
                f"route add {gateway} dev eth0 scope link",
                f"route add default via {gateway}",
            ]
        )
