"""Every expression, to the kernel's attributes and back; whatever differs is not ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nftables import expressions as ex
from backends.nftables.expression_codec import decode_rule, encode, encode_rule, register, word_of
from kproxy.netlink.attributes import attribute, nested, read, text, u32, walk

WORDS = st.integers(0, 15)
NAMES = st.sampled_from(("services", "frontends/any-masquerade-cluster"))
BYTES = st.binary(min_size=1, max_size=16)
EXPRESSIONS = st.one_of(
    st.builds(ex.Payload, st.sampled_from(ex.Base), st.integers(0, 255), st.integers(1, 16), WORDS),
    st.builds(ex.Meta, st.sampled_from(ex.MetaKey), WORDS),
    st.builds(ex.SetMeta, st.sampled_from(ex.MetaKey), WORDS),
    st.builds(ex.Ct, st.sampled_from(ex.CtKey), WORDS),
    st.builds(ex.Fib, st.booleans(), WORDS),
    st.builds(ex.Compare, WORDS, st.sampled_from(ex.Op), BYTES),
    st.builds(lambda word, pair: ex.Bitwise(word, *pair), WORDS, BYTES.map(lambda mask: (mask, bytes(len(mask))))),
    st.builds(ex.Byteorder, WORDS),
    st.builds(ex.Lookup, NAMES, WORDS, st.none() | WORDS | st.just(ex.VERDICT_WORD), st.booleans()),
    st.builds(ex.Numgen, st.integers(1, 65536), WORDS),
    st.builds(ex.Immediate, WORDS, BYTES),
    st.builds(ex.Jump, st.sampled_from((ex.Code.JUMP, ex.Code.GOTO)), NAMES),
    st.builds(ex.Jump, st.sampled_from((ex.Code.DROP, ex.Code.ACCEPT, ex.Code.RETURN))),
    st.builds(ex.Dnat, st.sampled_from((2, 10)), WORDS, WORDS),
    st.just(ex.Masquerade()),
    st.builds(ex.Reject, st.sampled_from((3, 4))),
    st.builds(ex.Update, NAMES, WORDS),
)


@given(st.lists(EXPRESSIONS, max_size=6))
def test_a_rule_is_read_as_it_was_written(rule: list[ex.Expression]) -> None:
    assert decode_rule(encode_rule(tuple(rule))) == tuple(rule)


@given(EXPRESSIONS, st.data())
def test_an_expression_with_one_attribute_changed_is_another(expression: ex.Expression, data: st.DataObject) -> None:
    ((_, outer),) = walk(encode(expression))
    inside = read(read(outer)[2])
    kind = data.draw(st.sampled_from(sorted(inside)))
    inside[kind] = bytes([inside[kind][0] ^ 0x55]) + inside[kind][1:]
    changed = b"".join(attribute(one, payload) for one, payload in inside.items())
    name = read(outer)[1]
    (found,) = decode_rule(nested(1, attribute(1, name), nested(2, changed)))
    assert found != expression


@given(EXPRESSIONS)
def test_attributes_that_a_later_kernel_adds_are_no_difference(expression: ex.Expression) -> None:
    ((_, outer),) = walk(encode(expression))
    parts = read(outer)
    if parts[1] == b"immediate\0" and isinstance(expression, ex.Jump):
        return  # its data are nested one deeper
    more = nested(1, attribute(1, parts[1]), nested(2, parts[2], u32(99, 1)))
    assert decode_rule(more) == (expression,)


@pytest.mark.parametrize(
    "attributes",
    [
        text(1, "counter") + nested(2, u32(1, 1)),
        text(1, "payload"),
        text(1, "meta") + nested(2, u32(2, 4711), u32(1, 1)),
        text(1, "immediate") + nested(2, u32(1, 0), nested(2, nested(2, u32(1, 0x7FFFFFFF)))),
        b"",
    ],
    ids=["unknown", "without attributes", "unknown key", "unknown verdict", "nothing"],
)
def test_what_is_not_ours_is_opaque_and_written_back(attributes: bytes) -> None:
    (found,) = decode_rule(nested(1, attributes))
    assert isinstance(found, ex.Opaque)


@given(WORDS)
def test_registers_are_numbered_as_the_kernel_does(word: int) -> None:
    payload = register(word).to_bytes(4, "big")
    assert word_of(payload) == word
    assert register(word) < 5 if word % 4 == 0 else register(word) > 8


def test_the_verdict_register_is_number_zero() -> None:
    assert register(ex.VERDICT_WORD) == 0
