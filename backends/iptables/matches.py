"""What a rule's text says: an interpreter of exactly the matches that we emit.

It reads rules from their text, so that it judges what was compiled and what
was read back from the kernel alike. A match that it does not know is named
and counts as not met.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

from kproxy.core.flow import Packet
from kproxy.core.host import Host
from kproxy.core.node_facts import is_local
from kproxy.core.values import Value, network_contains

WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
MODULES: Final = frozenset({"addrtype", "comment", "conntrack", "mark", "recent", "sctp", "statistic", "tcp", "udp"})
NO_ARGUMENT: Final = frozenset({"--rcheck", "--set", "--reap", "--rsource", "--random-fully"})


class State(Value, frozen=True):
    """A packet on its way: as it is now, and what the kernel knows of it."""

    packet: Packet
    mark: int = 0
    connection: frozenset[str] = frozenset({"NEW"})
    """`--ctstate` words that hold."""


class Option(Value, frozen=True):
    """One option of a rule with its argument, possibly negated."""

    name: str
    argument: str
    negated: bool


class Rule(Value, frozen=True):
    """A rule, taken apart."""

    text: str
    conditions: tuple[Option, ...]
    goto: bool
    target: str
    arguments: Mapping[str, str]


@functools.lru_cache(maxsize=4096)
def parse_rule(text: str) -> Rule:
    """Take a rule in iptables-save's form apart; any text gives a rule."""
    words = [match.group(2) if match.group(1) is None else match.group(1) for match in WORD.finditer(text)]
    conditions: list[Option] = []
    arguments: dict[str, str] = {}
    target, goto, negated = "", False, False
    place = 0
    while place < len(words):
        word = words[place]
        argument = "" if word in NO_ARGUMENT or place + 1 == len(words) else words[place + 1]
        place += 1 if word == "!" or word in NO_ARGUMENT else 2
        if word == "!":
            negated = True
        elif word in ("-j", "-g"):
            target, goto = argument, word == "-g"
        elif target:
            arguments[word] = argument
        else:
            conditions.append(Option(word, argument, negated))
            negated = False
    return Rule(text, tuple(conditions), goto, target, arguments)


def chance(rule: Rule, state: State, host: Host) -> tuple[float, str]:
    """How likely the rule matches, from 0 to 1; and the options that were not understood."""
    result, unknown = 1.0, []
    for option in rule.conditions:
        if option.name == "-m" and option.argument in MODULES:
            continue
        try:
            met = JUDGES[option.name](option.argument, state, host)
        except (KeyError, ValueError):
            unknown.append(f"{option.name} {option.argument}")
            result = 0.0
        else:
            result *= 1 - met if option.negated else met
    return result, ", ".join(unknown)


def _in_network(text: str, address: str) -> bool:
    return network_contains(ipaddress.ip_network(text), address)


def _interface(text: str, state: State, _: Host) -> bool:
    name = state.packet.interface
    if name is None:
        return False
    return name.startswith(text[:-1]) if text.endswith("+") else name == text


def _port(text: str, state: State, _: Host) -> bool:
    first, _colon, last = text.partition(":")
    return int(first) <= state.packet.port <= int(last or first)


def _mark(text: str, state: State, _: Host) -> bool:
    value, _slash, mask = text.partition("/")
    return state.mark & int(mask or "0xffffffff", 16) == int(value, 16)


def _always(_text: str, _state: State, _: Host) -> bool:
    return True


JUDGES: Final[Mapping[str, Callable[[str, State, Host], float]]] = {
    "-s": lambda text, state, _: _in_network(text, state.packet.source),
    "-d": lambda text, state, _: _in_network(text, state.packet.destination),
    "-i": _interface,
    # By which link a packet leaves is the routing table's business: taken as none that is asked for.
    "-o": lambda _text, _state, _: False,
    "-p": lambda text, state, _: text == state.packet.protocol.lower(),
    "--dport": _port,
    "--mark": _mark,
    "--ctstate": lambda text, state, _: not state.connection.isdisjoint(text.split(",")),
    "--src-type": lambda text, state, host: text == "LOCAL" and is_local(state.packet.source, host),
    "--dst-type": lambda text, state, host: text == "LOCAL" and is_local(state.packet.destination, host),
    "--probability": lambda text, _state, _: float(text),
    # Nobody is remembered yet: this is a client's first connection.
    "--rcheck": lambda _text, _state, _: False,
    "--set": _always,
    "--seconds": _always,
    "--reap": _always,
    "--name": _always,
    "--mask": _always,
    "--rsource": _always,
    "--mode": lambda text, _state, _: text == "random",
    "--comment": _always,
}
