"""Documents as input for iptables-restore, and changes for people to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Final

from backends.iptables.restore import restore_input, sections
from kproxy.core.chains import ChainId, Edit, edits, is_ours
from kproxy.core.document import Change, Document, diff
from kproxy.core.values import Family

TOOLS: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}

HEADER: Final = """\
# {label} rules of kproxy; load them with {tool}-restore --noflush where none of kproxy's stand
"""


def render(documents: Mapping[Family, Document]) -> str:
    """Whole documents, each below a comment that says which tool it is for."""
    return "".join(
        HEADER.format(label=family.label, tool=TOOLS[family]) + restore_input(sections(edits(diff({}, document))))
        for family, document in documents.items()
    )


def render_change(change: Change) -> str:
    """A change for people: `+` and `-` before each rule, as `iptables -t TABLE` would be told."""
    return "".join(f"{line}\n" for chain, edit in edits(change).items() for line in _described(chain, edit))


def _described(chain: ChainId, edit: Edit) -> Iterator[str]:
    if is_ours(chain.chain) and (edit.old is None or edit.new is None):
        yield f"{'-' if edit.new is None else '+'} {chain.table} -N {chain.chain}"
    old, new = edit.old or (), edit.new or ()
    for _, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[first:last] != new[start:end]:
            yield from (f"- {chain.table} -A {chain.chain} {rule}" for rule in old[first:last])
            yield from (f"+ {chain.table} -A {chain.chain} {rule}" for rule in new[start:end])
