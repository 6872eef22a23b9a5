"""kube-proxy's iptables rules, as iptables-save prints them, read as frontends (pkg/proxy/iptables, Kubernetes 1.36).

A frontend's way is KUBE-SERVICES or KUBE-NODEPORTS, then KUBE-FW, KUBE-EXT, KUBE-SVC or KUBE-SVL, then KUBE-SEP, whose
DNAT names the endpoint. Rules for pods and for the node itself (`-s`, `-i`, `--src-type LOCAL`) are not a stranger's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kproxy.audit.standing import At, Held, Spot, Standing, merged
from kproxy.core.values import Protocol, Value, canonical_address

Tables = Mapping[tuple[str, str], Sequence[str]]
"""Rules by table and chain."""

PROTOCOLS: Final = {str(one).lower(): one for one in Protocol}
WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
"""A word as iptables-save writes it; `shlex` knows more of quoting than it does, and takes five times as long."""
COMMENT: Final = re.compile(r"^([a-z0-9.-]+/[a-z0-9.-]+)(?:[: ]|$)")
INWARD: Final = re.compile(r"KUBE-(?:SVC|SVL|EXT|FW|XLB)-")
ENDPOINT: Final = "KUBE-SEP-"
MARK: Final = "KUBE-MARK-MASQ"
REFUSALS: Final = frozenset({"REJECT", "DROP"})
VALUED: Final = frozenset(
    {
        "-d", "-s", "-p", "-i", "-j", "-g", "-m", "--dport", "--comment", "--dst-type", "--src-type", "--mode",
        "--probability", "--to-destination", "--name", "--seconds", "--mask", "--rsource", "--reject-with", "--ctstate",
        "--nfacct-name",
    }
)  # fmt: skip
BARE: Final = frozenset({"--rsource", "--rcheck", "--reap", "--set", "--persistent", "--random", "--random-fully", "!"})
DEEPEST: Final = 8


class Rule(Value, frozen=True):
    """A rule's options; `!` before one is in `negated`."""

    options: Mapping[str, str]
    negated: frozenset[str]
    is_known: bool

    @property
    def target(self) -> str:
        """Where it leads."""
        return self.options.get("-j") or self.options.get("-g", "")

    @property
    def is_for_some(self) -> bool:
        """Whether it is for pods or the node only; a negated source is for strangers."""
        return any(name in self.options and name not in self.negated for name in ("-s", "-i", "--src-type"))

    @property
    def service(self) -> str:
        """The Service in its comment; empty if there is none."""
        found = COMMENT.match(self.options.get("--comment", ""))
        return found[1] if found else ""


def read_iptables(saved: str) -> Standing:
    """The frontends in what iptables-save printed of the tables nat and filter."""
    tables = _tables(saved)
    reader = _Reader(tables)
    for rule in reader.rules("nat", "KUBE-SERVICES"):
        reader.dispatch(rule, node_port=False)
    for rule in reader.rules("nat", "KUBE-NODEPORTS"):
        reader.dispatch(rule, node_port=True)
    for chain in ("KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"):
        for rule in reader.rules("filter", chain):
            reader.refuse(rule)
    return Standing(reader.frontends, tuple(reader.unread))


def stands(saved: str) -> bool:
    """Whether kube-proxy's iptables mode has written here; its ipvs mode has no KUBE-NODEPORTS in nat."""
    nat = saved.partition("*nat\n")[2].partition("\nCOMMIT")[0]
    return "\n:KUBE-NODEPORTS " in f"\n{nat}"


def parse_rule(text: str) -> Rule:
    """A rule's words; one with a quotation mark that is not closed is not known."""
    if text.count('"') % 2:
        return Rule({}, frozenset(), is_known=False)
    words = [plain or quoted for quoted, plain in WORD.findall(text)]
    options: dict[str, str] = {}
    negated: set[str] = set()
    is_known, place = True, 0
    while place < len(words):
        word = words[place]
        is_negated = word == "!" and place + 1 < len(words)
        place += is_negated
        word = words[place]
        if word in BARE:
            options[word] = ""
        elif word in VALUED and place + 1 < len(words):
            place += 1
            options[word] = words[place]
            negated |= {word} if is_negated else set()
        else:
            is_known = False
        place += 1
    return Rule(options, frozenset(negated), is_known)


