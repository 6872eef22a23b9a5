"""A kernel as a value: a Document that changes are patched onto, on a copy, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping

from kproxy.core.document import Change, Content, Document, ObjectId, patch
from kproxy.errors import ApplyRejected, KernelError
from kproxy.ports import Outcome, Refusal


class FakeKernel:
    """Answers like the real door of a backend, from memory.

    `fails` is raised, once, by the next call that would write; `refuses` are
    objects that never land. What was applied is kept in `changes`, for tests
    that ask how much was written.
    """

    def __init__(self, document: Document | None = None) -> None:
        self.document: Document = dict(document or {})
        self.changes: list[Change] = []
        self.fails: KernelError | None = None
        self.refuses: frozenset[ObjectId] = frozenset()
        self.closed = False

    def observe(self) -> Document:
        return self.document

    def apply(self, change: Change) -> Outcome:
        outcome = self.check(change)
        self.document = patch(self.document, self._without_refused(change))
        self.changes.append(change)
        return outcome

    def check(self, change: Change) -> Outcome:
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        self._must_fit(change)
        refused = [(key, addition.owner) for key, addition in change.added.items() if key in self.refuses]
        return Outcome(tuple(Refusal(owner, str(key), "refused by the fake") for key, owner in refused))

    def close(self) -> None:
        self.closed = True

    def _must_fit(self, change: Change) -> None:
        stands = objects(self.document)
        for key, addition in change.added.items():
            if key in stands:
                raise ApplyRejected(f"{key}: exists already", addition.owner)
        for key, replacement in change.changed.items():
            if stands.get(key) != replacement.old:
                raise ApplyRejected(f"{key}: is not what the change says", replacement.owner)
        for key, removal in change.removed.items():
            if stands.get(key) != removal.content:
                raise ApplyRejected(f"{key}: cannot be removed, it is not there", removal.owner)

    def _without_refused(self, change: Change) -> Change:
        added = {key: addition for key, addition in change.added.items() if key not in self.refuses}
        return Change(added, change.changed, change.removed)


def objects(document: Document) -> Mapping[ObjectId, Content]:
    """All objects of a Document, whoever owns them."""
    return {key: content for fragment in document.values() for key, content in fragment.items()}
