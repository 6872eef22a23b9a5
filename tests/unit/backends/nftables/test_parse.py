"""What a kernel sent of tables that nft loaded, read back; and every way in which a table is not ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.nftables.compile import compile_plan
from backends.nftables.objects import LAYOUT, TABLE_ID, Table
from backends.nftables.parse import parse
from backends.nftables.probe import probe_plan
from kproxy.core.document import BASE, Document
from kproxy.core.values import Family
from kproxy.netlink.attributes import attribute, nested, read, text, u32
from kproxy.netlink.attributes import walk as walk_attributes
from kproxy.netlink.messages import NLMSG_DONE, Message, walk

CAPTURES = json.loads((Path(__file__).parents[3] / "data" / "netlink" / "captures.json").read_text())["tables"]
FAMILIES = {Family.IPV4: "ip", Family.IPV6: "ip6"}

Dumps = dict[str, Any]


def dumps_of(family: Family) -> Dumps:
    captured: Mapping[str, Any] = CAPTURES[FAMILIES[family]]
    found: Dumps = {name: _messages(captured[name]) for name in ("tables", "chains", "rules", "sets")}
    found["elements"] = {name: _messages(text) for name, text in captured["elements"].items()}
    return found


def _messages(text: str) -> list[Message]:
    return [message for message in walk(bytes.fromhex(text)) if message.kind != NLMSG_DONE]


def read_back(family: Family, dumps: Dumps) -> Document:
    return parse(family, dumps["tables"], dumps["chains"], dumps["rules"], dumps["sets"], dumps["elements"])


@pytest.mark.parametrize("family", Family)
def test_a_table_that_nft_loaded_is_read_as_what_was_compiled(family: Family) -> None:
    assert read_back(family, dumps_of(family)) == compile_plan(probe_plan(family), None).document


def test_without_a_table_there_is_nothing() -> None:
    assert parse(Family.IPV4, [], [], [], [], {}) == {}


def with_attribute(message: Message, kind: int, payload: bytes | None) -> Message:
    """The message with an attribute replaced, added, or (None) left out."""
    attributes = {**read(message.payload[4:]), kind: payload}
    rest = b"".join(attribute(one, value) for one, value in attributes.items() if value is not None)
    return message._replace(payload=message.payload[:4] + rest)


def edit(dumps: Dumps, part: str, name: bytes, name_kind: int, kind: int, payload: bytes | None) -> None:
    dumps[part] = [
        with_attribute(one, kind, payload) if read(one.payload[4:]).get(name_kind) == name else one
        for one in dumps[part]
    ]


HOOK_ELSEWHERE = read(nested(4, u32(1, 0), u32(2, 5)))[4]


@pytest.mark.parametrize(
    ("part", "name", "name_kind", "kind", "payload"),
    [
        ("tables", b"kproxy\0", 1, 2, u32(1, 1)[4:]),
        ("tables", b"kproxy\0", 1, 6, None),
        ("tables", b"kproxy\0", 1, 6, b"\0\x03ab\0"),
        ("chains", b"prerouting\0", 3, 4, HOOK_ELSEWHERE),
        ("chains", b"prerouting\0", 3, 4, None),
        ("chains", b"input\0", 3, 5, bytes(4)),
        ("chains", b"dispatch\0", 3, 4, HOOK_ELSEWHERE),
        ("sets", b"cluster-ips\0", 2, 2, b"foreign\0"),
        ("sets", b"cluster-ips\0", 2, 3, u32(1, 4)[4:]),
        ("sets", b"cluster-ips\0", 2, 5, u32(1, 16)[4:]),
        ("sets", b"sticky-cluster\0", 2, 6, u32(1, 7)[4:]),
    ],
    ids=[
        "dormant",
        "no comment",
        "another comment",
        "other priority",
        "no hook",
        "policy drop",
        "a hook too many",
        "foreign set",
        "flags",
        "key length",
        "data type",
    ],
)
def test_a_frame_that_is_not_ours_is_a_table_to_replace(
    part: str, name: bytes, name_kind: int, kind: int, payload: bytes | None
) -> None:
    dumps = dumps_of(Family.IPV4)
    edit(dumps, part, name, name_kind, kind, payload)
    found = read_back(Family.IPV4, dumps)
    assert found.keys() == {BASE}
    assert found[BASE].keys() == {TABLE_ID}
    table = found[BASE][TABLE_ID]
    assert isinstance(table, Table)
    assert table.comment != LAYOUT


def test_a_rule_that_was_tampered_with_is_another_chain() -> None:
    dumps = dumps_of(Family.IPV4)
    dumps["rules"] = dumps["rules"][1:]
    want = compile_plan(probe_plan(Family.IPV4), None).document
    found = read_back(Family.IPV4, dumps)
    assert found != want
    assert {key for owner in want for key in want[owner] if found[owner].get(key) != want[owner][key]}


def test_an_unknown_chain_and_its_rules_are_seen() -> None:
    dumps = dumps_of(Family.IPV4)
    chain = next(one for one in dumps["chains"] if read(one.payload[4:])[3] == b"dispatch\0")
    dumps["chains"] = [*dumps["chains"], with_attribute(chain, 3, b"foreign\0")]
    assert "chain foreign" in read_back(Family.IPV4, dumps)[BASE]


def test_elements_know_their_service_by_comment_or_by_frontend() -> None:
    found = read_back(Family.IPV4, dumps_of(Family.IPV4))
    names = {key.partition(b"\0")[0] for key in found["kproxy/probe"] if isinstance(key, bytes)}
    assert {b"cluster-ips", b"cluster-pool-1", b"nodeport-local-pool-1", b"source-ranges", b"sticky-local"} <= names


def test_element_without_its_frontend_belongs_to_the_base() -> None:
    dumps = dumps_of(Family.IPV4)
    dumps["elements"] = {name: [] if "frontends" in name else found for name, found in dumps["elements"].items()}
    orphans = [key for key in read_back(Family.IPV4, dumps)[BASE] if isinstance(key, bytes)]
    assert orphans
    assert all(b"-pool-" in key or b"source-ranges" in key for key in orphans)


def test_the_clients_that_affinity_remembers_are_no_objects() -> None:
    dumps = dumps_of(Family.IPV4)
    name = next(name for name in dumps["elements"] if name.startswith("sticky/"))
    element = nested(1, nested(1, attribute(1, b"\x0a\0\0\1")))
    payload = b"\2\0\0\0" + text(1, "kproxy") + text(2, name) + nested(3, element)
    dumps["elements"][name] = [Message(0xA0C, 2, 1, 0, payload)]
    assert read_back(Family.IPV4, dumps) == compile_plan(probe_plan(Family.IPV4), None).document


def test_captures_hold_every_kind_of_expression() -> None:
    names = set()
    for message in dumps_of(Family.IPV4)["rules"]:
        for _, expression in walk_attributes(read(message.payload[4:])[4]):
            names.add(read(expression)[1].rstrip(b"\0").decode())
    assert names >= {"payload", "meta", "ct", "fib", "cmp", "bitwise", "lookup", "numgen", "immediate", "nat", "masq"}
    assert names >= {"reject", "dynset", "byteorder"}
