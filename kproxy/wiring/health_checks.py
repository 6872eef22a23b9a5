"""The listeners of healthCheckNodePorts: they come, move and go with Services, endpoints and node addresses.

Rules kept: a family's listeners are that family's own (tcp4 and tcp6 in kube-proxy); they are where NodePorts are; a
port that somebody else has is told once and tried again with each sync, an address that is not this machine's (yet) is
passed over; what a listener says is what is in force.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from http import HTTPStatus

from kproxy.config.listeners import EVERYWHERE, Listener
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, ObjectKey
from kproxy.effects.http import HttpServer, bind_tcp
from kproxy.effects.page import Answer, Page, Request
from kproxy.report.health import service_health_json

Complain = Callable[[ObjectKey, Listener, OSError], None]


class HealthChecks:
    """`follow` is for one thread; the answers come from the server's."""

    def __init__(self, server: HttpServer, is_live: Callable[[], bool], complain: Complain) -> None:
        self._server = server
        self._is_live = is_live
        self._complain = complain
        self._plans: dict[Family, NodePlan] = {}
        self._open: dict[tuple[Family, Listener], tuple[ObjectKey, Callable[[], None]]] = {}
        self._counts: dict[Family, Mapping[ObjectKey, int]] = {}
        self._wanted: dict[Family, Mapping[Listener, ObjectKey]] = {}
        self._refused: set[tuple[Family, Listener]] = set()

    def follow(self, plan: NodePlan) -> None:
        """A family's plan is in force."""
        family = plan.family
        if self._plans.get(family) is not plan:
            self._plans[family] = plan
            checks = {key: one.health_check for key, one in plan.services.items() if one.health_check is not None}
            self._counts[family] = {key: check.local_ready for key, check in checks.items()}
            self._wanted[family] = {
                Listener(address, check.port): key for key, check in checks.items() for address in _addresses(plan)
            }
            self._close(family, self._wanted[family])
        self._open_missing(family, self._wanted[family])

    @property
    def listeners(self) -> Collection[tuple[Listener, ObjectKey]]:
        """What is open."""
        return [(listener, key) for (_, listener), (key, _) in self._open.items()]

    def _close(self, family: Family, wanted: Mapping[Listener, ObjectKey]) -> None:
        """Close what is another's now or nobody's, before anything opens: a port may have changed hands."""
        for place in [place for place in self._open if place[0] is family]:
            key, close = self._open[place]
            if wanted.get(place[1]) != key:
                close()
                del self._open[place]
        self._refused = {place for place in self._refused if place[0] is not family or place[1] in wanted}

    def _open_missing(self, family: Family, wanted: Mapping[Listener, ObjectKey]) -> None:
        for listener, key in wanted.items():
            place = family, listener
            if place in self._open:
                continue
            try:
                bound = bind_tcp(listener.address, listener.port)
                self._open[place] = key, self._server.listen(bound, self._answer(family, key))
                self._refused.discard(place)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL and place not in self._refused:
                    self._refused.add(place)
                    self._complain(key, listener, error)

    def _answer(self, family: Family, key: ObjectKey) -> Answer:
        def answer(_request: Request) -> Page:
            count, live = self._counts[family].get(key, 0), self._is_live()
            return Page(
                service_health_json(key.namespace, key.name, count, live=live),
                "application/json",
                HTTPStatus.OK if count and live else HTTPStatus.SERVICE_UNAVAILABLE,
                (("X-Load-Balancing-Endpoint-Weight", str(count)),),
            )

        return answer


def _addresses(plan: NodePlan) -> Iterator[str]:
    """Where a family's NodePorts are."""
    if plan.node_ports is None:
        yield EVERYWHERE[plan.family is Family.IPV6]
    else:
        yield from sorted(plan.node_ports)
