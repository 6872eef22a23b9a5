"""The netlink door against a real kernel: answers, refusals, and what happens when some are lost."""

from __future__ import annotations

import errno
import socket
import subprocess
import threading

import pytest

from backends.nftables.encode import DELTABLE, GETGEN, GETTABLE, NEWCHAIN, NEWTABLE, SUBSYSTEM
from kproxy.effects.netlink import WHOLE_BATCH, NetlinkSocket
from kproxy.netlink.attributes import number, read, string, text
from kproxy.netlink.messages import NLM_F_CREATE, Ack, Message, netfilter
from tests.fakes.namespace import in_new_namespace

pytestmark = pytest.mark.root

IPV4 = 2
Sent = tuple[int, int, bytes]


def new_table(name: str) -> Sent:
    return NEWTABLE, NLM_F_CREATE, netfilter(IPV4, text(1, name))


def drop_table(name: str) -> Sent:
    return DELTABLE, 0, netfilter(IPV4, text(1, name))


def tables(door: NetlinkSocket) -> list[str]:
    found = door.dump(SUBSYSTEM << 8 | GETTABLE, netfilter(IPV4))
    return sorted(string(read(message.payload[4:])[1]) for message in found)


def generation(door: NetlinkSocket) -> int:
    (answer,) = door.request(SUBSYSTEM << 8 | GETGEN, netfilter(0))
    return number(read(answer.payload[4:])[1])


def test_a_batch_is_in_force_as_a_whole() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            assert door.batch(SUBSYSTEM, [new_table("one"), new_table("two")]) == []
            assert tables(door) == ["one", "two"]
            assert door.batch(SUBSYSTEM, []) == []

    in_new_namespace(body)


def test_every_refusal_is_named_and_nothing_is_in_force() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            chain = (NEWCHAIN, NLM_F_CREATE, netfilter(IPV4, text(1, "nowhere"), text(3, "c")))
            failures = door.batch(SUBSYSTEM, [drop_table("absent"), new_table("one"), chain, new_table("two")])
            assert [(ack.sequence, ack.error) for ack in failures] == [(0, errno.ENOENT), (2, errno.ENOENT)]
            assert failures[1].offset == 20
            assert tables(door) == []

    in_new_namespace(body)


def test_without_commit_everything_is_judged_and_nothing_taken() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            assert door.batch(SUBSYSTEM, [new_table("one")], commit=False) == []
            (failure,) = door.batch(SUBSYSTEM, [new_table("one"), drop_table("absent")], commit=False)
            assert failure.sequence == 1
            assert tables(door) == []

    in_new_namespace(body)


def test_a_batch_for_a_generation_is_refused_once_that_is_over() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            seen = generation(door)
            assert door.batch(SUBSYSTEM, [new_table("one")], generation=seen) == []
            assert door.batch(SUBSYSTEM, [new_table("two")], generation=seen) == [Ack(WHOLE_BATCH, errno.ERESTART)]
            assert tables(door) == ["one"]

    in_new_namespace(body)


def test_a_request_that_fails_is_an_error_with_its_number() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            with pytest.raises(OSError, match="No such file") as caught:
                door.request(SUBSYSTEM << 8 | GETTABLE, netfilter(IPV4, text(1, "absent")))
            assert caught.value.errno == errno.ENOENT
            door.batch(SUBSYSTEM, [new_table("one")])
            (answer,) = door.request(SUBSYSTEM << 8 | GETTABLE, netfilter(IPV4, text(1, "one")))
            assert isinstance(answer, Message)

    in_new_namespace(body)


def test_what_is_left_of_an_abandoned_dump_is_passed_over() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            names = sorted(f"table-{number}" for number in range(300))
            door.batch(SUBSYSTEM, [new_table(name) for name in names])
            next(door.dump_buffers(SUBSYSTEM << 8 | GETTABLE, netfilter(IPV4)))
            assert generation(door)
            assert tables(door) == names

    in_new_namespace(body)


def test_a_dump_that_others_disturb_is_asked_for_again() -> None:
    def body() -> None:
        names = sorted(f"table-{number}" for number in range(2000))
        with NetlinkSocket() as door, NetlinkSocket() as other:
            door.batch(SUBSYSTEM, [new_table(name) for name in names])
            original = door.dump_buffers
            disturbed: list[list[Ack]] = []

            def disturbing(kind: int, payload: bytes) -> object:
                for turn, buffer in enumerate(original(kind, payload)):
                    if turn == 0 and len(disturbed) < 2:
                        disturbed.append(other.batch(SUBSYSTEM, [new_table(f"zz-{len(disturbed)}")]))
                    yield buffer

            door.dump_buffers = disturbing  # type: ignore[method-assign,assignment] # another writer, at the worst moment
            assert tables(door) == [*names, "zz-0", "zz-1"]
            assert disturbed == [[], []]

    in_new_namespace(body)


def test_lost_answers_are_a_doubt_and_those_left_still_count() -> None:
    def body() -> None:
        with NetlinkSocket() as door:
            door._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            failures = door.batch(SUBSYSTEM, [drop_table(f"absent-{number}") for number in range(3000)])
            assert failures
            assert len(failures) < 3000
            assert {ack.error for ack in failures} == {errno.ENOENT}
            assert tables(door) == []

    in_new_namespace(body)


def test_a_kernel_that_does_not_answer_is_a_time_out() -> None:
    def body() -> None:
        with NetlinkSocket(timeout_s=0.05) as door:
            with pytest.raises(TimeoutError):
                next(door._answers(4711))
            assert tables(door) == []

    in_new_namespace(body)


def test_a_socket_belongs_to_the_namespace_it_was_opened_in() -> None:
    doors: list[NetlinkSocket] = []

    def open_one() -> None:
        door = NetlinkSocket()
        door.batch(SUBSYSTEM, [new_table("inside")])
        doors.append(door)

    in_new_namespace(open_one)
    with doors[0] as door:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.extend(tables(door)))
        thread.start()
        thread.join()
        assert found == ["inside"]


def test_a_batch_larger_than_any_buffer_limit_is_sent() -> None:
    def body() -> None:
        limit = int(subprocess.check_output(["sysctl", "-n", "net.core.wmem_max"]))
        batch = [new_table("t" * 250)] * (2 * limit // 250)
        with NetlinkSocket() as door:
            assert door.batch(SUBSYSTEM, batch) == []
            assert tables(door) == ["t" * 250]

    in_new_namespace(body)
