"""From netlink dumps to the Document that stands in the kernel.

Everything in our table is read: what we would not have put there appears too,
so that a diff removes it. If the table's frame is not of our layout (another
comment or flags, a base chain on another hook, a set of other properties), the
Document holds only that table with the reason, and a diff replaces it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from backends.nftables.encode import CONCAT, EVAL, INTERVAL, MAP, TIMEOUT, VERDICT_TYPE, padded, type_number
from backends.nftables.expression_codec import decode_rule
from backends.nftables.layout import (
    DISPATCH,
    FRONTENDS,
    HOOK_NUMBERS,
    HOOKS,
    NODEPORTS,
    POOLS,
    STICKY,
    WORDS,
    is_frontends,
    is_pool,
    standard_set,
)
from backends.nftables.objects import (
    TABLE_ID,
    Chain,
    Rule,
    Set,
    Table,
    chain_id,
    name_of,
    set_id,
)
from backends.nftables.parse_elements import Elements, add_elements, comment_in, read_elements
from kproxy.core.document import BASE, Content, Document, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.netlink.attributes import number, read, string
from kproxy.netlink.messages import NFGENMSG, Message

POLICY_ACCEPT: Final = 1


class NotOurs(ValueError):
    """The table is not of our layout; the text says in what."""


def is_of(message: Message, table: str) -> bool:
    """Whether a dumped object belongs to a table; in every kind of object, attribute 1 is the table's name."""
    return string(attributes(message).get(1, b"")) == table


def attributes(message: Message) -> Mapping[int, bytes]:
    """The attributes of a netfilter message."""
    return read(message.payload[NFGENMSG.size :])


def set_name(message: Message) -> str:
    """The name of a dumped set."""
    return string(attributes(message)[2])


def parse(
    family: Family,
    tables: Iterable[Message],
    chains: Iterable[Message],
    rules: Iterable[Message],
    sets: Iterable[Message],
    elements: Mapping[str, Sequence[Message]],
) -> Document:
    """The Document of dumps of our table's parts; `elements` by set. Empty if there is no such table."""
    ours = [attributes(message) for message in tables]
    if not ours:
        return {}
    try:
        _check_table(ours[0])
        objects: dict[ObjectId, Content] = {TABLE_ID: Table()}
        objects |= dict(_sets(family, sets))
        objects |= _chains(chains, _rules(rules))
    except NotOurs as reason:
        return {BASE: {TABLE_ID: Table(str(reason))}}
    document: dict[Owner, dict[ObjectId, Content]] = {}
    for key, content in objects.items():
        document.setdefault(_owner_of_named(key), {})[key] = content
    add_elements(document, dict(_elements(family, elements)), WORDS[family])
    return document


def _elements(family: Family, dumps: Mapping[str, Sequence[Message]]) -> Iterator[tuple[str, Elements]]:
    for name, messages in dumps.items():
        own = standard_set(family, name)
        if own is not None and not own.timeout_s:  # the clients of an affinity set are the kernel's to know
            yield name, read_elements(own, messages)


def _check_table(table: Mapping[int, bytes]) -> None:
    comment = comment_in(table.get(6, b""))
    if number(table.get(2, b"")):
        raise NotOurs(f"flags {number(table[2]):#x}")
    if comment != Table().comment:
        raise NotOurs(f"comment {comment!r}")


def _rules(messages: Iterable[Message]) -> dict[str, list[Rule]]:
    by_chain: dict[str, list[Rule]] = {}
    for message in messages:
        rule = attributes(message)
        by_chain.setdefault(string(rule[2]), []).append(decode_rule(rule.get(4, b"")))
    return by_chain


def _chains(messages: Iterable[Message], rules: Mapping[str, Sequence[Rule]]) -> dict[ObjectId, Content]:
    chains: dict[ObjectId, Content] = {}
    for message in messages:
        found = attributes(message)
        name = string(found[3])
        hook = HOOKS.get(name)
        expected = (hook.type, HOOK_NUMBERS[hook.name], hook.priority, POLICY_ACCEPT) if hook else None
        if _hook(found) != expected:
            raise NotOurs(f"chain {name} on another hook or with another policy")
        chains[chain_id(name)] = Chain(hook, tuple(rules.get(name, ())))
    return chains


def _hook(chain: Mapping[int, bytes]) -> tuple[str, int, int, int] | None:
    if 4 not in chain:  # noqa: PLR2004 - NFTA_CHAIN_HOOK
        return None
    hook = read(chain[4])
    priority = int.from_bytes(hook[2], "big", signed=True)
    return string(chain.get(7, b"")), number(hook[1]), priority, number(chain.get(5, b""))


def _sets(family: Family, messages: Iterable[Message]) -> Iterable[tuple[ObjectId, Content]]:
    for message in messages:
        found = attributes(message)
        name = string(found[2])
        own = standard_set(family, name)
        if own is None:
            raise NotOurs(f"set {name} is none of ours")
        if own.timeout_s:
            own = Set(own.key, timeout_s=number(found.get(11, b"")) // 1000)
        if _properties(found) != expected_properties(own):
            raise NotOurs(f"set {name} has other properties")
        yield set_id(name), own


def _properties(found: Mapping[int, bytes]) -> tuple[int, ...]:
    return tuple(number(found.get(kind, b"")) for kind in (3, 4, 5, 6))


def expected_properties(own: Set) -> tuple[int, ...]:
    """Flags, key type and length, data type, as the kernel tells them of a set of ours."""
    flags = (INTERVAL | CONCAT if own.interval else 0) | (MAP if own.is_map else 0)
    flags |= TIMEOUT | EVAL if own.timeout_s else 0
    data = VERDICT_TYPE if own.verdict else type_number(own.data)
    return flags, type_number(own.key), padded(own.key), data


def _owner_of_named(key: ObjectId) -> Owner:
    name = name_of(key)
    if name.startswith(f"{STICKY}/"):
        return "/".join(name.split("/")[1:3])
    if is_frontends(name) or name in (DISPATCH, NODEPORTS):
        return FRONTENDS
    return POOLS if is_pool(name) else BASE
