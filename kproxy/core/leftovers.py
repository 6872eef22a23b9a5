"""What a service proxy leaves in a kernel, by name, and how its iptables chains are taken out again.

Rules kept: a name is matched whole, against the names that this proxy is known to use, never by a bare `KUBE-`, which
kubelet, kube-router and others use too. A chain that a rule of somebody else leads to stays, and so does what it needs.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.values import Protocol, Value


class Signs(Value, frozen=True):
    """How the leavings of a proxy are known."""

    proxy: str
    chains: re.Pattern[str]
    """`table chain` of its iptables chains."""
    entries: re.Pattern[str]
    """The chains that built-in chains jump to; any other jump there is somebody else's."""
    companions: Mapping[str, str]
    """A chain that is of no use to others without another one, and that other one."""
    table: str
    """The name of its nf_tables tables, in the families ip and ip6."""
    shared: frozenset[str] = frozenset()
    """`table chain` of what another component writes and needs too; it is never removed, and the user is told."""
    sets: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    """nfacct objects."""
    link: str = ""
    """The dummy link that holds its addresses; the virtual servers on these are its own."""
    node_port_sets: tuple[str, ...] = ()
    """Sets whose members are the NodePorts that have virtual servers on the node's own addresses."""


def signs_of(instance: Instance) -> Signs:
    """How the leavings of an instance of ours are known; only the default one can use IPVS."""
    prefix = instance.chain_prefix
    return Signs(
        proxy="kproxy",
        chains=re.compile(rf"\S+ {prefix}\S+"),
        entries=re.compile(rf"{prefix}\S+"),
        companions={},
        table=instance.table,
        link="" if instance else "kproxy-ipvs0",
    )


OURS: Final = signs_of(DEFAULT)

_SETS: Final = (
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-LOAD-BALANCER",
    "KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    "KUBE-NODE-PORT-TCP",
    "KUBE-NODE-PORT-LOCAL-TCP",
    "KUBE-NODE-PORT-UDP",
    "KUBE-NODE-PORT-LOCAL-UDP",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
)
SET_NAME_CHARACTERS: Final = 31
"""IPSET_MAXNAMELEN less the zero byte; kube-proxy cuts its IPv6 names there."""


def _both_families(names: Iterable[str]) -> tuple[str, ...]:
    plain = tuple(names)
    return (*plain, *(f"KUBE-6-{name.removeprefix('KUBE-')}"[:SET_NAME_CHARACTERS] for name in plain))


KUBE_PROXY: Final = Signs(
    proxy="kube-proxy",
    chains=re.compile(
        r"nat KUBE-(?:SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|PROXY-CANARY|NODE-PORT|LOAD-BALANCER"
        r"|(?:SVC|SVL|EXT|FW|SEP|XLB)-[A-Z2-7]{16})"
        r"|filter KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|FORWARD|PROXY-FIREWALL|PROXY-CANARY|NODE-PORT"
        r"|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER)"
        r"|mangle KUBE-PROXY-CANARY"
    ),
    entries=re.compile(
        r"KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|POSTROUTING|FORWARD|PROXY-FIREWALL|NODE-PORT"
        r"|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER)"
    ),
    companions={"KUBE-MARK-MASQ": "KUBE-POSTROUTING"},
    table="kube-proxy",
    shared=frozenset({"filter KUBE-FIREWALL", "nat KUBE-MARK-DROP"}),
    sets=_both_families(_SETS),
    counters=("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"),
    link="kube-ipvs0",
    node_port_sets=_both_families(name for name in _SETS if name.startswith("KUBE-NODE-PORT-") and "LOCAL" not in name),
)


class TableRemains(Value, frozen=True):
    """What is to go from one iptables table, and what has to stay for the sake of others."""

    table: str
    jumps: tuple[str, ...]
    """Rules of built-in chains that lead to chains that go: `PREROUTING -j KUBE-SERVICES`."""
    chains: tuple[str, ...]
    kept: tuple[str, ...] = ()
    """Chains of the proxy that rules of somebody else lead to."""
    shared: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.jumps or self.chains)


TARGET: Final = re.compile(r"(?:^| )-[jg] (\S+)$")


def remains(saved: str, signs: Signs) -> list[TableRemains]:
    """What of a proxy is in the tables that `iptables-save` printed; tables without any are left out."""
    found = (_of_table(table, lines, signs) for table, lines in _tables(saved).items())
    return [one for one in found if one or one.kept or one.shared]


def _tables(saved: str) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            lines = tables.setdefault(line[1:], [])
        elif line.startswith((":", "-A ")):
            lines.append(line)
    return tables


