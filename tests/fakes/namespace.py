"""Runs a function in another network namespace; a new one is gone when the function's thread and sockets are."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


def in_new_namespace(function: Callable[[], T]) -> T:
    """What `function` returns or raises, called in a new thread whose namespace holds only a loopback, which is up.

    Threads and programs that it starts are in the namespace too.
    """
    return _called(function, _fresh)


def in_namespace(path: str, function: Callable[[], T]) -> T:
    """What `function` returns or raises, called in a new thread in the network namespace of that path."""
    return _called(function, lambda: _enter(path))


def _called(function: Callable[[], T], prepare: Callable[[], None]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            prepare()
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _fresh() -> None:
    _check(_libc.unshare(CLONE_NEWNET))
    ip("link", "set", "lo", "up")


def _enter(path: str) -> None:
    with Path(path).open("rb") as namespace:
        _check(_libc.setns(namespace.fileno(), CLONE_NEWNET))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(*arguments: str) -> str:
    """The output of `ip`, run in the calling thread's namespace."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
