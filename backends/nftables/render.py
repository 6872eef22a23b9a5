"""A Document, or a Change, as text: input for `nft -f`, and lines for people.

The text begins with `table … {}` and `delete table …`, so that it loads whatever
stood there: this nft (1.0.6) refuses a later rule that names a map with `th`
fields which is in the kernel already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from backends.nftables.layout import HOOKS, STICKY_SIZE, WORDS, standard_set
from backends.nftables.objects import TABLE_ID, TABLE_NAME, Chain, Element, Field, Set, Table, key_of, name_of
from backends.nftables.rule_text import rule_text
from backends.nftables.text import element_text
from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.values import Family

_ORDER: Final = {Table: 0, Set: 1, Chain: 2, Element: 3}
DIGITS: Final = 10


def render(documents: Mapping[Family, Document], table: str = TABLE_NAME) -> str:
    """The tables of all families, loadable by `nft -f`."""
    heads = {family: f"{WORDS[family].name} {table}" for family in documents}
    return "".join(_render_table(heads[family], family, document) for family, document in sorted(documents.items()))


def _render_table(head: str, family: Family, document: Document) -> str:
    objects = {key: content for fragment in document.values() for key, content in fragment.items()}
    if not objects:
        return f"table {head} {{}}\ndelete table {head}\n"
    own = objects[TABLE_ID]
    elements: dict[str, list[tuple[bytes, Element]]] = {}
    named: list[tuple[str, Set | Chain]] = []
    for key, content in objects.items():
        if isinstance(content, Element) and isinstance(key, bytes):
            elements.setdefault(name_of(key), []).append((key_of(key), content))
        elif isinstance(content, Set | Chain):
            named.append((name_of(key), content))
    comment = own.comment if isinstance(own, Table) else ""
    lines = [f"table {head} {{}}", f"delete table {head}", f"table {head} {{", f'\tcomment "{comment}"']
    for name, content in sorted(named, key=_print_order):
        lines += _set_lines(name, content, elements.get(name, [])) if isinstance(content, Set) else []
        lines += _chain_lines(family, name, content) if isinstance(content, Chain) else []
    return "\n".join([*lines, "}", ""])


def _print_order(item: tuple[str, Set | Chain]) -> tuple[int, bool, list[str | tuple[int, str]], str]:
    """Sets before chains, base chains last; `cluster-pool-10` after `cluster-pool-9`."""
    name, content = item
    head, _, size = name.rpartition("-")
    numbered = (head, int(size)) if size.isdecimal() else (name, 0)
    return _ORDER[type(content)], name in HOOKS, [], f"{numbered[0]}\0{numbered[1]:0{DIGITS}}"


def _set_lines(name: str, own: Set, elements: list[tuple[bytes, Element]]) -> list[str]:
    kind = "map" if own.is_map else "set"
    lines = [f"\t{kind} {name} {{", f"\t\t{declaration(own)}"]
    if own.interval:
        lines.append("\t\tflags interval")
    if own.timeout_s:
        lines += [f"\t\tsize {STICKY_SIZE}", "\t\tflags dynamic,timeout", f"\t\ttimeout {own.timeout_s}s"]
    if elements:
        texts = [element_text(own, key, element) for key, element in sorted(elements, key=lambda item: item[0])]
        lines.append("\t\telements = { " + ",\n\t\t\t     ".join(texts) + " }")
    return [*lines, "\t}", ""]


def declaration(own: Set) -> str:
    """`type ipv4_addr . inet_proto`, or `typeof …` where an integer is in the key."""

    def words(fields: Iterable[Field]) -> str:
        return " . ".join(field.typeof if own.is_typed_by_origin else field.type for field in fields)

    data = " : verdict" if own.verdict else f" : {words(own.data)}" if own.data else ""
    return f"{'typeof' if own.is_typed_by_origin else 'type'} {words(own.key)}{data}"


def _chain_lines(family: Family, name: str, chain: Chain) -> list[str]:
    lines = [f"\tchain {name} {{"]
    if chain.hook:
        lines.append(
            f"\t\ttype {chain.hook.type} hook {chain.hook.name} priority {chain.hook.priority}; policy accept;"
        )
    return [*lines, *(f"\t\t{rule_text(family, rule)}" for rule in chain.rules), "\t}", ""]


def describe(family: Family, key: ObjectId, content: Content, table: str = TABLE_NAME) -> list[str]:
    """One object as lines: `element cluster-pool-2 { … }`, `chain … { … }` with a line per rule."""
    name = name_of(key)
    if isinstance(content, Element) and isinstance(key, bytes):
        own = standard_set(family, name)
        return [f"element {name} {{ {element_text(own, key_of(key), content) if own else key_of(key).hex()} }}"]
    if isinstance(content, Set):
        return [f"{'map' if content.is_map else 'set'} {name} {{ {declaration(content)} }}"]
    if isinstance(content, Chain):
        return [f"chain {name}", *(f"rule {name} {rule_text(family, rule)}" for rule in content.rules)]
    return [f"table {WORDS[family].name} {table}"]


def render_change(family: Family, change: Change, table: str = TABLE_NAME) -> str:
    """A change line by line, `- ` what goes, `+ ` what comes, `~ ` what differs unseen, with its owner behind it."""
    lines: list[tuple[str, int, str]] = []
    for key, removal in change.removed.items():
        lines += [(removal.owner, 0, f"- {line}") for line in describe(family, key, removal.content, table)]
    for key, replacement in change.changed.items():
        old, new = (Counter(describe(family, key, content, table)) for content in (replacement.old, replacement.new))
        lines += [(replacement.owner, 0, f"- {line}") for line in (old - new).elements()]
        lines += [(replacement.owner, 1, f"+ {line}") for line in (new - old).elements()]
        if old == new:
            lines.append((replacement.owner, 1, f"~ {next(iter(old))} (other order, or reads alike and is not)"))
    for key, addition in change.added.items():
        lines += [(addition.owner, 1, f"+ {line}") for line in describe(family, key, addition.content, table)]
    return "".join(f"{line}  # {owner}\n" for owner, _, line in sorted(lines))
