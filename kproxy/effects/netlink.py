"""The door to the kernel's netfilter netlink: one socket, opened in the network namespace of the calling thread.

A netlink send to the kernel is synchronous: when it returns, the batch is
committed or refused and the answers wait in the receive buffer. So a time-out
here means that an answer was lost, and the state is unknown. Interrupted
system calls are retried by Python; EAGAIN and EINTR that the kernel answers to
a whole batch (it lost a race with another writer) are retried here.

Errors are OSError as the kernel numbers them, TimeoutError, and Malformed for
bytes that are no netlink.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from kproxy.effects.only_reading import check_messages
from kproxy.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Ack,
    Message,
    batch_begin,
    batch_end,
    first_sequence,
    last_message,
    message,
    read_ack,
    walk,
)

NETLINK_NETFILTER: Final = 12
SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_ATTACH_FILTER = 26
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
FILTER_STEP: Final = struct.Struct("=HBBI")
"""struct sock_filter of the classic packet filter (linux/filter.h)."""
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PORT_OFFSET = 12
"""Of nlmsg_pid in a message's header."""

RECEIVE_BYTES: Final = 1 << 16
"""The kernel never fills more than half of it in a dump; a larger one costs a memory mapping per buffer."""
RECEIVE_BUFFER_BYTES: Final = 8 << 20
DEFAULT_TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 5
PORTION: Final = 2000
"""How many messages are sent at once where each stands for itself."""
WHOLE_BATCH: Final = -1
"""The index in an Ack's `sequence` for an error of the batch itself."""

_RETRIED = frozenset({errno.EAGAIN, errno.EINTR})


