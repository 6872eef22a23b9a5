from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kproxy.effects.systemd import BEATS, Notifier, notifier


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What NOTIFY_SOCKET says, and the socket behind it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@kproxy-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0"))
        receiver.settimeout(5)
        yield address, receiver


def test_it_tells_what_happens(heard: tuple[str, socket.socket]) -> None:
    address, receiver = heard
    systemd = notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    systemd.ready()
    systemd.beat()
    systemd.stopping()
    assert [receiver.recv(200).split(b"\n")[0] for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize(
    ("environ", "beat_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "never"}, None),
        ({"WATCHDOG_USEC": "6000000"}, 6 / BEATS),
        ({"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())}, 6 / BEATS),
    ],
)
def test_signs_of_life_come_in_time(environ: dict[str, str], beat_s: float | None) -> None:
    assert notifier(environ) == Notifier("", beat_s)


def test_without_systemd_and_after_it_nothing_happens(tmp_path: Path) -> None:
    for systemd in (Notifier(), Notifier(str(tmp_path / "gone"), 1.0)):
        systemd.ready()
        systemd.beat()
        systemd.stopping()
