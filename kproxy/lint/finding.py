"""What a check is, and what it finds. Values only; a check has one severity, so that its code says how bad it is."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from kproxy.core.model import NO_NAMESPACE
from kproxy.core.values import ObjectKey, Value

S = TypeVar("S")


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """It does not work, or lets in whom it should not."""
    WARNING = "warning"
    """It works, but hardly as it is meant, or it is needlessly open."""
    INFO = "info"
    """Good to know."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return _RANKS.index(self)


_RANKS = tuple(Severity)


class Ref(Value, frozen=True):
    """An object that a finding is about; `kind` may be that of a configuration."""

    kind: str
    key: ObjectKey

    def __str__(self) -> str:
        if self.key.namespace:
            return f"{self.kind} {self.key}"
        return f"{self.kind} {self.key.name}" if self.key.name else self.kind


def service(key: ObjectKey) -> Ref:
    """A Service."""
    return Ref("Service", key)


def endpoint_slice(key: ObjectKey) -> Ref:
    """An EndpointSlice."""
    return Ref("EndpointSlice", key)


def cluster_scoped(kind: str, name: str = "") -> Ref:
    """A Node, or a configuration."""
    return Ref(kind, ObjectKey(NO_NAMESPACE, name))


class Place(Value, frozen=True):
    """Where an object is written: the file, and the line from 1 (0 when unknown)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Found(Value, frozen=True):
    """One thing that a check has to say."""

    object: Ref
    field: str
    value: str
    reason: str
    """What follows from it here, as a sentence without its full stop."""
    remedy: str = ""
    """Instead of the check's own."""
    place: Place | None = None


class Check(Value, Generic[S], frozen=True):
    """A row of the catalogue. `find` gets the subject of all checks."""

    code: str
    """`KPX010`: stable, never given to another check."""
    severity: Severity
    title: str
    why: str
    remedy: str
    find: Callable[[S], Iterable[Found]]


class Finding(Value, frozen=True):
    """What a check found, complete."""

    code: str
    severity: Severity
    title: str
    object: Ref
    field: str
    value: str
    reason: str
    remedy: str
    place: Place | None = None
