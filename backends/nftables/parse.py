"""From netlink dumps to the Document that stands in the kernel.

Everything in our table is read: what we would not have put there appears too,
so that a diff removes it. If the table's frame is not of our layout (another
comment or flags, a base chain on another hook, a set of other properties), the
Document holds only that table with the reason, and a diff replaces it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from backends.nftables.encode import CONCAT, EVAL, INTERVAL, MAP, TIMEOUT, VERDICT_TYPE, padded, type_number
from backends.nftables.expression_codec import decode_rule, read_value, read_verdict
from backends.nftables.expressions import Code
from backends.nftables.layout import (
    CLUSTER_IPS,
    DISPATCH,
    FRONTENDS,
    HAIRPIN,
    HAIRPINS,
    HOOK_NUMBERS,
    HOOKS,
    NODEPORT_IPS,
    NODEPORT_PREFIX,
    NODEPORTS,
    POOLS,
    SHARED_IPS,
    STICKY,
    WORDS,
    Words,
    is_frontends,
    is_pool,
    standard_set,
)
from backends.nftables.objects import (
    TABLE_ID,
    TABLE_NAME,
    Chain,
    Element,
    ElementId,
    Rule,
    Set,
    Table,
    chain_id,
    element_id,
    key_of,
    name_of,
    set_id,
)
from kproxy.core.document import BASE, Content, Document, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.netlink.attributes import number, read, string, walk
from kproxy.netlink.messages import NFGENMSG, Message

POLICY_ACCEPT: Final = 1
_COMMENT: Final = 0


class NotOurs(ValueError):
    """The table is not of our layout; the text says in what."""


def is_ours(message: Message) -> bool:
    """Whether a dumped object belongs to our table; in every kind of object, attribute 1 is the table's name."""
    return string(attributes(message).get(1, b"")) == TABLE_NAME


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
    found = [item for name, messages in elements.items() for item in _elements(family, name, messages)]
    return _by_owner(WORDS[family], objects, found)


def _check_table(table: Mapping[int, bytes]) -> None:
    comment = _comment(table.get(6, b""))
    if number(table.get(2, b"")):
        raise NotOurs(f"flags {number(table[2]):#x}")
    if comment != Table().comment:
        raise NotOurs(f"comment {comment!r}")


def _comment(userdata: bytes) -> str:
    position = 0
    while position + 2 <= len(userdata):
        kind, length = userdata[position], userdata[position + 1]
        if kind == _COMMENT:
            return string(userdata[position + 2 : position + 2 + length])
        position += 2 + length
    return ""


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


def _elements(family: Family, name: str, messages: Iterable[Message]) -> Iterable[tuple[ElementId, Element]]:
    own = standard_set(family, name)
    if own is None or own.timeout_s:
        return  # clients of an affinity set are the kernel's to know
    for message in messages:
        for _, payload in walk(attributes(message).get(3, b"")):
            found = read(payload)
            key = read_value(found[1])
            if own.interval:
                key += read_value(found[10]) if 10 in found else key  # noqa: PLR2004 - NFTA_SET_ELEM_KEY_END
            yield element_id(name, key), Element(_data(own, found), _comment(found.get(6, b"")))


def _data(own: Set, found: Mapping[int, bytes]) -> bytes:
    if not own.is_map or 2 not in found:  # noqa: PLR2004 - NFTA_SET_ELEM_DATA
        return b""
    if not own.verdict:
        return read_value(found[2])
    verdict = read_verdict(found[2])
    return verdict.chain.encode() if verdict.code is Code.GOTO else f"{verdict.code.name}".encode()


def _by_owner(words: Words, objects: Mapping[ObjectId, Content], elements: list[tuple[ElementId, Element]]) -> Document:
    """Everything under its owner, as the compiler would put it; a frontend's comment tells whose it is."""
    frontends = {
        key_of(key): _owner_in(element.comment)
        for key, element in elements
        if element.comment and is_frontends(name_of(key))
    }
    document: dict[Owner, dict[ObjectId, Content]] = {}
    for key, content in objects.items():
        document.setdefault(_owner_of_named(key), {})[key] = content
    key_length = padded(words.key(node_port=False))
    node_key_length = padded(words.key(node_port=True))
    for key, element in elements:
        name = name_of(key)
        if element.comment:
            owner = _owner_in(element.comment)
        elif name in FIXED_OWNERS:
            owner = FIXED_OWNERS[name]
        else:
            length = node_key_length if name.startswith(NODEPORT_PREFIX) else key_length
            owner = frontends.get(key_of(key)[:length], BASE)
        document.setdefault(owner, {})[key] = element
    return document


FIXED_OWNERS: Final[Mapping[str, Owner]] = {HAIRPIN: HAIRPINS, CLUSTER_IPS: SHARED_IPS, NODEPORT_IPS: BASE}


def _owner_in(comment: str) -> Owner:
    return comment.partition(":")[0]


def _owner_of_named(key: ObjectId) -> Owner:
    name = name_of(key)
    if name.startswith(f"{STICKY}/"):
        return "/".join(name.split("/")[1:3])
    if is_frontends(name) or name in (DISPATCH, NODEPORTS):
        return FRONTENDS
    return POOLS if is_pool(name) else BASE
