"""Rules as kube-proxy 1.36 writes them for one Service port of type NodePort with policy Cluster, in each of its modes.

The chains, sets and jumps have its names and its order; what is not needed for this Service is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

POD_RANGES = ("10.64.0.0/16", "fd00:10:64::/48")
WORDS = ("ip", "ip6")
SUFFIX = "ABCDEFGHIJKLMNOP"
"""Of chains of a Service or endpoint: 16 letters of base32."""


class Served(NamedTuple):
    """A Service port and who serves it."""

    family: int
    vip: str
    port: int
    node_port: int
    node: str
    """The node's address that takes NodePorts."""
    endpoints: Sequence[str]
    target: int

    def at(self, address: str) -> str:
        """An endpoint's address and port."""
        return f"[{address}]:{self.target}" if self.family else f"{address}:{self.target}"


def iptables(it: Served) -> str:
    """Input for iptables-restore --noflush."""
    host = 128 if it.family else 32
    seps = [f"KUBE-SEP-{SUFFIX[:-1]}{chr(ord('A') + number)}" for number in range(len(it.endpoints))]
    svc, ext = f"KUBE-SVC-{SUFFIX}", f"KUBE-EXT-{SUFFIX}"
    chains = ["SERVICES", "NODEPORTS", "POSTROUTING", "MARK-MASQ"]
    lines = [f":KUBE-{name} - [0:0]" for name in chains] + [f":{name} - [0:0]" for name in (svc, ext, *seps)]
    lines += [
        "-I PREROUTING -m comment --comment portals -j KUBE-SERVICES",
        "-I OUTPUT -m comment --comment portals -j KUBE-SERVICES",
        "-I POSTROUTING -m comment --comment postrouting -j KUBE-POSTROUTING",
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
        "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
        f"-A KUBE-SERVICES -d {it.vip}/{host} -p tcp --dport {it.port} -j {svc}",
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        f"-A KUBE-NODEPORTS -p tcp --dport {it.node_port} -j {ext}",
        f"-A {ext} -j KUBE-MARK-MASQ",
        f"-A {ext} -j {svc}",
        f"-A {svc} ! -s {POD_RANGES[it.family]} -d {it.vip}/{host} -p tcp --dport {it.port} -j KUBE-MARK-MASQ",
    ]
    for left, (sep, address) in zip(range(len(seps), 0, -1), zip(seps, it.endpoints, strict=True), strict=True):
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        lines.append(f"-A {svc} {chance}-j {sep}")
        lines.append(f"-A {sep} -s {address}/{host} -j KUBE-MARK-MASQ")
        lines.append(f"-A {sep} -p tcp -j DNAT --to-destination {it.at(address)}")
    forward = [
        ":KUBE-FORWARD - [0:0]",
        "-I FORWARD -j KUBE-FORWARD",
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
        "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ]
    return "\n".join(["*nat", *lines, "COMMIT", "*filter", *forward, "COMMIT", ""])


def nftables(it: Served) -> str:
    """Input for nft -f."""
    word, kind = WORDS[it.family], ("ipv4_addr", "ipv6_addr")[it.family]
    name = "ULMVA6XW-e2e/svc/tcp/main"
    ends = ", ".join(f"{number} : {address} . {it.target}" for number, address in enumerate(it.endpoints))
    mark = "jump mark-for-masquerade"
    return f"""\
table {word} kube-proxy {{
    comment "rules for kube-proxy"
    set cluster-ips {{ type {kind}; elements = {{ {it.vip} }}; }}
    set nodeport-ips {{ type {kind}; elements = {{ {it.node} }}; }}
    map service-ips {{ type {kind} . inet_proto . inet_service : verdict
        elements = {{ {it.vip} . tcp . {it.port} : goto service-{name} }}
    }}
    map service-nodeports {{ type inet_proto . inet_service : verdict
        elements = {{ tcp . {it.node_port} : goto external-{name} }}
    }}
    chain mark-for-masquerade {{ mark set mark or 0x4000; }}
    chain service-{name} {{
        {word} daddr {it.vip} tcp dport {it.port} {word} saddr != {POD_RANGES[it.family]} {mark}
        meta l4proto tcp dnat {word} to numgen random mod {len(it.endpoints)} map {{ {ends} }}
    }}
    chain external-{name} {{ {mark}; goto service-{name}; }}
    chain services {{
        {word} daddr . meta l4proto . th dport vmap @service-ips
        {word} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }}
    chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
    chain nat-output {{ type nat hook output priority -100; jump services; }}
    chain masquerading {{ mark and 0x4000 == 0 return; mark set mark xor 0x4000; masquerade fully-random; }}
    chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
    chain cluster-ips-check {{ {word} daddr @cluster-ips reject; }}
    chain filter-forward {{ type filter hook forward priority -110; ct state new jump cluster-ips-check; }}
}}
"""


def ipvs(it: Served) -> Sequence[tuple[str, str]]:
    """Programs with their inputs, in order."""
    infix, tool = ("KUBE-6-", "ip6tables-legacy") if it.family else ("KUBE-", "iptables-legacy")
    kind, vip, node = ("inet6", f"[{it.vip}]", f"[{it.node}]") if it.family else ("inet", it.vip, it.node)
    cluster, ports = f"{infix}CLUSTER-IP", f"{infix}NODE-PORT-TCP"
    sets = f"""\
create {cluster} hash:ip,port family {kind}
create {ports} bitmap:port range 0-65535
add {cluster} {it.vip},tcp:{it.port}
add {ports} {it.node_port}
"""
    chains = ["SERVICES", "NODE-PORT", "POSTROUTING", "MARK-MASQ"]
    rules = "\n".join(
        [
            "*nat",
            *(f":KUBE-{name} - [0:0]" for name in chains),
            "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
            f"-A KUBE-SERVICES ! -s {POD_RANGES[it.family]} -m set --match-set {cluster} dst,dst -j KUBE-MARK-MASQ",
            "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
            f"-A KUBE-SERVICES -m set --match-set {cluster} dst,dst -j ACCEPT",
            f"-A KUBE-NODE-PORT -p tcp -m set --match-set {ports} dst -j KUBE-MARK-MASQ",
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
            "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
            "-I PREROUTING -j KUBE-SERVICES",
            "-I OUTPUT -j KUBE-SERVICES",
            "-I POSTROUTING -j KUBE-POSTROUTING",
            "COMMIT",
            "*filter",
            ":KUBE-IPVS-FILTER - [0:0]",
            "-I INPUT -j KUBE-IPVS-FILTER",
            f"-A KUBE-IPVS-FILTER -m set --match-set {cluster} dst,dst -j RETURN",
            "COMMIT",
            "",
        ]
    )
    places = (f"{vip}:{it.port}", f"{node}:{it.node_port}")
    servers = [line for place in places for line in (f"-A -t {place} -s rr", *_reals(place, it))]
    link = ["link add kube-ipvs0 type dummy", f"address add {it.vip}/{128 if it.family else 32} dev kube-ipvs0"]
    return [
        ("ipset restore", sets),
        ("ipvsadm -R", "\n".join([*servers, ""])),
        ("ip -batch -", "\n".join([*link, ""])),
        (f"{tool}-restore --noflush", rules),
    ]


def _reals(place: str, it: Served) -> list[str]:
    return [f"-a -t {place} -r {it.at(address)} -m -w 1" for address in it.endpoints]
