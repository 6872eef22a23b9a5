"""What a rule's text says: an interpreter of exactly the matches that we emit. An unknown match is not met."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from backends.ipvs.names import SETS
from backends.ipvs.objects import Member, Vip
from kproxy.core.document import Content, ObjectId
from kproxy.core.flow import Packet
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import Family, Value, network_contains

FLAGS: Final = frozenset({"--random-fully", "--map-mark", "--ipvs"})
TWO_WORDS: Final = frozenset({"--match-set", "--map-set"})


class State(NamedTuple):
    """A packet on its way, its mark, and whether a virtual server has taken it."""

    packet: Packet
    mark: int
    balanced: bool = False


class Rule(Value, frozen=True):
    """A rule, taken apart: conditions as (option, argument, negated)."""

    text: str
    conditions: tuple[tuple[str, str, bool], ...]
    goto: bool
    target: str
    arguments: Mapping[str, str]


@functools.lru_cache(maxsize=1024)
def parse_rule(text: str) -> Rule:
    """Take a rule in iptables-save's form apart; any text gives a rule."""
    words = text.split()
    conditions: list[tuple[str, str, bool]] = []
    arguments: dict[str, str] = {}
    target, goto, negated = "", False, False
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word == "!":
            negated = True
            continue
        taken = 0 if word in FLAGS else 2 if word in TWO_WORDS else 1
        argument = " ".join(words[place : place + taken])
        place += taken
        if word in ("-j", "-g"):
            target, goto = argument, word == "-g"
        elif target:
            arguments[word] = argument
        elif word != "-m":
            conditions.append((word, argument, negated))
            negated = False
    return Rule(text, tuple(conditions), goto, target, arguments)


class Lookup:
    """Asks the sets of a Document."""

    def __init__(self, family: Family, objects: Mapping[ObjectId, Content], host: Host) -> None:
        self._objects = objects
        self._host = host
        self._vips = SETS[family].vips
        self._names = SETS[family]

    def is_vip(self, address: str) -> bool:
        """Whether an address is on our link."""
        return Vip(address) in self._objects

    def matches(self, rule: Rule, state: State) -> bool:
        """Whether all conditions of a rule hold for a new connection's packet."""
        return all(self._holds(option, argument, state) is not negated for option, argument, negated in rule.conditions)

    def member(self, name: str, how: str, state: State) -> ObjectId | None:
        """The member of a set that a packet's addresses and port stand for."""
        packet = state.packet
        if name == self._vips:
            vip = Vip(packet.source if how == "src" else packet.destination)
            return vip if vip in self._objects else None
        start = (name, packet.protocol, packet.destination, packet.port)
        if how == "dst,dst,src" and name == self._names.hairpin:
            return self._present(Member(*start, packet.source))
        if how == "dst,dst,src":
            return next((one for one in self._fence(name, packet)), None)
        if name in (self._names.port_any, self._names.port_node, self._names.port_pod, self._names.health):
            return self._half(name, packet)
        return self._present(Member(*start))

    def _present(self, member: Member) -> Member | None:
        return member if member in self._objects else None

    def _half(self, name: str, packet: Packet) -> Member | None:
        """A NodePort's member is one of the two halves of all addresses."""
        network = ipaddress.ip_network(f"{packet.destination}/1", strict=False)
        return self._present(Member(name, packet.protocol, str(network.network_address), packet.port, prefix=1))

    def _fence(self, name: str, packet: Packet) -> list[Member]:
        place = (name, packet.protocol, packet.destination, packet.port)
        return [
            key
            for key in self._objects
            if isinstance(key, Member)
            and key[:4] == place
            and network_contains(ipaddress.ip_network(f"{key.other}/{key.prefix}"), packet.source)
        ]

    def _holds(self, option: str, argument: str, state: State) -> bool:
        judge = JUDGES.get(option)
        if judge is not None:
            return judge(argument, state)
        if option == "--match-set":
            name, how = argument.split()
            return self.member(name, how, state) is not None
        if option in ("--src-type", "--dst-type"):
            address = state.packet.source if option == "--src-type" else state.packet.destination
            return is_local(address, self._host) or self.is_vip(address)
        return False


def _mark(text: str, state: State) -> bool:
    value, _slash, mask = text.partition("/")
    return state.mark & int(mask or "0xffffffff", 16) == int(value, 16)


def _interface(text: str, state: State) -> bool:
    name = state.packet.interface
    if name is None:
        return False
    return name.startswith(text[:-1]) if text.endswith("+") else name == text


JUDGES: Final[Mapping[str, Callable[[str, State], bool]]] = {
    "-s": lambda text, state: network_contains(ipaddress.ip_network(text), state.packet.source),
    "-d": lambda text, state: network_contains(ipaddress.ip_network(text), state.packet.destination),
    "-i": _interface,
    # By which link a packet leaves is the routing table's business: taken as none that is asked for.
    "-o": lambda _text, _state: False,
    "--ipvs": lambda _text, state: state.balanced,
    "-p": lambda text, state: text == state.packet.protocol.lower(),
    "--mark": _mark,
    "--ctstate": lambda text, _state: "NEW" in text.split(","),
}
