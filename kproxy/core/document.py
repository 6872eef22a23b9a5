"""Documents: what a backend wants in the kernel, as plain mappings, and the one diff between two of them.

A Document maps owners to fragments; a fragment maps object ids to contents.
What an object is (a chain, a set element, a virtual server) only the backend
knows. Sync, dry run, drift detection and the observer all use `diff`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeAlias

from kproxy.core.changes import Edited, changed_keys
from kproxy.core.values import Value

Owner: TypeAlias = str
"""Who wants an object: `namespace/name` of a Service, or a name without a slash for what no single Service owns."""
ObjectId: TypeAlias = Hashable
Content: TypeAlias = object
Fragment: TypeAlias = Mapping[ObjectId, Content]
Document: TypeAlias = Mapping[Owner, Fragment]

BASE: Owner = "base"
"""The owner of what stands whether or not there are Services."""
LEAVING: Owner = "leaving"
"""The owner of what `observe` shows only because it is to go now: we let go of it, so removing it is no repair."""
OBSERVED: Owner = "kernel"
"""The owner of what was read back: a kernel does not know whose a rule or a virtual server is."""


NOTHING: Fragment = {}


class Addition(Value, frozen=True):
    """An object that is wanted and not there."""

    owner: Owner
    content: Content


class Removal(Value, frozen=True):
    """An object that is there and not wanted."""

    owner: Owner
    content: Content


class Replacement(Value, frozen=True):
    """An object that is there with another content; `owner` is the wanting one."""

    owner: Owner
    old: Content
    new: Content


class Change(Value, frozen=True):
    """The way from one Document to another. An object that only changes its owner is no change."""

    added: Mapping[ObjectId, Addition]
    changed: Mapping[ObjectId, Replacement]
    removed: Mapping[ObjectId, Removal]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def owners(self) -> frozenset[Owner]:
        """Everyone whose objects change."""
        return frozenset(entry.owner for part in (self.added, self.changed, self.removed) for entry in part.values())


def diff(have: Document, want: Document) -> Change:
    """The change that turns `have` into `want`.

    A fragment that is the very same value in both costs one comparison of
    pointers. Objects are compared across owners, because a fragment read back
    from the kernel may not know to whom an object belongs.
    """
    before: dict[ObjectId, tuple[Owner, Content]] = {}
    after: dict[ObjectId, tuple[Owner, Content]] = {}
    for owner in sorted(changed_keys(have, want)):
        after.update((key, (owner, content)) for key, content in want.get(owner, {}).items())
        before.update((key, (owner, content)) for key, content in have.get(owner, {}).items())
    return _compare(before, after)


def _compare(
    before: Mapping[ObjectId, tuple[Owner, Content]], after: Mapping[ObjectId, tuple[Owner, Content]]
) -> Change:
    added: dict[ObjectId, Addition] = {}
    changed: dict[ObjectId, Replacement] = {}
    for key, (owner, content) in after.items():
        old = before.get(key)
        if old is None:
            added[key] = Addition(owner, content)
        elif old[1] != content:
            changed[key] = Replacement(owner, old[1], content)
    removed = {key: Removal(owner, content) for key, (owner, content) in before.items() if key not in after}
    return Change(added, changed, removed)


def patch(have: Document, change: Change) -> dict[Owner, dict[ObjectId, Content]]:
    """What `have` becomes when the change is applied: the kernel's model as a function, for fakes and properties."""
    gone = change.removed.keys() | change.changed.keys()
    result = {
        owner: {key: content for key, content in fragment.items() if key not in gone}
        for owner, fragment in have.items()
    }
    for key, replacement in change.changed.items():
        result.setdefault(replacement.owner, {})[key] = replacement.new
    for key, addition in change.added.items():
        result.setdefault(addition.owner, {})[key] = addition.content
    return {owner: fragment for owner, fragment in result.items() if fragment}


def edited(document: Document, fragments: Mapping[Owner, Fragment]) -> Document:
    """The document with these fragments: an empty one goes, an equal one stays the object that it was."""
    edits = {owner: fragment for owner, fragment in fragments.items() if document.get(owner, NOTHING) != fragment}
    if not edits:
        return document
    gone = [owner for owner, fragment in edits.items() if not fragment]
    return Edited(document, {owner: fragment for owner, fragment in edits.items() if fragment}, gone)
