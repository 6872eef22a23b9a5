"""The door to one family's table: observe by netlink dumps, apply in one batch.

A batch is in force as a whole or not at all, so whoever dies in between leaves
the old or the new state. When the kernel refuses something, the owners of what
it names stay as they were and the rest is tried again; where it names nothing
(no memory for so much at once, say), halves are tried. Nobody is to blame
where the table is not what the change was made for: then all of it is refused.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Sequence

from backends.nftables.encode import (
    GETCHAIN,
    GETRULE,
    GETSET,
    GETSETELEM,
    GETTABLE,
    SUBSYSTEM,
    Request,
    addressed,
    requests,
    subject_at,
)
from backends.nftables.layout import WORDS
from backends.nftables.objects import TABLE_NAME
from backends.nftables.parse import is_of, parse, set_name
from backends.nftables.render import describe
from kproxy.core.document import BASE, Change, Content, Document, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.effects.netlink import WHOLE_BATCH, NetlinkSocket
from kproxy.errors import ApplyRejected, ApplyTimeout, ObserveFailed
from kproxy.netlink.attributes import Malformed, text
from kproxy.netlink.messages import Ack, Message, netfilter
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Outcome, Refusal

MAX_ROUNDS = 32
"""How often a change is tried with less in it, before the kernel's state is held for unknown."""
HOPELESS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ERESTART})
"""Errors of a whole batch that a smaller one would meet too."""


class NftablesKernel:
    """Table `kproxy`, or an instance's, of one family, in the network namespace that the socket was opened in."""

    def __init__(self, family: Family, socket: NetlinkSocket, table: str = TABLE_NAME) -> None:
        self._family = family
        self._socket = socket
        self._table = table

    def close(self) -> None:
        """Close the socket; the table stays."""
        self._socket.close()

    def observe(self) -> Document:
        """Read our table; ObserveFailed if it cannot be read."""
        try:
            tables = self._dump(GETTABLE)
            sets = self._dump(GETSET) if tables else []
            elements = {name: self._dump(GETSETELEM, text(2, name)) for name in map(set_name, sets)}
            return parse(self._family, tables, self._dump(GETCHAIN), self._dump(GETRULE), sets, elements)
        except (OSError, Malformed, KeyError) as error:
            raise ObserveFailed(f"table {self._label} cannot be read: {error!r}") from error

    def interest(self) -> Interest:
        """All of our table; the kernel tells of every change."""
        return Interest(self._family, frozenset({self._table}), ports=frozenset({self._socket.port}))

    def is_own(self, touch: Touch) -> bool:
        """Whether it came of our socket."""
        return touch.port == self._socket.port

    def glance(self) -> None:
        """Nothing is left untold."""

    def apply(self, change: Change) -> Outcome:
        """Make the change in one transaction, or in as many as refusals demand; see the module's text."""
        return self._run(change, commit=True)

    def check(self, change: Change) -> Outcome:
        """Let the kernel validate the change, and take nothing."""
        return self._run(change, commit=False)

    @property
    def _label(self) -> str:
        return f"{WORDS[self._family].name} {self._table}"

    def _dump(self, kind: int, attributes: bytes = b"") -> list[Message]:
        payload = netfilter(WORDS[self._family].number, text(1, self._table), attributes)
        return [found for found in self._socket.dump(SUBSYSTEM << 8 | kind, payload) if is_of(found, self._table)]

    def _run(self, change: Change, *, commit: bool) -> Outcome:
        refusals: list[Refusal] = []
        parts = deque([change])
        rounds = 0
        while parts:
            part = parts.popleft()
            batch = addressed(requests(self._family, part), self._table)
            failures = self._send(batch, commit=commit)
            if not failures:
                continue
            if any(failure.error == errno.ENOENT for failure in failures):
                self._doubt(part)
            blamed = self._blame(part, batch, failures)
            rounds += 1
            halves = halved(part) if commit and not blamed and failures[0].error not in HOPELESS else ()
            if rounds > MAX_ROUNDS or BASE in blamed or not (blamed or halves):
                raise self._rejected(blamed, failures)
            refusals += blamed.values()
            parts.extendleft(reversed(halves or [without(part, blamed.keys())]))
        return Outcome(tuple(refusals))

    def _send(self, batch: Sequence[Request], *, commit: bool) -> list[Ack]:
        try:
            return self._socket.batch(SUBSYSTEM, [request[:3] for request in batch], commit=commit)
        except TimeoutError as error:
            raise ApplyTimeout(f"table {self._label}: no answer from the kernel") from error
        except OSError as error:
            return [Ack(WHOLE_BATCH, error.errno or errno.EIO, error.strerror or "")]

    def _doubt(self, part: Change) -> None:
        """ApplyRejected, without an owner, if something is gone that the change takes for standing.

        ENOENT alone does not say so: a kernel without a kind of expression answers the same.
        """
        found = self.observe()
        lost = missing(part, found)
        if lost is not None:
            what = describe(self._family, lost, entry_of(part, lost)[1], self._table)[0]
            raise ApplyRejected(f"table {self._label} was changed by others: {what} is gone; the table is read anew")
        if not found and all(entry.owner != BASE for entry in part.added.values()):
            raise ApplyRejected(f"table {self._label} was changed by others: all of it is gone; it is made anew")

    def _blame(self, part: Change, batch: Sequence[Request], failures: Iterable[Ack]) -> dict[Owner, Refusal]:
        """The first refusal of each owner whose object the kernel named."""
        blamed: dict[Owner, Refusal] = {}
        for ack in failures:
            if ack.sequence != WHOLE_BATCH:
                subject = subject_at(batch[ack.sequence], ack.offset)
                owner, content = entry_of(part, subject)
                what = describe(self._family, subject, content, self._table)[0]
                blamed.setdefault(owner, Refusal(owner, what, reason(ack)))
        return blamed

    def _rejected(self, blamed: dict[Owner, Refusal], failures: Sequence[Ack]) -> ApplyRejected:
        for refusal in (blamed.get(BASE), *blamed.values()):
            if refusal:
                return ApplyRejected(f"table {self._label}: {refusal.what}: {refusal.reason}", refusal.owner)
        return ApplyRejected(f"table {self._label}: {reason(failures[0])}")


