"""YAML text with positions, whatever the text."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.config.yamltree import MAX_BYTES, MAX_DEPTH, Mapping, Position, Scalar, Sequence, Tree, read_documents
from kproxy.errors import ConfigError


def plain(tree: Tree) -> object:
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    return {plain(key): plain(value) for key, value in tree.entries}


def test_values_know_where_they_stand() -> None:
    (tree,) = read_documents("a: 1\nb:\n  - x\n  - yes\n", "f")
    assert isinstance(tree, Mapping)
    (_, one), (key, items) = tree.entries
    assert one == Scalar(Position(1, 4), 1, "1")
    assert key.at == Position(2, 1)
    assert isinstance(items, Sequence)
    assert [(item.at, item.value) for item in items.items if isinstance(item, Scalar)] == [
        (Position(3, 5), "x"),
        (Position(4, 5), True),
    ]


def test_a_repeated_key_is_kept_for_whoever_wants_to_complain() -> None:
    (tree,) = read_documents("a: 1\na: 2\n", "f")
    assert isinstance(tree, Mapping)
    assert len(tree.entries) == 2


def test_empty_documents_are_left_out() -> None:
    assert [plain(tree) for tree in read_documents("---\n# nothing\n---\na: 1\n---\n~\n", "f")] == [{"a": 1}]


def test_json_is_yaml() -> None:
    assert [plain(tree) for tree in read_documents('{"a": [1, 2.5, null, "x"]}', "f")] == [{"a": [1, 2.5, None, "x"]}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "f:2:1: not YAML"),
        ("a: b: c", "f:1:5: not YAML"),
        ("a: *x", "f:1: *x names no anchor"),
        ("a: !!int x", "f:1:4: 'x' cannot be read as"),
        ("a: \x01", "f: not YAML"),
        ("[" * 100_000, f"nested deeper than {MAX_DEPTH}"),
        ("- " * 100_000, f"nested deeper than {MAX_DEPTH}"),
        ("x" * (MAX_BYTES + 1), "are more than"),
        ("a: &x [*x]", "names no anchor"),
        ("--- &x a\n--- *x\n", "names no anchor"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^f") as caught:
        read_documents(text, "f")
    assert said in str(caught.value)


def test_aliases_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 50)]
    (tree,) = read_documents("\n".join(lines), "f")
    assert isinstance(tree, Mapping)
    assert len(tree.entries) == 50


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(value=VALUES.filter(lambda value: value is not None), flow=st.booleans())
def test_what_yaml_writes_is_read_back(value: object, flow: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    text = yaml.safe_dump(value, default_flow_style=flow)
    assert [plain(tree) for tree in read_documents(text, "f")] == [value]


@settings(deadline=None, max_examples=300)
@given(text=st.text(alphabet="abn01:.-+ \n\t[]{},&*!|>'\"#%@`?~<=\\\u2028é", max_size=60))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    try:
        trees = read_documents(text, "f")
    except ConfigError as error:
        assert str(error).startswith("f")  # noqa: PT017 - either outcome is right
    else:
        assert all(isinstance(tree, Scalar | Sequence | Mapping) for tree in trees)
