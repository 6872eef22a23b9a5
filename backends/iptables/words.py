"""The words rules are made of, spelled as `iptables-save` prints them.

What is compiled must read back from the kernel letter by letter, or every
pass would find a drift. So each rule is written in canonical form: the order
of options, the comment's quotes, `/32` behind an address, eleven digits of a
probability (iptables 1.8.9; the legacy and nf_tables variants print alike).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final

from kproxy.core.chains import address_text, network_text
from kproxy.core.plan import Client, NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family, Network, Protocol, Value
from kproxy.errors import ConfigError

LOWER: Final = {Protocol.TCP: "tcp", Protocol.UDP: "udp", Protocol.SCTP: "sctp"}

ACCEPT: Final = "-j ACCEPT"
DROP: Final = "-j DROP"
NEW: Final = "-m conntrack --ctstate NEW "
MASQUERADE: Final = "-j MASQUERADE --random-fully"
FROM_NODE: Final = "-m addrtype --src-type LOCAL "
TO_NODE: Final = "-m addrtype --dst-type LOCAL "
REJECT: Final = {
    Family.IPV4: "-j REJECT --reject-with icmp-port-unreachable",
    Family.IPV6: "-j REJECT --reject-with icmp6-port-unreachable",
}
LOOPBACK: Final[dict[Family, Network]] = {
    Family.IPV4: ipaddress.ip_network("127.0.0.0/8"),
    Family.IPV6: ipaddress.ip_network("::1/128"),
}
HOST_MASK: Final = {Family.IPV4: "255.255.255.255", Family.IPV6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}

STATISTIC_ONE: Final = 1 << 31
"""The kernel compares 31 random bits with a number (net/netfilter/xt_statistic.c)."""

UNSAFE_IN_COMMENT: Final = re.compile(r"[^A-Za-z0-9._/: -]")
COMMENT_CHARACTERS: Final = 200
"""XT_MAX_COMMENT_LEN is 256."""

INTERFACE: Final = re.compile(r"[A-Za-z0-9._@:-]{1,15}|[A-Za-z0-9._@:-]{0,14}\+")


class Words(Value, frozen=True):
    """What in a rule depends on the plan's own settings, worked out once. Matches end in a space, or are empty."""

    family: Family
    clients: dict[Client, tuple[str, ...]]
    """Client to the matches, any of which says it is that client."""
    unless_pod: str | None
    """One match for everybody who is not a pod; None where that takes more than one rule."""
    mark: str
    unmark: str
    if_marked: str
    unlisted: str
    """What the ports of a ClusterIP that its Service does not list get; empty: nothing of ours."""
    accepts_health_checks: bool

    @property
    def reject(self) -> str:
        """Refuse with an ICMP port unreachable, which ends a TCP connect at once as well."""
        return REJECT[self.family]

    def source(self, network: Network) -> str:
        """A match on the source; nothing for the network that holds every address."""
        return f"-s {network_text(network)} " if network.prefixlen else ""

    def destination(self, network: Network) -> str:
        """A match on the destination; nothing for the network that holds every address."""
        return f"-d {network_text(network)} " if network.prefixlen else ""

    def host(self, address: str) -> str:
        """An address as a rule names it."""
        return f"{address_text(address)}/{self.family.address_bits}"

    def target(self, address: str, port: int) -> str:
        """An address and port as DNAT names them."""
        return f"{address}:{port}" if self.family is Family.IPV4 else f"[{address_text(address)}]:{port}"


def words_for(plan: NodePlan) -> Words:
    """The words of a plan; ConfigError if its interface cannot be one."""
    mark = f"{plan.masquerade_mark:#x}"
    pods, unless_pod = _pod_matches(plan.pods)
    return Words(
        plan.family,
        {Client.POD: pods, Client.NODE: (FROM_NODE,), Client.ANY: ("",)},
        unless_pod,
        f"-j MARK --set-xmark {mark}/{mark}",
        f"-j MARK --set-xmark 0x0/{mark}",
        f"-m mark --mark {mark}/{mark} ",
        _unlisted(plan),
        plan.accepts_health_checks,
    )


def _unlisted(plan: NodePlan) -> str:
    if plan.unlisted is Unlisted.REJECT:
        return REJECT[plan.family]
    return "-j RETURN" if plan.unallocated is Unallocated.DROP else ""


def _pod_matches(pods: tuple[Network, ...] | str | None) -> tuple[tuple[str, ...], str | None]:
    if isinstance(pods, str):
        if not INTERFACE.fullmatch(pods):
            raise ConfigError(
                f"interface {pods!r} for local detection: 1 to 15 letters, digits and .-_:@, + at the end"
            )
        matches: tuple[str, ...] = (f"-i {pods} ",)
    else:
        matches = tuple(f"-s {network_text(network)} " if network.prefixlen else "" for network in pods or ())
    return matches, f"! {matches[0]}" if len(matches) == 1 and matches[0] else None


def comment(text: str) -> str:
    """A comment match. Nothing in the text can end the quotes or the line: unknown characters become `?`."""
    return f'-m comment --comment "{UNSAFE_IN_COMMENT.sub("?", text)[:COMMENT_CHARACTERS]}" '


@functools.cache
def shares(protocol: Protocol, count: int, extra: str = "") -> tuple[str, ...]:
    """The matches of `count` rules in a row that share new connections evenly: 1/n, 1/(n-1), …, the rest."""
    start = f"-p {LOWER[protocol]} "
    return tuple(start + _chance(left) + extra for left in range(count, 0, -1))


def _chance(left: int) -> str:
    if left == 1:
        return ""
    return f"-m statistic --mode random --probability {round(STATISTIC_ONE / left) / STATISTIC_ONE:.11f} "
