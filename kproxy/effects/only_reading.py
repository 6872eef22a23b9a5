"""A lock on the doors: while it is held, this thread sends no netlink message and starts no program that could write.

The kernel asks for CAP_NET_ADMIN whether netfilter is read or written, so no capability can be taken away that would
leave reading alone. So the doors themselves refuse, before a byte is sent: only the types of message and the programs
in these tables pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from kproxy.netlink.messages import Message, walk

_held: ContextVar[bool] = ContextVar("only reading", default=False)

NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC = 0, 12, 16
NETFILTER_READS: Final[Collection[int]] = frozenset(
    {
        *(10 << 8 | kind for kind in (1, 4, 7, 10, 13, 16, 19, 23)),  # nf_tables: NFT_MSG_GET*
        *(6 << 8 | kind for kind in (1, 7, 8, 12, 13, 14, 15)),  # ip_set: PROTOCOL, LIST, SAVE, HEADER, TYPE, GET_BY*
        *(1 << 8 | kind for kind in (1, 4, 5)),  # conntrack: GET, GET_STATS_CPU, GET_STATS
        7 << 8 | 1,  # nfacct: GET
    }
)
GENERIC_CONTROLLER: Final = 16
GENERIC_READS: Final[Collection[int]] = frozenset({4, 8, 11, 13, 15})
"""IPVS_CMD_GET_SERVICE, GET_DEST, GET_DAEMON, GET_CONFIG and GET_INFO (linux/ip_vs.h)."""
CTRL_GETFAMILY: Final = 3
VERSION: Final = "--version"


class WouldWrite(PermissionError):
    """Something was about to be written."""


@contextmanager
def only_reading() -> Iterator[None]:
    """Hold the lock for this thread."""
    token = _held.set(True)
    try:
        yield
    finally:
        _held.reset(token)


def is_held() -> bool:
    """Whether this thread only reads."""
    return _held.get()


def check_messages(protocol: int, data: bytes) -> None:
    """WouldWrite if the lock is held and any message is not known to only read."""
    if is_held():
        for message in walk(data):
            if not _READS.get(protocol, _none)(message):
                raise WouldWrite(f"netlink message {message.kind:#x} of protocol {protocol} could write")


def check_program(argv: Sequence[str]) -> None:
    """WouldWrite if the lock is held and the program is not known to only read."""
    if is_held() and not (Path(argv[0]).name.endswith("-save") or list(argv[1:]) == [VERSION]):
        raise WouldWrite(f"{argv[0]} could write")


def _none(_message: Message) -> bool:
    return False


def _generic(message: Message) -> bool:
    command = message.payload[:1]
    if message.kind == GENERIC_CONTROLLER:
        return command == bytes([CTRL_GETFAMILY])
    return bool(command) and command[0] in GENERIC_READS


_READS: Final[Mapping[int, Callable[[Message], bool]]] = {
    NETLINK_ROUTE: lambda message: message.kind >= 16 and message.kind & 3 == 2,  # noqa: PLR2004 - RTM_GET*
    NETLINK_NETFILTER: lambda message: message.kind in NETFILTER_READS,
    NETLINK_GENERIC: _generic,
}
