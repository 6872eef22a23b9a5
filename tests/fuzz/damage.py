"""Changes in netlink messages that keep all lengths right; most others end at the door, before anything is read."""

from __future__ import annotations

from random import Random

from kproxy.netlink.attributes import Malformed, attribute, nested, walk
from kproxy.netlink.messages import Message, message
from kproxy.netlink.messages import walk as messages

HEADER = 4
"""struct nfgenmsg and struct genlmsghdr alike, before the attributes."""
NESTED = 0x8000
Tree = list[tuple[int, "bytes | Tree"]]


def tree(payload: bytes) -> Tree:
    """The attributes, each with its payload, or with its own attributes where it looks as if it had some."""
    return [(kind, _inner(inner)) for kind, inner in walk(payload)]


def _inner(payload: bytes) -> bytes | Tree:
    if len(payload) < HEADER + 1:
        return payload
    try:
        found = tree(payload)
    except Malformed:
        return payload
    return found if found and packed(found) == payload else payload


def packed(attributes: Tree) -> bytes:
    """Attributes as they are sent."""
    return b"".join(
        attribute(kind, inner) if isinstance(inner, bytes) else nested(kind, packed(inner))
        for kind, inner in attributes
    )


def hurt(chance: Random, attributes: Tree) -> None:
    """Change one attribute somewhere: drop it, double it, give it another type or other bytes."""
    if not attributes:
        return
    at = chance.randrange(len(attributes))
    kind, inner = attributes[at]
    if isinstance(inner, list) and chance.random() < 0.8:
        hurt(chance, inner)
        return
    what = chance.randrange(4)
    if what == 0:
        del attributes[at]
    elif what == 1:
        attributes.insert(at, (kind, inner))
    elif what == 2:
        attributes[at] = chance.randrange(1, 24), inner
    else:
        attributes[at] = kind, chance.randbytes(chance.choice((0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 24)))


def hurt_messages(chance: Random, buffer: bytes) -> bytes:
    """One of the messages with one attribute changed; the buffer as it was if it is none of messages."""
    try:
        found = list(messages(buffer))
        at = chance.randrange(len(found)) if found else 0
        return b"".join(_again(chance, one, is_it=number == at) for number, one in enumerate(found)) or buffer
    except Malformed:
        return buffer


def _again(chance: Random, one: Message, *, is_it: bool) -> bytes:
    payload = one.payload
    if is_it:
        attributes = tree(payload[HEADER:])
        hurt(chance, attributes)
        payload = payload[:HEADER] + packed(attributes)
    padded = payload + bytes(-len(payload) % 4)
    return message(one.kind, one.flags, one.sequence, padded)
