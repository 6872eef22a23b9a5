"""Which schedulers this kernel has, asked before one is used, and what stands in for one that it lacks.

IPVS has no list of them: one is asked for by making a virtual server that
nothing is sent to, which makes the kernel load the module, and removing it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import Final

from backends.ipvs import servers
from backends.ipvs.names import PROBE_MARKS
from backends.ipvs.objects import Balance, Server
from backends.ipvs.sockets import Sockets
from kproxy.core.document import Owner
from kproxy.core.values import Family
from kproxy.netlink.virtual_servers import DEL_SERVICE, NEW_SERVICE
from kproxy.ports import Refusal

PROBES: Final = tuple(Server(None, "", 0, mark) for mark in PROBE_MARKS)
LAST_RESORT: Final = "rr"


class Schedulers:
    """Remembers what the kernel said, and which virtual servers have a stand-in."""

    def __init__(self, family: Family, sockets: Sockets) -> None:
        self._family = family
        self._sockets = sockets
        self._has: dict[str, bool] = {}
        self._wanted: dict[Server, Balance] = {}
        self.default = LAST_RESORT

    def fitted(self, server: Server, wanted: Balance) -> Balance:
        """How a virtual server is to choose in this kernel."""
        if self._is_there(wanted.scheduler):
            self._wanted.pop(server, None)
            return wanted
        self._wanted[server] = wanted
        return self._stand_in(wanted)

    def asked_for(self, server: Server, found: Balance) -> Balance:
        """What a virtual server was asked to have, where `found` is what stands in for it; else what was found."""
        wanted = self._wanted.get(server)
        return wanted if wanted is not None and found == self._stand_in(wanted) else found

    def forget(self, gone: Iterable[Server]) -> None:
        """These are not wanted any more."""
        for server in gone:
            self._wanted.pop(server, None)

    def findings(self, owners: Iterable[tuple[Server, Owner]]) -> Iterator[Refusal]:
        """Who of these has a stand-in."""
        for server, owner in owners:
            if (wanted := self._wanted.get(server)) is not None:
                name, used = wanted.scheduler, self._stand_in(wanted).scheduler
                reason = f"this kernel has no scheduler {name}: load the module ip_vs_{name}; {used} is used instead"
                yield Refusal(owner, str(server), reason)

    def _stand_in(self, wanted: Balance) -> Balance:
        name = self.default if self._is_there(self.default) else LAST_RESORT
        return Balance(name, wanted.persistence_s)

    def _is_there(self, name: str) -> bool:
        if name not in self._has:
            self._has[name] = self._ask(name)
        return self._has[name]

    def _ask(self, name: str) -> bool:
        """Whether the kernel has it; anything but a clear no is a yes, and the virtual server itself is refused."""
        for probe in PROBES:
            try:
                self._sockets.ipvs(servers.service_request(NEW_SERVICE, probe, self._family, Balance(name)))
            except OSError as error:
                if error.errno == errno.EEXIST:
                    continue  # what stands there is removed by whoever made it; we too, at the next look
                return error.errno != errno.ENOENT
            self._sockets.ipvs(servers.service_request(DEL_SERVICE, probe, self._family))
            break
        return True
