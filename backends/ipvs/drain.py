"""When a leaving real server is gone: its connections are done, or its deadline has passed.

A leaving server has weight 0, and its deadline (Unix time) stands in the kernel
beside it, as its upper threshold. So a restarted agent goes on where the last
one was, and no file is needed.
"""

from __future__ import annotations

import enum
from typing import Final

from backends.ipvs.objects import Server
from backends.ipvs.servers import Found
from kproxy.core.values import Protocol

DEFAULT_S: Final = 300


class Step(enum.Enum):
    """What to do with a real server that is not wanted any more."""

    REMOVE = "remove"
    BEGIN = "begin"
    WAIT = "wait"


def step(found: Found | None, drain_s: int, now_s: int) -> Step:
    """The next step of a server that is not wanted; `found` is how it stands, None: it is gone already."""
    if found is None or not drain_s or not found.connections:
        return Step.REMOVE
    if not found.deadline:
        return Step.BEGIN
    return Step.REMOVE if found.deadline <= now_s else Step.WAIT


def is_due(found: Found, now_s: int) -> bool:
    """Whether a leaving server is to be removed now."""
    return not found.connections or found.deadline <= now_s


def default_s(server: Server) -> int:
    """How long leaving endpoints have if the Document does not say; UDP and SCTP go at once."""
    return DEFAULT_S if server.protocol is Protocol.TCP else 0