def _of_table(table: str, lines: Iterable[str], signs: Signs) -> TableRemains:
    rules: dict[str, list[str]] = {}
    built_in: set[str] = set()
    for line in lines:
        if line.startswith(":"):
            name, policy = line[1:].split(" ", 2)[:2]
            rules[name] = []
            if policy != "-":
                built_in.add(name)
        else:
            chain, _, rule = line.removeprefix("-A ").partition(" ")
            rules.setdefault(chain, []).append(rule)
    own = [name for name in rules if signs.chains.fullmatch(f"{table} {name}")]
    kept = _kept(rules, own, built_in, signs)
    jumps = tuple(
        f"{chain} {rule}"
        for chain in rules
        if chain in built_in
        for rule in rules[chain]
        if (to := target(rule)) in own and to not in kept and signs.entries.fullmatch(to)
    )
    shared = tuple(name for name in rules if f"{table} {name}" in signs.shared)
    return TableRemains(table, jumps, tuple(name for name in own if name not in kept), tuple(sorted(kept)), shared)


def target(rule: str) -> str:
    """The chain that a rule leads to, or a target without options; empty for others."""
    found = TARGET.search(rule)
    return found.group(1) if found else ""


def _kept(rules: Mapping[str, list[str]], own: Iterable[str], built_in: set[str], signs: Signs) -> set[str]:
    """The proxy's chains that others lead to, with all that these lead to and need."""
    of_proxy = set(own)
    ahead = [
        to
        for chain, its_rules in rules.items()
        if chain not in of_proxy
        for to in map(target, its_rules)
        if to in of_proxy and not (chain in built_in and signs.entries.fullmatch(to))
    ]
    kept: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in kept:
            kept.add(name)
            needed = [*map(target, rules[name]), signs.companions.get(name, "")]
            ahead += (one for one in needed if one in of_proxy)
    return kept


def removal_input(found: Iterable[TableRemains], portion: int | None) -> str:
    """Input for `iptables-restore --noflush` that takes all of it out, the jumps first and in one commit per table.

    Then nothing leads to the chains any more; they are emptied, and then removed, in commits of at most `portion`.
    """
    commits: list[str] = []
    for one in found:
        step = portion or len(one.chains) or 1
        parts = [one.chains[start : start + step] for start in range(0, len(one.chains), step)]
        work = [
            [f"-D {jump}" for jump in one.jumps],
            *([f":{chain} - [0:0]" for chain in part] for part in parts),
            *([f"-X {chain}" for chain in part] for part in parts),
        ]
        commits += ("\n".join([f"*{one.table}", *lines, "COMMIT", ""]) for lines in work if lines)
    return "".join(commits)


def in_order(lines: Iterable[str]) -> list[str]:
    """Removals as one can run them one by one: each once, jumps first, then chains emptied and removed, then the rest.

    A line is a command's words as a shell reads them; quoted anew, no comment of a rule means anything to a shell.
    """
    split = list(dict.fromkeys(tuple(shlex.split(line)) for line in lines))
    jumps, chains = ([words for words in split if words[3:4] == (action,)] for action in ("-D", "-X"))
    emptied = [(*words[:3], "-F", *words[4:]) for words in chains]
    others = [words for words in split if words not in {*jumps, *chains}]
    return [shlex.join(words) for words in (*jumps, *emptied, *chains, *others)]


class VirtualServer(NamedTuple):
    """A virtual server of IPVS, known by protocol, address and port."""

    protocol: Protocol
    address: str
    port: int

    def __str__(self) -> str:
        """As ipvsadm(8) is told."""
        place = f"[{self.address}]" if ":" in self.address else self.address
        return f"--{self.protocol.lower()}-service {place}:{self.port}"


SERVER: Final = re.compile(r"^(TCP|UDP|SCTP) +(?:([0-9A-F]{8})|\[([0-9a-f:]+)\]):([0-9A-F]{4}) ", re.MULTILINE)


def virtual_servers(listed: str) -> list[VirtualServer]:
    """The virtual servers in /proc/net/ip_vs, but for those that are known by a firewall mark."""
    return [
        VirtualServer(
            Protocol(found[1]),
            str(ipaddress.IPv4Address(int(found[2], 16)) if found[2] else ipaddress.IPv6Address(found[3])),
            int(found[4], 16),
        )
        for found in SERVER.finditer(listed)
    ]


REAL: Final = re.compile(r"^ +-> .* (\d+) +(\d+) *$")


def carried(listed: str, servers: Collection[VirtualServer]) -> int:
    """How many connections, active and closing, /proc/net/ip_vs counts at the real servers of these virtual servers."""
    count, is_counted = 0, False
    for line in listed.splitlines():
        if found := REAL.match(line):
            count += (int(found[1]) + int(found[2])) * is_counted
        elif not line.startswith(" "):
            is_counted = any(one in servers for one in virtual_servers(line))
    return count


def servers_of(
    servers: Iterable[VirtualServer],
    link: Collection[str],
    local: Collection[str],
    node_ports: Mapping[Protocol, Collection[int]],
) -> list[VirtualServer]:
    """The virtual servers on a proxy's own addresses, and those for NodePorts on the node's; all others are not its."""
    return [
        one
        for one in servers
        if one.address in link or (one.address in local and one.port in node_ports.get(one.protocol, ()))
    ]
