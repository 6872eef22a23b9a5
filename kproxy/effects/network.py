"""The door to this network namespace's own facts: addresses, as they come and go, and sysctls.

Rules kept: whatever a notification says, the addresses are dumped anew (by level, so that a lost notification harms
nothing); a sysctl is written only where it differs, and a refusal is a value, because the rules are worth having
without it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from kproxy.core.node_facts import VIP_LINK
from kproxy.core.values import Value
from kproxy.errors import KernelError, ObserveFailed
from kproxy.netlink.addresses import ADDRESS_GROUPS, dump_request, read_addresses
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.messages import NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Message, read_ack, walk

BUFFER_BYTES = 1 << 17
TIMEOUT_S = 5.0
ATTEMPTS = 5
"""How often a dump that was changed under us is begun again."""
SETTLE_S = 0.05
"""Addresses come in bursts (a link comes up): how long after the first notification the dump is made."""
AGAIN_S = 1.0
"""How soon after an error the addresses are read again: nobody may tell of them a second time."""

PROC_SYS = Path("/proc/sys")


def local_addresses() -> frozenset[str]:
    """Every address of this namespace but Services' (on `VIP_LINK`), both families; ObserveFailed if unreadable."""
    try:
        with _socket(groups=0) as sock:
            return _dump(sock)
    except (OSError, Malformed) as error:
        raise ObserveFailed(f"this node's addresses cannot be read by rtnetlink: {error}") from error


def link_addresses(link: str) -> frozenset[str] | None:
    """The addresses on one link; None if there is no such link; ObserveFailed if they cannot be read."""
    index = _index(link)
    if index is None:
        return None
    try:
        with _socket(groups=0) as sock:
            return _dump(sock, index)
    except (OSError, Malformed) as error:
        raise ObserveFailed(f"the addresses of {link} cannot be read by rtnetlink: {error}") from error


class AddressWatch:
    """Tells the addresses whenever they change, from a thread of its own; the first telling is immediate."""

    def __init__(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None

    def start(self, tell: Callable[[frozenset[str]], None], fail: Callable[[KernelError], None]) -> None:
        """Read once, tell, and go on in a thread; ObserveFailed if the first reading fails."""
        try:
            notes = _socket(groups=ADDRESS_GROUPS)
            notes.setblocking(False)
        except OSError as error:
            raise ObserveFailed(f"this node's addresses cannot be watched by rtnetlink: {error}") from error
        try:
            known = local_addresses()
        except KernelError:
            notes.close()
            raise
        tell(known)
        self._thread = threading.Thread(
            target=self._watch, args=(notes, known, tell, fail), name="addresses", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        os.close(self._wake_write)
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_read)

    def _watch(
        self,
        notes: socket.socket,
        known: frozenset[str],
        tell: Callable[[frozenset[str]], None],
        fail: Callable[[KernelError], None],
    ) -> None:
        """Tell every change until the watch ends; what goes wrong is told too, and tried again soon."""
        wait_s: float | None = None
        with notes:
            while self._noted(notes, wait_s):
                try:
                    _discard(notes)
                    now = local_addresses()
                except (OSError, KernelError) as error:
                    fail(ObserveFailed(f"this node's addresses may have changed unseen: {error}"))
                    wait_s = AGAIN_S
                    continue
                wait_s = None
                if now != known:
                    known = now
                    tell(now)

    def _noted(self, notes: socket.socket, wait_s: float | None) -> bool:
        """Wait for a notification, so long at most, and let it settle; False when the watch is to end."""
        poll = select.poll()
        poll.register(notes, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN | select.POLLHUP)
        if any(descriptor == self._wake_read for descriptor, _ in poll.poll(wait_s and wait_s * 1000)):
            return False
        poll.unregister(notes)
        return not poll.poll(SETTLE_S * 1000)


def _socket(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    sock.settimeout(TIMEOUT_S)
    return sock


def _discard(notes: socket.socket) -> None:
    """Read what is queued. ENOBUFS says that more came than fits, which the coming dump makes good."""
    while True:
        try:
            notes.recv(BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _dump(sock: socket.socket, link: int | None = None) -> frozenset[str]:
    """The addresses of a link, or of all links but the one that holds Services' addresses."""
    for sequence in range(1, ATTEMPTS + 1):
        sock.send(dump_request(sequence))
        messages = list(_answer(sock, sequence))
        if not any(one.flags & NLM_F_DUMP_INTR for one in messages):
            break
    return read_addresses(messages, link, None if link else _index(VIP_LINK))


def _index(link: str) -> int | None:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return None


def _answer(sock: socket.socket, sequence: int) -> Iterator[Message]:
    while True:
        for one in walk(sock.recv(BUFFER_BYTES)):
            if one.sequence != sequence:
                continue
            if one.kind == NLMSG_ERROR:
                raise OSError(read_ack(one).error, "refused by the kernel")
            yield one
            if one.kind == NLMSG_DONE:
                return


class Sysctl(Value, frozen=True):
    """A sysctl and what it is to be: `net.ipv4.conf.all.route_localnet`, `1`."""

    name: str
    value: str


class Refused(Value, frozen=True):
    """A sysctl that is not as wanted."""

    sysctl: Sysctl
    found: str
    """What stands there; empty when it cannot be read."""
    reason: str


def ensure(sysctl: Sysctl, root: Path = PROC_SYS) -> Refused | None:
    """Write a sysctl where it differs; None when it is as wanted."""
    path = root / sysctl.name.replace(".", "/")
    found = ""
    try:
        found = path.read_text().strip()
        if found != sysctl.value:
            path.write_text(sysctl.value)
    except OSError as error:
        return Refused(sysctl, found, error.strerror or str(error))
    return None
