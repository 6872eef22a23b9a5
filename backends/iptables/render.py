"""Documents and changes as input for iptables-restore, and changes for people to read.

All of it is meant for `--noflush`: chains of ours are named, and so emptied
and written anew, nothing else is touched. Our jumps go to the head of the
built-in chains, which are never named themselves, for that would set their policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Final, TypeAlias, cast

from backends.iptables.names import FILTER, NAT, TOOLS, ChainId, is_ours
from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.values import Family, Value

Rules: TypeAlias = tuple[str, ...]

HEADER: Final = """\
# {label} rules of kproxy; load them with {tool}-restore --noflush where none of kproxy's stand
"""


class Edit(Value, frozen=True):
    """The rules of a chain before and after; None: no chain. For a built-in chain: our jumps in it."""

    old: Rules | None
    new: Rules | None


Edits: TypeAlias = Mapping[ChainId, Edit]


def render(documents: Mapping[Family, Document]) -> str:
    """Whole documents, each below a comment that says which tool it is for."""
    return "".join(
        HEADER.format(label=family.label, tool=TOOLS[family]) + restore_input(creation(document))
        for family, document in documents.items()
    )


def render_change(change: Change) -> str:
    """A change for people: `+` and `-` before each rule, as `iptables -t TABLE` would be told."""
    return "".join(f"{line}\n" for chain, edit in edits(change).items() for line in _described(chain, edit))


def creation(document: Document) -> Edits:
    """The edits that make a document out of nothing."""
    return {
        _chain(key): Edit(None, _rules(content)) for fragment in document.values() for key, content in fragment.items()
    }


def edits(change: Change) -> Edits:
    """A change, chain by chain."""
    return {
        **{_chain(key): Edit(None, _rules(one.content)) for key, one in change.added.items()},
        **{_chain(key): Edit(_rules(one.old), _rules(one.new)) for key, one in change.changed.items()},
        **{_chain(key): Edit(_rules(one.content), None) for key, one in change.removed.items()},
    }


def inverse(changes: Edits) -> Edits:
    """The edits that take these back."""
    return {chain: Edit(edit.new, edit.old) for chain, edit in changes.items()}


def restore_input(changes: Edits) -> str:
    """What iptables-restore must read to make the edits: each table is one commit.

    While the two tables are out of step nobody shall get through undecided, so
    the filter table comes first when it gains refusals, and else the nat table.
    """
    tables = (FILTER, NAT) if _grows(changes, FILTER) else (NAT, FILTER)
    lines: list[str] = []
    for table in tables:
        part = [(chain.chain, edit) for chain, edit in changes.items() if chain.table == table]
        if part:
            lines += [f"*{table}", *_table_lines(part), "COMMIT", ""]
    return "\n".join(lines)


def _table_lines(part: list[tuple[str, Edit]]) -> Iterator[str]:
    """A chain that is named is emptied, and made if need be; one that goes is emptied first, and left last."""
    own = [(chain, edit) for chain, edit in part if is_ours(chain)]
    built_in = [(chain, edit) for chain, edit in part if not is_ours(chain)]
    for chain, _ in own:
        yield f":{chain} - [0:0]"
    for chain, edit in built_in:
        for rule in edit.old or ():
            yield f"-D {chain} {rule}"
    for chain, edit in own:
        start = f"-A {chain} "
        for rule in edit.new or ():
            yield start + rule
    for chain, edit in built_in:
        for rule in reversed(edit.new or ()):
            yield f"-I {chain} {rule}"
    for chain, edit in own:
        if edit.new is None:
            yield f"-X {chain}"


def _grows(changes: Edits, table: str) -> bool:
    return sum(len(edit.new or ()) - len(edit.old or ()) for chain, edit in changes.items() if chain.table == table) > 0


def _described(chain: ChainId, edit: Edit) -> Iterator[str]:
    if is_ours(chain.chain) and (edit.old is None or edit.new is None):
        yield f"{'-' if edit.new is None else '+'} {chain.table} -N {chain.chain}"
    old, new = edit.old or (), edit.new or ()
    for _, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[first:last] != new[start:end]:
            yield from (f"- {chain.table} -A {chain.chain} {rule}" for rule in old[first:last])
            yield from (f"+ {chain.table} -A {chain.chain} {rule}" for rule in new[start:end])


def _chain(key: ObjectId) -> ChainId:
    return cast("ChainId", key)


def _rules(content: Content) -> Rules:
    return cast("Rules", content)