class NetlinkSocket:
    """A NETLINK_NETFILTER socket. Not for several threads at once."""

    def __init__(self, protocol: int = NETLINK_NETFILTER, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Open it; OSError if the kernel has no such protocol."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._protocol = protocol
        self._sequence = 0
        self._send_bytes = 0
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._force_buffer(SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, kind: int, payload: bytes, flags: int = 0) -> list[Message]:
        """Send one message and return what comes before its acknowledgement; OSError if that is an error."""
        sequence = self._next(1)
        self._send(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, payload))
        answers: list[Message] = []
        for received in self._answers(sequence):
            if received.kind in (NLMSG_ERROR, NLMSG_DONE):
                _raise_for(read_ack(received))
                return answers
            answers.append(received)
        return answers

    def dump(self, kind: int, payload: bytes) -> list[Message]:
        """All messages of a dump of one moment.

        A dump that the kernel marks as interrupted is asked for again, ATTEMPTS
        times in all; then OSError with EINTR.
        """
        for _ in range(ATTEMPTS):
            messages = [received for buffer in self.dump_buffers(kind, payload) for received in walk(buffer)]
            if not any(received.flags & NLM_F_DUMP_INTR for received in messages):
                return [received for received in messages if received.kind != NLMSG_DONE]
        raise OSError(errno.EINTR, "the dump was interrupted by changes every time")

    def dump_buffers(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """The raw buffers of a dump, as received, the last with NLMSG_DONE in it; for decoders of their own."""
        sequence = self._next(1)
        self._send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload))
        finished = False
        while not finished:
            buffer = self._receive()
            if first_sequence(buffer) != sequence:
                continue  # what is left of a dump that nobody read to its end
            final = last_message(buffer)
            finished = final.kind in (NLMSG_ERROR, NLMSG_DONE)
            if finished:
                _raise_for(read_ack(final))
            yield buffer

    def fileno(self) -> int:
        """The descriptor, to poll for events."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The netlink port by which the kernel tells others what came from this socket."""
        port: int = self._socket.getsockname()[0]
        return port

    def join(self, group: int) -> None:
        """Receive the events of a multicast group from now on; use a socket of its own for that."""
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def ignore(self, ports: Collection[int]) -> None:
        """Let the kernel drop the events that came of these ports, before they fill the buffer; call it once."""
        code = ctypes.create_string_buffer(filter_code(ports))
        program = struct.pack("@HP", len(code) // FILTER_STEP.size, ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def events(self, timeout_s: float | None) -> bytes | None:
        """The next buffer of events, None if there is none in time; OSError with ENOBUFS where some were lost."""
        self._socket.settimeout(timeout_s)
        try:
            return self._receive()
        except TimeoutError:
            return None

    def batch(
        self,
        subsystem: int,
        messages: Sequence[tuple[int, int, bytes]],
        *,
        commit: bool = True,
        generation: int | None = None,
    ) -> list[Ack]:
        """Send messages, (type, flags, payload) each, as one transaction and return what was refused.

        An Ack's `sequence` is the index of the message, WHOLE_BATCH for the
        batch itself. Nothing is in force unless the list is empty. Without
        `commit` the kernel validates everything and takes nothing. With
        `generation` the batch is refused with ERESTART if the rule set is not
        that one any more.
        """
        failures: list[Ack] = []
        for _ in range(ATTEMPTS):
            failures = self._batch_once(subsystem, messages, commit=commit, generation=generation)
            if not any(ack.sequence == WHOLE_BATCH and ack.error in _RETRIED for ack in failures):
                break
        return failures

    def stream(self, messages: Sequence[tuple[int, int, bytes]]) -> list[Ack]:
        """Send messages, (type, flags, payload) each, that stand for themselves, and return what was refused.

        An Ack's `sequence` is the index of the message. What is not refused is in force. Many are sent at once, as
        many as have room for their refusals in the receive buffer.
        """
        failures: list[Ack] = []
        for start in range(0, len(messages), PORTION):
            portion = messages[start : start + PORTION]
            first = self._next(len(portion))
            last = first + len(portion) - 1
            data = [
                message(
                    kind, NLM_F_REQUEST | flags | (NLM_F_ACK if first + place == last else 0), first + place, payload
                )
                for place, (kind, flags, payload) in enumerate(portion)
            ]
            self._send(b"".join(data))
            for received in self._answers(first, last):
                ack = read_ack(received)
                if ack.error:
                    failures.append(Ack(ack.sequence - first + start, ack.error, ack.text, ack.offset))
                if ack.sequence == last:
                    break
        return failures

    def _batch_once(
        self, subsystem: int, messages: Sequence[tuple[int, int, bytes]], *, commit: bool, generation: int | None
    ) -> list[Ack]:
        if not messages:
            return []
        first = self._next(len(messages) + 2)
        self._send(b"".join(_batch(first, subsystem, messages, commit=commit, generation=generation)))
        failures: list[Ack] = []
        last = first + len(messages)
        for received in self._answers_of_batch(first, last, failures):
            ack = read_ack(received)
            if ack.error:
                failures.append(Ack(ack.sequence - first - 1, ack.error, ack.text, ack.offset))
            if ack.sequence == last or (ack.sequence == first and ack.error):
                break
        return failures

    def _answers_of_batch(self, first: int, last: int, failures: Sequence[Ack]) -> Iterator[Message]:
        """A batch's answers. Where the buffer overflowed, what is there; TimeoutError if none of it is a refusal."""
        try:
            yield from self._answers(first, last)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            # All answers were queued before the send returned, so nothing more will come.
            self._socket.settimeout(0.0)
            with contextlib.suppress(BlockingIOError):
                yield from self._answers(first, last)
            if not failures:
                raise TimeoutError(errno.ENOBUFS, "answers were lost, none of those left is a refusal") from error
        finally:
            self._socket.settimeout(self._timeout_s)

    def _next(self, count: int) -> int:
        first = self._sequence + 1
        self._sequence += count
        return first

    def _send(self, data: bytes) -> None:
        check_messages(self._protocol, data)
        if len(data) + 4096 > self._send_bytes:
            self._send_bytes = max(len(data) + 4096, 1 << 18)
            self._force_buffer(SO_SNDBUFFORCE, socket.SO_SNDBUF, self._send_bytes)
        self._socket.sendto(data, (0, 0))

    def _force_buffer(self, forced: int, plain: int, size_bytes: int) -> None:
        """Set a buffer's size beyond net.core.[rw]mem_max, which CAP_NET_ADMIN may."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size_bytes)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, plain, size_bytes)

    def _receive(self) -> bytes:
        return self._socket.recv(RECEIVE_BYTES)

    def _answers(self, first: int, last: int | None = None) -> Iterator[Message]:
        """Received messages that answer these sequence numbers; those of an earlier, abandoned request are skipped."""
        while True:
            for received in walk(self._receive()):
                if first <= received.sequence <= (first if last is None else last):
                    yield received


def _batch(
    first: int, subsystem: int, messages: Sequence[tuple[int, int, bytes]], *, commit: bool, generation: int | None
) -> Iterator[bytes]:
    """Only the last message asks for an acknowledgement; refusals are reported without being asked for."""
    yield batch_begin(first, subsystem, generation)
    last = len(messages) - 1
    for index, (kind, flags, payload) in enumerate(messages):
        asked = NLM_F_ACK if index == last else 0
        yield message(subsystem << 8 | kind, NLM_F_REQUEST | asked | flags, first + 1 + index, payload)
    if commit:
        yield batch_end(first + len(messages) + 1, subsystem)


def _raise_for(ack: Ack) -> None:
    if ack.error:
        raise OSError(ack.error, ack.text or os.strerror(ack.error))


def filter_code(ports: Collection[int]) -> bytes:
    """A packet filter that drops what begins with a message of one of these ports (at most 255 of them)."""
    words = [int.from_bytes(struct.pack("=I", port), "big") for port in ports]
    steps = [FILTER_STEP.pack(_LOAD_WORD, 0, 0, _PORT_OFFSET)]
    steps += [FILTER_STEP.pack(_JUMP_IF_EQUAL, len(words) - place, 0, word) for place, word in enumerate(words)]
    return b"".join([*steps, FILTER_STEP.pack(_RETURN, 0, 0, 0xFFFFFFFF), FILTER_STEP.pack(_RETURN, 0, 0, 0)])
