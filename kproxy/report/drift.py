"""What others did to our objects, counted by kind and named: the difference between what was left and what stands."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping

from kproxy.core.document import LEAVING, Change, Content, ObjectId
from kproxy.core.values import Family, Value
from kproxy.ports import Backend, Subject

NAMED = 3
"""How many objects are named."""


class Deed(enum.StrEnum):
    """What was done to an object of ours."""

    REMOVED = "removed"
    CHANGED = "changed"
    ADDED = "added"


class Noticed(enum.StrEnum):
    """How it came that the kernel was looked at."""

    TOLD = "notification"
    GLANCED = "glance"
    LOOKED = "look"
    """Nothing hinted at it; the kernel is looked at every now and then."""


class Drift(Value, frozen=True):
    """What differed in one family from what the last pass had left."""

    counts: Mapping[tuple[str, Deed], int] = {}
    """By the kind of object, in the backend's words, and what was done to it."""
    named: tuple[str, ...] = ()
    """The first few: `chain dispatch changed`."""
    noticed: Noticed = Noticed.LOOKED
    by: tuple[str, ...] = ()
    """Who had touched our rules, as far as the kernel says."""

    def __bool__(self) -> bool:
        return bool(self.counts)

    @property
    def objects(self) -> int:
        """How many objects differed."""
        return sum(self.counts.values())

    @property
    def summary(self) -> str:
        """`2 chains removed, 1 element changed`, the largest number first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{count} {kind if count == 1 else plural(kind)} {deed}" for (kind, deed), count in ordered)

    @property
    def examples(self) -> str:
        """The named ones, and how many more there are."""
        more = f" and {self.objects - len(self.named)} more" if self.objects > len(self.named) else ""
        return "; ".join(self.named) + more


class Drifts(Value, frozen=True):
    """What the drift of one family comes to since the agent's start."""

    objects: int = 0
    repairs: int = 0
    last: Drift = Drift()
    last_at: float | None = None
    """Seconds since the epoch."""

    def after(self, drift: Drift, at: float) -> Drifts:
        """The totals with one more repair; the same without any drift."""
        return Drifts(self.objects + drift.objects, self.repairs + 1, drift, at) if drift else self


def plural(kind: str) -> str:
    """`chains`, `addresses`."""
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def drift_told_by(repair: Change, backend: Backend, family: Family, noticed: Noticed, by: tuple[str, ...]) -> Drift:
    """What others did, told by the change that takes it back; empty if that is empty.

    What `observe` shows only because it is to go now is not theirs.
    """
    subjects = [(backend.subject(family, key, content), deed) for key, content, deed in _deeds(repair)]
    named = sorted(f"{subject.kind} {subject.name} {deed}" for subject, deed in _first(subjects))
    counts = Counter((subject.kind, deed) for subject, deed in subjects)
    return Drift(dict(counts), tuple(named), noticed, by)


def _deeds(repair: Change) -> Iterator[tuple[ObjectId, Content, Deed]]:
    yield from ((key, one.content, Deed.REMOVED) for key, one in repair.added.items())
    yield from ((key, one.new, Deed.CHANGED) for key, one in repair.changed.items())
    yield from ((key, one.content, Deed.ADDED) for key, one in repair.removed.items() if one.owner != LEAVING)


def _first(subjects: list[tuple[Subject, Deed]]) -> list[tuple[Subject, Deed]]:
    """A few of them, by name, so that the same drift is told in the same words."""
    return sorted(subjects, key=lambda one: (one[0].kind, one[0].name))[:NAMED]
