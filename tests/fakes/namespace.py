"""Runs a function in a network namespace of its own, which is gone when the function's thread and sockets are."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from typing import TypeVar

CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def in_new_namespace(function: Callable[[], T]) -> T:
    """What `function` returns or raises, called in a new thread whose namespace holds only a loopback, which is up.

    Threads and programs that it starts are in the namespace too.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            _unshare()
            ip("link", "set", "lo", "up")
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(*arguments: str) -> str:
    """The output of `ip`, run in the calling thread's namespace."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
