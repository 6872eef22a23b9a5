"""Dispatch as a tree of chains, so that a packet meets tens of rules and not thousands.

Rules are keyed by an integer: the bits of an address, two of the protocol,
sixteen of the port (or only some of these). Few rules stand in one chain. More
are split by the next bits of the key, a chain for each value that has more
than a few; bits that all keys share are skipped. The shape follows from
the set of keys alone, so that one rule more changes the chains on its way only.
"""

from __future__ import annotations

import socket
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from backends.iptables.names import tree_chain
from backends.iptables.words import LOWER
from kproxy.core.chains import ChainId
from kproxy.core.document import Content, Fragment, ObjectId
from kproxy.core.values import Family, Protocol, Value

LEAF: Final = 8
"""So many rules stand in one chain without a further split."""
STEP: Final = 2
"""Bits per split: four ways. Measured; see docs/backends/iptables.md."""
INLINE: Final = 2
"""A branch of so few rules gets no chain of its own."""
DEEPEST: Final = 10
"""So many chains lie below one another at most.

A packet may be 15 chains below a built-in one, counted by goto and jump alike
(`NFT_JUMP_STACK_SIZE`, net/netfilter/nf_tables_api.c), or the kernel refuses all rules.
Two come before a tree, three after it (fence, table, pool).
"""

PROTOCOL_BITS: Final = 2
PORT_BITS: Final = 16
PORTS: Final = PROTOCOL_BITS + PORT_BITS
PROTOCOL_CODES: Final = {Protocol.TCP: 1, Protocol.UDP: 2, Protocol.SCTP: 3}
BY_CODE: Final = {code: LOWER[protocol] for protocol, code in PROTOCOL_CODES.items()}


class Layout(Value, frozen=True):
    """How the keys of one tree are made, and what its chains are called."""

    root: ChainId
    letter: str
    family: Family
    address_bits: int
    """0: no address in the key."""
    port_bits: int = PORTS
    """`PORTS`, or 0: neither protocol nor port in the key."""
    option: str = "-d"
    """The option that matches the address."""

    @property
    def bits(self) -> int:
        """The length of a key."""
        return self.address_bits + self.port_bits

    def chain(self, value: int, depth: int) -> ChainId:
        """The chain for keys that begin so."""
        return ChainId(self.root.table, tree_chain(self.letter, value, depth))

    def match(self, value: int, depth: int, known: int) -> str:
        """What says that a key begins with the `depth` bits of `value`, when the first `known` bits are settled."""
        bits = min(depth, self.address_bits)
        words = f"{self.option} {self._prefix(value >> (depth - bits), bits)} " if known < bits else ""
        if depth <= self.address_bits:
            return words
        rest = depth - self.address_bits - PROTOCOL_BITS
        protocol = BY_CODE[value >> rest & 3]
        words += f"-p {protocol} "
        if not rest:
            return words
        first = value << (PORT_BITS - rest) & 0xFFFF
        last = first | (1 << (PORT_BITS - rest)) - 1
        return words + f"-m {protocol} --dport {first}:{last} "

    def _prefix(self, value: int, bits: int) -> str:
        number = value << (self.address_bits - bits)
        if self.family is Family.IPV6:
            return f"{socket.inet_ntop(socket.AF_INET6, number.to_bytes(16))}/{bits}"
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/{bits}"

    def boundary(self, depth: int) -> int:
        """The deepest place not below `depth` bits where keys may be split."""
        if depth <= self.address_bits:
            return depth - depth % STEP
        rest = depth - self.address_bits - PROTOCOL_BITS
        return self.address_bits if rest < 0 else depth - rest % STEP

    def below(self, depth: int) -> int:
        """The next such place."""
        return depth + (PROTOCOL_BITS if depth == self.address_bits else STEP)


def grow(layout: Layout, rules: Mapping[int, str]) -> Fragment:
    """All chains of a tree whose leaves are `rules`; its root stands even when there are none."""
    keys = sorted(rules)
    chains: dict[ObjectId, Content] = {}
    pending = [_Branch(layout.root, 0, len(keys), 0, DEEPEST)]
    while pending:
        branch = pending.pop()
        if branch.high - branch.low <= LEAF or not branch.levels:
            chains[branch.chain] = tuple([rules[key] for key in keys[branch.low : branch.high]])
            continue
        body: list[str] = []
        for low, high in _parts(layout, keys, branch.low, branch.high, (branch.high - branch.low) // 2):
            if high - low <= INLINE:
                body += [rules[key] for key in keys[low:high]]
                continue
            depth = _common(layout, keys[low], keys[high - 1])
            value = keys[low] >> layout.bits - depth
            chain = layout.chain(value, depth)
            body.append(f"{layout.match(value, depth, branch.known)}-g {chain.chain}")
            pending.append(_Branch(chain, low, high, depth, branch.levels - 1))
        chains[branch.chain] = tuple(body)
    return chains


def port_key(address: int, protocol: Protocol, port: int) -> int:
    """The key of a rule for an address (0 in a tree without addresses), protocol and port."""
    return address << PORTS | PROTOCOL_CODES[protocol] << PORT_BITS | port


class _Branch(NamedTuple):
    """The keys from index `low` to `high`, whose first `known` bits are alike and were matched on the way."""

    chain: ChainId
    low: int
    high: int
    known: int
    levels: int
    """How many levels of chains may still come below."""


def _parts(layout: Layout, keys: Sequence[int], low: int, high: int, most: int) -> Iterator[tuple[int, int]]:
    """The index ranges of keys that share their bits up to the next split; none that is split again has over `most`.

    What would hold more than half of a chain's keys is split at once, so that
    however keys are chosen, every chain halves their number at least.
    """
    depth = layout.below(_common(layout, keys[low], keys[high - 1]))
    shift = layout.bits - depth
    while low < high:
        end = bisect_left(keys, (keys[low] >> shift) + 1 << shift, low, high)
        if end - low > max(most, LEAF):
            yield from _parts(layout, keys, low, end, most)
        else:
            yield low, end
        low = end


def _common(layout: Layout, first: int, last: int) -> int:
    """How many leading bits two keys share, down to a place where keys may be split."""
    return layout.boundary(layout.bits - (first ^ last).bit_length())