def reason(ack: Ack) -> str:
    """An error in words: the C library's, and the kernel's own if it said any."""
    words = f"{os.strerror(ack.error)} ({errno.errorcode.get(ack.error, ack.error)})"
    return f"{words}: {ack.text}" if ack.text else words


def entry_of(change: Change, key: ObjectId) -> tuple[Owner, Content]:
    """Whose an object of a change is, and the object."""
    if key in change.added:
        return change.added[key].owner, change.added[key].content
    if key in change.changed:
        return change.changed[key].owner, change.changed[key].new
    return change.removed[key].owner, change.removed[key].content


def missing(change: Change, found: Document) -> ObjectId | None:
    """The first object that a change alters or takes away and that does not stand; None if all do."""
    standing = {key for fragment in found.values() for key in fragment}
    return next((key for key in (*change.changed, *change.removed) if key not in standing), None)


def without(change: Change, owners: Iterable[Owner]) -> Change:
    """The change but for some owners' objects."""
    left_out = frozenset(owners)
    return only(change, change.owners - left_out)


def only(change: Change, owners: frozenset[Owner]) -> Change:
    """The part of a change that belongs to some owners."""
    return Change(
        {key: entry for key, entry in change.added.items() if entry.owner in owners},
        {key: entry for key, entry in change.changed.items() if entry.owner in owners},
        {key: entry for key, entry in change.removed.items() if entry.owner in owners},
    )


def halved(change: Change) -> tuple[Change, ...]:
    """The change in parts that can be made one after the other; empty if only one Service is in it.

    What Services share comes first and is let go last.
    """
    services = sorted(owner for owner in change.owners if "/" in owner)
    if len(services) < 2:  # noqa: PLR2004 - nothing to halve
        return ()
    shared = only(change, change.owners.difference(services))
    middle = len(services) // 2
    first, second = (only(change, frozenset(half)) for half in (services[:middle], services[middle:]))
    coming = Change({**shared.added, **first.added}, {**shared.changed, **first.changed}, first.removed)
    return coming, second, Change({}, {}, shared.removed)
