"""The requests that a change is made of, in the order in which they must be sent. Values only.

A virtual server and its real servers come before the members that send packets
to it, and go after them; addresses come last and go first.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar, cast

from backends.ipvs import servers, sets
from backends.ipvs.names import SETS, TABLES
from backends.ipvs.objects import NO_MARK, Balance, Mark, Member, Real, Server, SetId, Shape, Vip
from kproxy.core.chains import commit_lines, edits
from kproxy.core.document import Change, Content, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.netlink.messages import NLM_F_CREATE, NLM_F_EXCL
from kproxy.netlink.virtual_servers import DEL_SERVICE, NEW_SERVICE, SET_SERVICE

K = TypeVar("K")


class Tongue(enum.Enum):
    """Which of the kernel's netlink protocols a request is in."""

    GENERIC = enum.auto()
    NETFILTER = enum.auto()
    ROUTE = enum.auto()


class Request(NamedTuple):
    """One message: `kind` is its type (a command's family number comes later), and errors that do not matter."""

    tongue: Tongue
    kind: int
    flags: int
    payload: bytes
    owner: Owner
    subject: ObjectId
    forgiven: frozenset[int] = frozenset()


GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV, 4103})


class Wanted(NamedTuple):
    """An object that is to be made or to be made right; `is_new` if it is not there."""

    owner: Owner
    content: Content
    is_new: bool


def wanted(change: Change, kind: type[K]) -> Iterator[tuple[K, Wanted]]:
    """The objects of a kind that come or change."""
    for key, addition in change.added.items():
        if isinstance(key, kind):
            yield key, Wanted(addition.owner, addition.content, is_new=True)
    for key, replacement in change.changed.items():
        if isinstance(key, kind):
            yield key, Wanted(replacement.owner, replacement.new, is_new=False)


def unwanted(change: Change, kind: type[K]) -> Iterator[tuple[K, Owner]]:
    """The objects of a kind that go."""
    for key, removal in change.removed.items():
        if isinstance(key, kind):
            yield key, removal.owner


def make_sets(change: Change, family: Family) -> Iterator[Request]:
    """The sets that come; one of another type goes first."""
    for key, one in wanted(change, SetId):
        if not one.is_new:
            yield _set(sets.DESTROY, sets.set_request(key.name, family), one.owner, key)
        payload = sets.create_request(key.name, cast("Shape", one.content), family)
        yield _set(sets.CREATE, payload, one.owner, key, NLM_F_CREATE | NLM_F_EXCL)


def make_servers(change: Change, family: Family, fitted: Callable[[Server, Balance], Balance]) -> Iterator[Request]:
    """The virtual servers that come or change; `fitted` says what the kernel can do of what they want."""
    for key, one in wanted(change, Server):
        command = NEW_SERVICE if one.is_new else SET_SERVICE
        payload = servers.service_request(command, key, family, fitted(key, cast("Balance", one.content)))
        yield _command(payload, one.owner, key)


def make_reals(change: Change, family: Family, refused: frozenset[Server]) -> Iterator[Request]:
    """The real servers that come or change, but for those of virtual servers that are not ours to use."""
    for key, one in wanted(change, Real):
        if key.server not in refused:
            command = servers.NEW_DEST if one.is_new else servers.SET_DEST
            yield _command(servers.real_request(command, key, family, cast("int", one.content)), one.owner, key)


def revive(real: Real, owner: Owner, family: Family) -> Request:
    """A real server that was leaving, and comes back."""
    return _command(servers.real_request(servers.SET_DEST, real, family, 1), owner, real)


def make_members(change: Change) -> Iterator[Request]:
    """The members that come or change."""
    for key, one in wanted(change, Member):
        yield _set(sets.ADD, sets.member_request(key, cast("Mark", one.content)), one.owner, key)


def remove_members(change: Change) -> Iterator[Request]:
    """The members that go."""
    for key, owner in unwanted(change, Member):
        yield _set(sets.DELETE, sets.member_request(key, NO_MARK), owner, key, forgiven=GONE)


def remove_servers(change: Change, family: Family) -> Iterator[Request]:
    """The virtual servers that go, their real servers with them."""
    for key, owner in unwanted(change, Server):
        yield _command(servers.service_request(DEL_SERVICE, key, family), owner, key, GONE)


def remove_sets(change: Change, family: Family) -> Iterator[Request]:
    """The sets that go, when no rule names them any more."""
    for key, owner in unwanted(change, SetId):
        yield _set(sets.DESTROY, sets.set_request(key.name, family), owner, key, forgiven=GONE)


def vip_member(vip: Vip, owner: Owner, family: Family, *, add: bool) -> Request:
    """An address in the set of VIPs, or out of it."""
    payload = sets.address_request(SETS[family].vips, vip.address)
    return _set(sets.ADD if add else sets.DELETE, payload, owner, vip, forgiven=frozenset() if add else GONE)


def restore_input(change: Change) -> str:
    """The chains that come, change or go, as input for `iptables-restore --noflush`; empty if none do."""
    every = edits(change)
    of_table = ((table, {chain: edit for chain, edit in every.items() if chain.table == table}) for table in TABLES)
    return "".join(f"{line}\n" for table, some in of_table if some for line in commit_lines(table, some))


def _set(
    kind: int, payload: bytes, owner: Owner, key: ObjectId, flags: int = 0, forgiven: frozenset[int] = frozenset()
) -> Request:
    return Request(Tongue.NETFILTER, sets.SUBSYSTEM << 8 | kind, flags, payload, owner, key, forgiven)


def _command(payload: bytes, owner: Owner, key: ObjectId, forgiven: frozenset[int] = frozenset()) -> Request:
    return Request(Tongue.GENERIC, 0, 0, payload, owner, key, forgiven)


def remove_real(real: Real, owner: Owner, family: Family) -> Request:
    """A real server that goes now."""
    return _command(servers.real_request(servers.DEL_DEST, real, family), owner, real, GONE)


def retire(real: Real, owner: Owner, family: Family, deadline: int) -> Request:
    """A real server that gets no new connection, and has until `deadline` (Unix time)."""
    return _command(servers.real_request(servers.SET_DEST, real, family, 0, deadline), owner, real, GONE)
