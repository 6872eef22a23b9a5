"""In which commits the chains of a change are written by `iptables-restore --noflush`: by table, and in portions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backends.iptables.names import FILTER, NAT
from kproxy.core.chains import ChainId, Edit, Edits, Rules, commit_lines, is_ours
from kproxy.core.values import Value


def inverse(changes: Edits) -> Edits:
    """The edits that take these back."""
    return {chain: Edit(edit.new, edit.old) for chain, edit in changes.items()}


class Section(Value, frozen=True):
    """Edits of one table that are committed together."""

    table: str
    edits: Edits


def sections(changes: Edits, most: int | None = None) -> list[Section]:
    """The commits that make the edits, in their order.

    One for each table; while these two are out of step nobody shall get
    through undecided, so the filter table comes first when it gains refusals, and
    else the nat table.

    Where more than `most` chains come, they are written ahead in portions, for
    nothing leads to them yet; where more go, they go in portions at the end, when
    nothing leads to them any more. See `kernel.PORTION` for the reason.
    """
    tables = (FILTER, NAT) if _grows(changes, FILTER) else (NAT, FILTER)
    ahead: list[Section] = []
    atomic: list[Section] = []
    behind: list[Section] = []
    for table in tables:
        part = {chain: edit for chain, edit in changes.items() if chain.table == table}
        if most is not None:
            ahead += _portions(table, part, most, [one for one, edit in part.items() if edit.old is None])
            behind += reversed(_portions(table, part, most, [one for one, edit in part.items() if edit.new is None]))
        if part:
            atomic.append(Section(table, part))
    return [*ahead, *atomic, *behind]


def _portions(table: str, part: dict[ChainId, Edit], most: int, chosen: list[ChainId]) -> list[Section]:
    """Take so many chains of ours out of the part that it pays, those first that others lead to."""
    own = {chain.chain: chain for chain in chosen if is_ours(chain.chain)}
    if len(own) <= most:
        return []
    rules = {name: part[chain].new or part[chain].old or () for name, chain in own.items()}
    names = _ordered(rules)
    portions = (names[start : start + most] for start in range(0, len(names), most))
    return [Section(table, {own[name]: part.pop(own[name]) for name in portion}) for portion in portions]


def _ordered(chains: Mapping[str, Rules]) -> list[str]:
    """The chains, each after those that its rules lead to."""
    seen: set[str] = set()
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name not in chains or name in seen:
            return
        seen.add(name)
        for rule in chains[name]:
            visit(rule[rule.rfind(" ") + 1 :])
        ordered.append(name)

    for name in chains:
        visit(name)
    return ordered


def section_lines(section: Section) -> list[str]:
    """A section as iptables-restore reads it."""
    return commit_lines(section.table, section.edits)


def restore_input(parts: Iterable[Section]) -> str:
    """The text of some sections."""
    return "".join(f"{line}\n" for section in parts for line in section_lines(section))


def _grows(changes: Edits, table: str) -> bool:
    return sum(len(edit.new or ()) - len(edit.old or ()) for chain, edit in changes.items() if chain.table == table) > 0
