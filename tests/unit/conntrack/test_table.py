"""The table's door when the kernel is not as one would like it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest

from conntrack import layout
from conntrack.counters import Limits
from conntrack.entry import Entry
from conntrack.events import Events, Kind
from conntrack.layout import UDP
from conntrack.requests import ALL, Selection, dumps
from conntrack.table import ATTEMPTS, BATCH_FLOWS, Interrupted, Table
from conntrack.wire import Reader
from kproxy.core.values import Family
from kproxy.errors import ConntrackError, KproxyError, UnsupportedHost
from kproxy.netlink.attributes import u32
from kproxy.netlink.messages import NLM_F_CREATE, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_MULTI, Message, netfilter
from tests.unit.conntrack.cluster import flow
from tests.unit.conntrack.messages import FLOW_KIND, done, flow_message

FLOWS = [flow(UDP, "10.96.0.10", 53, "10.244.1.1", 53) for _ in range(3)]
WHOLE = b"".join(map(flow_message, FLOWS)) + done()
INTERRUPTED = b"".join(map(flow_message, FLOWS[:2])) + done(NLM_F_MULTI | NLM_F_DUMP_INTR)

Dump = list[bytes] | int
"""The buffers that a dump gives, or the errno that it ends with."""


class FakeSocket:
    """A kernel that gives these dumps, one after the other, the last again and again."""

    def __init__(self, *dumps: Dump, answer: list[Message] | int = 0) -> None:
        self.dumps = list(dumps)
        self.asked: list[tuple[int, bytes]] = []
        self.answers = answer
        self.closed = False

    def dump_buffers(self, kind: int, payload: bytes) -> Iterator[bytes]:
        self.asked.append((kind, payload))
        dump = self.dumps.pop(0) if len(self.dumps) > 1 else self.dumps[0]
        if isinstance(dump, int):
            raise OSError(dump, os.strerror(dump))
        yield from dump

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        return self.request(kind, payload)

    def request(self, kind: int, payload: bytes, flags: int = 0) -> list[Message]:  # noqa: ARG002 - the door's
        self.asked.append((kind, payload))
        if isinstance(self.answers, int):
            if self.answers:
                raise OSError(self.answers, os.strerror(self.answers))
            return []
        return self.answers

    def close(self) -> None:
        self.closed = True


def ids(entries: Iterator[Entry]) -> list[int]:
    return sorted(entry.id for entry in entries)


EVERY = sorted(entry.id for entry in FLOWS)


def test_an_interrupted_dump_is_read_again() -> None:
    socket = FakeSocket([INTERRUPTED], [INTERRUPTED], [WHOLE])
    assert Table(lambda: socket).whole(lambda batches: sum(map(len, batches))) == 3
    assert len(socket.asked) == 3


def test_a_dump_that_is_interrupted_every_time_is_taken_as_it_is_at_last() -> None:
    socket = FakeSocket([INTERRUPTED])
    assert Table(lambda: socket).whole(lambda batches: sum(map(len, batches))) == 2
    assert len(socket.asked) == ATTEMPTS


def test_flows_that_were_given_before_an_interruption_are_not_given_again() -> None:
    assert ids(Table(lambda: FakeSocket([INTERRUPTED], [WHOLE])).entries()) == EVERY
    assert ids(Table(lambda: FakeSocket([INTERRUPTED])).entries()) == EVERY[:2]


def test_raw_batches_say_that_they_were_interrupted() -> None:
    with pytest.raises(Interrupted):
        list(Table(lambda: FakeSocket([INTERRUPTED])).batches())


def test_batches_are_large_but_not_everything() -> None:
    buffer = b"".join(map(flow_message, FLOWS * 100))
    sizes = [len(batch) for batch in Table(lambda: FakeSocket([buffer] * 20 + [done()])).batches()]
    assert sum(sizes) == 300 * 20
    assert len(sizes) == 3
    assert all(size >= BATCH_FLOWS for size in sizes[:-1])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_kernel_that_cannot_filter_gives_everything(number: int) -> None:
    socket = FakeSocket(number, [WHOLE])
    table = Table(lambda: socket)
    selection = Selection(family=Family.IPV4, protocol=UDP)
    for _ in range(2):
        assert sum(map(len, table.batches(selection))) == 3
    plain = dumps(Selection(family=Family.IPV4))
    assert socket.asked == [*dumps(selection), *plain, *plain], "it is not asked for what it cannot"


ERRORS: dict[int, tuple[type[KproxyError], str]] = {
    errno.EPERM: (UnsupportedHost, "CAP_NET_ADMIN"),
    errno.EACCES: (UnsupportedHost, "CAP_NET_ADMIN"),
    errno.EINVAL: (UnsupportedHost, "nf_conntrack_netlink"),
    errno.EPROTONOSUPPORT: (UnsupportedHost, "nf_conntrack_netlink"),
    errno.ENOMEM: (ConntrackError, "memory"),
    errno.EBUSY: (ConntrackError, "busy"),
}
CALLS: dict[str, Callable[[Table], object]] = {
    "dump": lambda table: list(table.batches()),
    "filtered dump": lambda table: list(table.batches(Selection(protocol=UDP))),
    "delete": lambda table: table.delete(FLOWS[0]),
    "limits": lambda table: table.limits(),
    "counters": lambda table: table.cpu_counters(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_errors_are_sentences(number: int, call: Callable[[Table], object]) -> None:
    kind, word = ERRORS[number]
    with pytest.raises(kind, match=f"(?i){word}"):
        call(Table(lambda: FakeSocket(number, answer=number)))


def test_a_flow_that_is_gone_already_is_no_error() -> None:
    assert not Table(lambda: FakeSocket([], answer=errno.ENOENT)).delete(FLOWS[0])
    assert Table(lambda: FakeSocket([], answer=0)).delete(FLOWS[0])


def test_bytes_that_are_no_netlink_are_an_error() -> None:
    with pytest.raises(ConntrackError, match="could not be read"):
        list(Table(lambda: FakeSocket([b"\xff" * 32])).batches())


def test_a_kernel_that_tells_no_numbers() -> None:
    with pytest.raises(ConntrackError):
        Table(lambda: FakeSocket([], answer=0)).limits()


def test_limits_as_new_and_old_kernels_tell_them() -> None:
    def told(*attributes: bytes) -> Limits:
        answer = Message(layout.SUBSYSTEM << 8 | layout.GET_STATS, 0, 1, 0, netfilter(0, *attributes))
        return Table(lambda: FakeSocket([], answer=[answer])).limits()

    assert told(u32(1, 50), u32(2, 200)) == Limits(50, 200)
    assert told(u32(1, 50), u32(2, 200)).usage == 0.25
    assert told(u32(1, 50)) == Limits(50, 0)
    assert told(u32(1, 50)).usage == 0


def test_counters_by_processor() -> None:
    kind = layout.SUBSYSTEM << 8 | layout.GET_STATS_CPU
    answers = [
        Message(kind, 0, 1, 0, netfilter(0, u32(9, 4), u32(10, cpu), u32(99, 7), resource=cpu)) for cpu in (0, 3)
    ]
    assert Table(lambda: FakeSocket([], answer=answers)).cpu_counters() == {
        0: {"insert_failed": 4, "drop": 0},
        3: {"insert_failed": 4, "drop": 3},
    }


def test_the_socket_is_closed_at_the_end() -> None:
    socket = FakeSocket([WHOLE])
    with Table(lambda: socket):
        assert not socket.closed
    assert socket.closed


def test_what_cannot_be_decoded_is_counted() -> None:
    broken = flow_message(FLOWS[0], b"\x03\x00\x01\x00")
    reader = Reader(("id",))
    (batch,) = Table(lambda: FakeSocket([flow_message(FLOWS[0]) + broken + done()])).batches()
    assert list(reader.rows(batch)) == [(FLOWS[0].id,)]
    assert reader.undecodable == 1


class FakeEvents:
    """A socket that gives these buffers, or raises these errors."""

    def __init__(self, *events: bytes | int | None) -> None:
        self.left = list(events)
        self.groups: list[int] = []
        self.closed = False

    def join(self, group: int) -> None:
        self.groups.append(group)

    def events(self, timeout_s: float | None) -> bytes | None:  # noqa: ARG002 - the door's
        event = self.left.pop(0)
        if isinstance(event, int):
            raise OSError(event, os.strerror(event))
        return event

    def close(self) -> None:
        self.closed = True


def test_events_in_their_order_and_losses_told() -> None:
    new = flow_message(FLOWS[0], flags=NLM_F_CREATE | NLM_F_EXCL)
    update, end = flow_message(FLOWS[0], flags=0), flow_message(FLOWS[1], kind=FLOW_KIND + layout.DELETE, flags=0)
    with Events(socket=FakeEvents(new + update, errno.ENOBUFS, None, end)) as events:
        assert [event.kind for event in events.next()] == [Kind.NEW, Kind.UPDATE]
        assert (events.next(), events.losses) == ([], 1)
        assert (events.next(), events.losses) == ([], 1)
        assert [(event.kind, event.entry) for event in events.next()] == [(Kind.DESTROY, FLOWS[1])]


def test_only_the_groups_that_are_wanted() -> None:
    socket = FakeEvents()
    Events([Kind.NEW, Kind.DESTROY], socket)
    assert socket.groups == [layout.GROUP_NEW, layout.GROUP_DESTROY]


@pytest.mark.parametrize(
    ("event", "kind"), [(errno.EPERM, UnsupportedHost), (errno.ENOMEM, ConntrackError), (b"\xff" * 32, ConntrackError)]
)
def test_events_that_cannot_be_had(event: bytes | int, kind: type[KproxyError]) -> None:
    with pytest.raises(kind):
        Events(socket=FakeEvents(event)).next()


def test_the_whole_table_is_asked_for_at_once() -> None:
    socket = FakeSocket([WHOLE])
    assert sum(map(len, Table(lambda: socket).batches(ALL))) == 3
    assert socket.asked == list(dumps(ALL))
    assert len(dumps(ALL)) == 1
