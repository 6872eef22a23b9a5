"""The door to the kernel's table of connections: dump, delete, events, counters, limits.

A dump is handed on in batches of raw messages, never kept as a whole. A table
that changes while it is read is no error: a flow may then be missing, as it may
be gone a moment later anyway. Only where the kernel itself marks a dump as
interrupted is it read again (`whole`).

Raises UnsupportedHost where the kernel cannot or the user may not, and
ConntrackError for everything else.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, NoReturn, Protocol, Self, TypeVar

from conntrack import requests
from conntrack.counters import CpuCounters, Limits, read_cpu, read_limits
from conntrack.entry import FIELDS, Entry, entry_of
from conntrack.requests import ALL, Selection
from conntrack.wire import Part, Reader, split
from kproxy.effects.netlink import NetlinkSocket
from kproxy.errors import ConntrackError, KproxyError, UnsupportedHost
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.messages import NLM_F_DUMP_INTR, Message

BATCH_FLOWS: Final = 2048
"""So many flows at least come in one batch (but the last): decoding has a cost per batch and shape."""
ATTEMPTS: Final = 5

_T = TypeVar("_T")
_NO_FILTER = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Interrupted(ConntrackError):
    """The kernel marked a dump as interrupted: it is not of one moment."""


class Socket(Protocol):
    """What is asked of a netlink socket; `NetlinkSocket` is one."""

    def request(self, kind: int, payload: bytes, flags: int = 0) -> list[Message]:
        """Send one message; what comes before its acknowledgement."""

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        """All messages of a dump."""

    def dump_buffers(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """The raw buffers of a dump."""

    def close(self) -> None:
        """Release it."""


class Table:
    """The table of the network namespace that the calling thread is in. Not for several threads at once."""

    def __init__(self, open_socket: Callable[[], Socket] = NetlinkSocket) -> None:
        """UnsupportedHost if there is no such thing; `AheadSocket` is for programs that read a whole large table."""
        try:
            self._socket = open_socket()
        except OSError as error:
            refuse(error, "opened")
        self._filters = True

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batches(self, selection: Selection = ALL) -> Iterator[list[bytes]]:
        """Raw messages of the flows, in batches. Flows outside the selection may be among them (old kernels).

        Raises Interrupted at the end of a dump that the kernel marked so.
        """
        batch: list[bytes] = []
        flags = 0
        for part in self._parts(selection):
            flags |= part.flags
            batch += part.flows
            if len(batch) >= BATCH_FLOWS:
                yield batch
                batch = []
        if batch:
            yield batch
        if flags & NLM_F_DUMP_INTR:
            raise Interrupted("the table changed too much while it was read")

    def whole(self, use: Callable[[Iterator[list[bytes]]], _T], selection: Selection = ALL) -> _T:
        """What `use` makes of a dump; begun anew when it was interrupted, and taken as it is the last time."""
        for _ in range(ATTEMPTS - 1):
            try:
                return use(self.batches(selection))
            except Interrupted:
                continue
        return use(_as_it_is(self.batches(selection)))

    def entries(self, selection: Selection = ALL, reader: Reader | None = None) -> Iterator[Entry]:
        """Every flow, one after the other. `reader` (of `entry.FIELDS`) counts what could not be read.

        After an interruption the table is read again and only what is new is
        given; so four bytes are remembered per flow.
        """
        reader = Reader(FIELDS) if reader is None else reader
        ids = array("I")
        for _ in range(ATTEMPTS):
            given = frozenset(ids)
            try:
                for batch in self.batches(selection):
                    for row in reader.rows(batch):
                        if not (given and row[-1] in given):
                            ids.append(row[-1] or 0)
                            yield entry_of(row)
            except Interrupted:
                continue
            return

    def delete(self, entry: Entry) -> bool:
        """Delete exactly this flow; False if it is gone already, or another has taken its place."""
        try:
            self._socket.request(*requests.delete(entry))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            refuse(error, "changed")
        return True

    def cpu_counters(self) -> dict[int, CpuCounters]:
        """The kernel's counters by processor."""
        try:
            return read_cpu(self._socket.dump(*requests.CPU_COUNTERS))
        except (OSError, Malformed) as error:
            refuse(error, "read")

    def limits(self) -> Limits:
        """Number of flows and maximum."""
        try:
            answer = self._socket.request(*requests.LIMITS)
        except (OSError, Malformed) as error:
            refuse(error, "read")
        if not answer:
            raise ConntrackError("the kernel does not tell the number of connections")
        return read_limits(answer[0])

    def _parts(self, selection: Selection) -> Iterator[Part]:
        plain = Selection(family=selection.family)
        try:
            if self._filters and selection != plain:
                yield from self._received(selection)
                return
        except OSError as error:
            if error.errno not in _NO_FILTER:
                refuse(error, "read")
            self._filters = False
        try:
            yield from self._received(plain)
        except OSError as error:
            refuse(error, "read")

    def _received(self, selection: Selection) -> Iterator[Part]:
        for request in requests.dumps(selection):
            for buffer in self._socket.dump_buffers(*request):
                try:
                    yield split(buffer)
                except Malformed as error:
                    refuse(error, "read")


def _as_it_is(batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    try:
        yield from batches
    except Interrupted:
        return


def refuse(error: OSError | Malformed, what: str) -> NoReturn:
    """Raise what an error of the socket means to the caller; `what` is what could not be done to the table."""
    raise _explain(error, what) from error


def _explain(error: OSError | Malformed, what: str) -> KproxyError:
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EPERM, errno.EACCES):
        return UnsupportedHost(
            f"The table of connections cannot be {what} without permission: run as root, or with CAP_NET_ADMIN."
        )
    if number in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP):
        return UnsupportedHost(
            "This kernel does not show its table of connections: load the module nf_conntrack_netlink "
            f"(CONFIG_NF_CT_NETLINK). It said: {error}."
        )
    return ConntrackError(f"The table of connections could not be {what}: {error}.")
