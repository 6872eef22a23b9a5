"""The agent's local name: an abstract socket (unix(7)) that is its lock and where its status is asked for.

Each instance has its own (`Instance.local_name`). It belongs to the network namespace, as the rules do: a second agent
there finds it taken. It needs no writable directory, and is gone with the process, whatever ends it.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import struct

from kproxy.core.instance import DEFAULT
from kproxy.effects.http import bind_abstract
from kproxy.errors import KproxyError

LOCAL_NAME = DEFAULT.local_name
TIMEOUT_S = 5.0
MAX_BYTES = 1 << 20


def take_name(name: str = LOCAL_NAME) -> socket.socket:
    """The name, bound; KproxyError if another agent has it."""
    try:
        return bind_abstract(name)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise KproxyError(f"the name @{name} cannot be taken: {error.strerror}") from error
        raise KproxyError(f"another agent runs on this node{_holder(name)}: end it first") from error


def need_free(name: str) -> None:
    """KproxyError while an agent has the name; for whoever is none, and is not to be taken for one."""
    if told := _holder(name):
        raise KproxyError(f"an agent runs on this node{told}: it would write its rules anew, end it first")


def _holder(name: str) -> str:
    """The process that has a name, in words; empty while it does not listen."""
    pid, uid = holder(name)
    if not pid:
        return ""
    return f" (process {pid})" if uid == os.geteuid() else f" (process {pid} of user {uid})"


def holder(name: str = LOCAL_NAME) -> tuple[int, int]:
    """The process that has a name, and its user, as the kernel tells whoever connects; zeros while none listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(f"\0{name}")
            pid, uid, _ = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return 0, 0
    return pid, uid


class _Connection(http.client.HTTPConnection):
    """HTTP over an abstract socket."""

    def __init__(self, name: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._name = name

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(f"\0{self._name}")


def ask(path: str, name: str = LOCAL_NAME, max_bytes: int = MAX_BYTES) -> bytes:
    """A page, up to `max_bytes`, of this network namespace's agent; KproxyError if there is none, or no answer."""
    connection = _Connection(name)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(max_bytes)
    except ConnectionRefusedError as error:
        raise KproxyError("no agent runs in this network namespace; start one with kproxy run") from error
    except (OSError, http.client.HTTPException) as error:
        raise KproxyError(f"the agent does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise KproxyError(f"the agent answered {answer.status} to {path}")
    return body
