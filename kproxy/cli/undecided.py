"""For commands whose exit code 1 is an answer: an error that would have that code too gets one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kproxy.errors import KproxyError


class Undecided(KproxyError):
    """What was asked could not be found out."""

    exit_code = 4


@contextmanager
def decided() -> Iterator[None]:
    """Makes errors with exit code 1 Undecided; all others come through as they are."""
    try:
        yield
    except KproxyError as error:
        if error.exit_code == KproxyError.exit_code:
            raise Undecided(str(error)) from error
        raise
