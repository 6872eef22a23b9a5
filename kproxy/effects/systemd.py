"""sd_notify(3): telling systemd that we are ready, alive, or ending; nothing where systemd did not start us."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from kproxy.core.values import Value

BEATS = 3
"""How many signs of life fall into systemd's time limit."""


class Notifier(Value, frozen=True):
    """Where systemd listens (empty: nowhere), and how often it wants a sign of life."""

    address: str = ""
    beat_s: float | None = None

    def ready(self) -> None:
        """The rules are in force."""
        self._send("READY=1\nSTATUS=the rules are in force")

    def beat(self) -> None:
        """We live."""
        if self.beat_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """We are ending."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        # A leading @ stands for the zero byte of an abstract name. Whoever listens may have gone: that harms nobody.
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
            contextlib.suppress(OSError),
        ):
            sender.setblocking(False)
            sender.sendto(text.encode(), name)


def notifier(environ: Mapping[str, str] = os.environ) -> Notifier:
    """By NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    is_watched = limit.isdecimal() and pid in ("", str(os.getpid()))
    beat_s = int(limit) / 1e6 / BEATS if is_watched and int(limit) else None
    return Notifier(environ.get("NOTIFY_SOCKET", ""), beat_s)
