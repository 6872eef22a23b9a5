"""kproxy's own rules: every object that differs, told by Service, line by line as the backend writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kproxy.audit.compare import Difference, Kind
from kproxy.core.document import LEAVING, Change, Content, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.ports import Backend

COMMENT: Final = re.compile(r'(?:--comment|comment) "([a-z0-9.-]+/[a-z0-9.-]+)[:" ]')
REMEMBERED: Final = frozenset({"connection timeout", "drain time", "fallback", "kernel parameter"})
"""Kinds that IPVS's door knows only if it set them itself, since no object in the kernel bears our name for them."""
MARKS: Final = {"+": Kind.MISSING, "-": Kind.EXTRA}


def comparable(family: Family, repair: Change, backend: Backend) -> Change:
    """A repair without what a door that is newly opened cannot know."""

    def is_known(key: ObjectId, content: Content) -> bool:
        return backend.subject(family, key, content).kind not in REMEMBERED

    return Change(
        {key: one for key, one in repair.added.items() if is_known(key, one.content)},
        {key: one for key, one in repair.changed.items() if is_known(key, one.new)},
        {key: one for key, one in repair.removed.items() if is_known(key, one.content)},
    )


def own_differences(family: Family, repair: Change, backend: Backend) -> list[Difference]:
    """What a repair would put right: a line that it adds is missing, one that it removes is extra.

    What a rule's comment names is its Service; else it is whoever wants the object.
    """
    return [
        found
        for key, content, owner, part in _objects(comparable(family, repair, backend))
        for found in _lines(family, backend, key, content, owner, part)
    ]


def _objects(repair: Change) -> Iterator[tuple[ObjectId, Content, Owner, Change]]:
    """Every object with a change of its own; what is there only because it is to go now is no difference."""
    for key, added in repair.added.items():
        yield key, added.content, added.owner, Change({key: added}, {}, {})
    for key, changed in repair.changed.items():
        yield key, changed.new, changed.owner, Change({}, {key: changed}, {})
    for key, removed in repair.removed.items():
        if removed.owner != LEAVING:
            yield key, removed.content, removed.owner, Change({}, {}, {key: removed})


def _lines(
    family: Family, backend: Backend, key: ObjectId, content: Content, owner: Owner, part: Change
) -> Iterator[Difference]:
    subject = backend.subject(family, key, content)
    where = f"{subject.kind} {subject.name}"
    lines = [line for line in backend.render_change(family, part).splitlines() if line[:1] in MARKS]
    for line in lines:
        named = COMMENT.search(line)
        yield Difference(named[1] if named else owner, family, MARKS[line[0]], where, line[1:].strip())
    if not lines:
        yield Difference(owner, family, Kind.CHANGED, where, "is not as it should be")
