"""The addresses by which packets reach IPVS: on our dummy link, and in the set of VIPs.

An address that another link has already stays there alone: the host is reached
by it, so it is not ours to refuse things at.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator

from backends.ipvs import links, steps
from backends.ipvs.names import LINK
from backends.ipvs.objects import Vip
from backends.ipvs.sockets import Refusals, Sockets
from backends.ipvs.steps import Request, Tongue
from kproxy.core.document import Change, Owner
from kproxy.core.values import Family
from kproxy.netlink.messages import NLM_F_CREATE, NLM_F_REPLACE


class VipLink:
    """One family's addresses; remembers which of them were found on another link."""

    def __init__(self, family: Family, sockets: Sockets) -> None:
        self._family = family
        self._sockets = sockets
        self._elsewhere: frozenset[str] = frozenset()
        self.standing: frozenset[str] = frozenset()
        """The addresses that are to be on our link, after the last look and all that was written since."""

    def read(self, listed: Collection[str]) -> Iterator[tuple[Vip, bool]]:
        """Our addresses; one is right (True) if it is on our link and in the set (`listed`), or only on another."""
        link, is_up = self._link()
        here, elsewhere = self._addresses(link)
        if not is_up:  # its addresses are still there, but nothing reaches them
            here = frozenset()
        self._elsewhere &= elsewhere
        self.standing = here
        for address in {*listed, *here, *self._elsewhere}:
            ours = address in listed and address in here
            yield Vip(address), ours or (address in self._elsewhere and address not in listed and address not in here)

    def make(self, change: Change, refusals: Refusals) -> None:
        """Addresses that come; the link is made for the first of them."""
        coming = list(steps.wanted(change, Vip))
        if not coming:
            return
        link, is_up = self._link()
        link = link or self._make()
        if not is_up:
            self._sockets.route.request(links.SET_LINK, links.up_request(link))
        elsewhere = self._addresses(link)[1]
        self._elsewhere |= elsewhere & {vip.address for vip, _ in coming}
        ours = [(vip, one.owner) for vip, one in coming if vip.address not in elsewhere]
        self.standing |= {vip.address for vip, _ in ours}
        self._sockets.send([steps.vip_member(vip, owner, self._family, add=True) for vip, owner in ours], refusals)
        self._sockets.send([_new(vip, owner, link) for vip, owner in ours], refusals)

    def remove(self, change: Change, refusals: Refusals) -> None:
        """Addresses that go; the link stays."""
        leaving = list(steps.unwanted(change, Vip))
        if not leaving:
            return
        self._elsewhere -= {vip.address for vip, _ in leaving}
        self.standing -= {vip.address for vip, _ in leaving}
        gone = [steps.vip_member(vip, owner, self._family, add=False) for vip, owner in leaving]
        self._sockets.send(gone, refusals)
        link, _ = self._link()
        if link:
            self._sockets.send([_gone(vip, owner, link) for vip, owner in leaving], refusals)

    def _link(self) -> tuple[int, bool]:
        """The number of our link, 0 if there is none, and whether it is up."""
        try:
            return links.read_link(self._sockets.route.request(links.GET_LINK, links.link_request(LINK)))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0, False
            raise

    def _addresses(self, link: int) -> tuple[frozenset[str], frozenset[str]]:
        dump = self._sockets.route.dump(links.GET_ADDRESS, links.addresses_request(self._family))
        return links.read_addresses(dump, link)

    def _make(self) -> int:
        """Our link, not yet up."""
        route = self._sockets.route
        route.request(links.NEW_LINK, links.dummy_request(LINK), NLM_F_CREATE)
        link, _ = self._link()
        route.request(links.SET_LINK, links.quiet_request(link))
        return link


def _new(vip: Vip, owner: Owner, link: int) -> Request:
    payload = links.address_request(vip.address, link)
    forgiven = frozenset({errno.EEXIST})
    return Request(Tongue.ROUTE, links.NEW_ADDRESS, NLM_F_CREATE | NLM_F_REPLACE, payload, owner, vip, forgiven)


def _gone(vip: Vip, owner: Owner, link: int) -> Request:
    payload = links.address_request(vip.address, link)
    return Request(Tongue.ROUTE, links.DELETE_ADDRESS, 0, payload, owner, vip, steps.GONE)
