"""The kernel's three tongues, a netlink socket for each, and what it refuses in them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from backends.ipvs import sets
from backends.ipvs.objects import Server
from backends.ipvs.steps import Request, Tongue
from kproxy.core.document import Owner
from kproxy.effects.netlink import NetlinkSocket
from kproxy.netlink.generic import NETLINK_GENERIC, family_request, read_family
from kproxy.netlink.messages import Message
from kproxy.netlink.virtual_servers import FAMILY_NAME
from kproxy.ports import Refusal

NETLINK_ROUTE = 0

Refusals = dict[Owner, Refusal]
"""The first thing that was refused to each owner."""


class Sockets:
    """In the network namespace of the calling thread."""

    def __init__(self) -> None:
        """OSError if one cannot be opened, OSError or KeyError if the kernel has no IPVS."""
        self._of = {
            Tongue.GENERIC: NetlinkSocket(protocol=NETLINK_GENERIC),
            Tongue.NETFILTER: NetlinkSocket(),
            Tongue.ROUTE: NetlinkSocket(protocol=NETLINK_ROUTE),
        }
        try:
            self._ipvs = read_family(self._of[Tongue.GENERIC].request(*family_request(FAMILY_NAME)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close them all."""
        for one in self._of.values():
            one.close()

    def ipvs(self, payload: bytes) -> list[Message]:
        """Send one request to IPVS; its answers."""
        return self._of[Tongue.GENERIC].request(self._ipvs, payload)

    def dump_ipvs(self, payload: bytes) -> list[Message]:
        """All that IPVS has of what is asked for."""
        return self._of[Tongue.GENERIC].dump(self._ipvs, payload)

    def dump_sets(self) -> list[Message]:
        """All IP sets with their members."""
        return self._of[Tongue.NETFILTER].dump(sets.SUBSYSTEM << 8 | sets.LIST, sets.list_request())

    @property
    def route(self) -> NetlinkSocket:
        """Links and addresses."""
        return self._of[Tongue.ROUTE]

    def answers(self, requests: Iterable[Request]) -> list[tuple[Request, int]]:
        """Send requests of one tongue; those that are refused, with the error."""
        batch: Sequence[Request] = list(requests)
        if not batch:
            return []
        messages = [(one.kind or self._ipvs, one.flags, one.payload) for one in batch]
        return [(batch[ack.sequence], ack.error) for ack in self._of[batch[0].tongue].stream(messages)]

    def send(self, requests: Iterable[Request], refusals: Refusals) -> list[Request]:
        """Send requests of one tongue; what is refused and matters is noted and returned."""
        failed = []
        for request, error in self.answers(requests):
            if error not in request.forgiven:
                note(refusals, request, error)
                failed.append(request)
        return failed


def note(refusals: Refusals, request: Request, error: int) -> None:
    """Remember a refusal, unless its owner has one already."""
    refusals.setdefault(request.owner, Refusal(request.owner, str(request.subject), _reason(request, error)))


def _reason(request: Request, error: int) -> str:
    if error == errno.EEXIST and isinstance(request.subject, Server):
        return "another program has a virtual server there; it is left alone"
    if error == errno.ENOENT and isinstance(request.subject, Server):
        return "the kernel has no such scheduler; load its module (ip_vs_NAME)"
    if request.tongue is Tongue.NETFILTER and error in sets.REASONS:
        return sets.REASONS[error]
    return f"{os.strerror(error)} ({errno.errorcode.get(error, error)})"