class _Reader:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.frontends: dict[Spot, Held] = {}
        self.unread: list[str] = []
        self._known: dict[str, Held] = {}

    def rules(self, table: str, chain: str) -> Iterator[Rule]:
        """The rules of a chain that are understood; the others are counted."""
        for text in self._tables.get((table, chain), ()):
            rule = parse_rule(text)
            if rule.is_known:
                yield rule
            else:
                self.unread.append(f"{table} {chain} {text}")

    def dispatch(self, rule: Rule, *, node_port: bool) -> None:
        """A rule that leads from a frontend to its chain."""
        if rule.target in (MARK, "KUBE-NODEPORTS") or "--nfacct-name" in rule.options:
            return  # for pods, for the last rule, and for 127.0.0.1, whose second rule says the same
        spot = _spot(rule, node_port=node_port)
        if spot is None or not INWARD.match(rule.target):
            self.unread.append(f"nat {rule.options}")
            return
        held = merged(Held(rule.service), self._meets(rule.target, 0))
        self.frontends[spot] = merged(self.frontends[spot], held) if spot in self.frontends else held

    def refuse(self, rule: Rule) -> None:
        """A rule of the filter table that refuses a frontend."""
        spot = _spot(rule, node_port="-d" not in rule.options)
        if spot is None or rule.target not in REFUSALS:
            self.unread.append(f"filter {rule.options}")
            return
        known = self.frontends.get(spot, Held(rule.service))
        self.frontends[spot] = merged(known, Held(rule.service, refusal=rule.target))

    def _meets(self, chain: str, depth: int) -> Held:
        """What a stranger meets in a chain."""
        if depth > DEEPEST:
            return Held("")
        if chain not in self._known:
            self._known[chain] = self._read_chain(chain, depth)
        return self._known[chain]

    def _read_chain(self, chain: str, depth: int) -> Held:
        is_fence = chain.startswith("KUBE-FW-")
        held = Held("", masquerade=False, fenced=is_fence, affinity_s=0)
        for rule in self.rules("nat", chain):
            target = rule.target
            if target == MARK:
                held = held if rule.is_for_some else merged(held, Held("", masquerade=True))
            elif target.startswith(ENDPOINT):
                affinity_s = int(rule.options.get("--seconds", "0")) or None
                held = merged(held, Held("", self._endpoint(target), affinity_s=affinity_s))
            elif INWARD.match(target):
                if is_fence or not rule.is_for_some:
                    held = merged(held, self._inside(target, depth, fenced=is_fence))
            elif target:  # a rule without a target is a remark
                self.unread.append(f"nat {chain} {dict(rule.options)}")
        return held

    def _inside(self, target: str, depth: int, *, fenced: bool) -> Held:
        inner = self._meets(target, depth + 1)
        return Held("", inner.endpoints, inner.refusal, inner.masquerade, fenced or inner.fenced, inner.affinity_s)

    def _endpoint(self, chain: str) -> frozenset[At]:
        """Where a chain's DNAT leads."""
        for rule in self.rules("nat", chain):
            if rule.target == "DNAT":
                address, _, port = rule.options.get("--to-destination", "").rpartition(":")
                try:
                    return frozenset({(canonical_address(address.strip("[]")), int(port))})
                except ValueError:
                    self.unread.append(f"nat {chain} {dict(rule.options)}")
        return frozenset()


def _spot(rule: Rule, *, node_port: bool) -> Spot | None:
    protocol = PROTOCOLS.get(rule.options.get("-p", ""))
    port = rule.options.get("--dport", "")
    if protocol is None or not port.isdecimal():
        return None
    if node_port:
        return Spot("", int(port), protocol)
    try:
        return Spot(canonical_address(rule.options.get("-d", "").partition("/")[0]), int(port), protocol)
    except ValueError:
        return None


def _tables(saved: str) -> Tables:
    found: dict[tuple[str, str], list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            chain, _, rule = line.removeprefix("-A ").partition(" ")
            found.setdefault((table, chain), []).append(rule)
    return found
