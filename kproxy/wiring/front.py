"""What the outside sees of an agent: metrics, health, debug pages, health checks of Services, and a local name.

Rules kept: health has a server and threads of its own, so that no look at the plan delays it; an address that cannot be
bound is tried again every few seconds, and said once; /debug is served to this machine alone unless profiling is
enabled; connections are counted while metrics are served, and only then.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from conntrack.collector import Collector
from kproxy.agent import State
from kproxy.config import Config
from kproxy.config.listeners import Listener, healthz_listener, metrics_listener
from kproxy.config.load import EXTERNAL_IPS_GATE
from kproxy.core.metrics import Measure
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.effects.http import HttpServer, bind_tcp
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.metrics import Metrics
from kproxy.effects.page import Answer, Site
from kproxy.errors import ConfigError
from kproxy.report.drift import Drifts
from kproxy.report.events import Remark, drifted
from kproxy.report.health import Health
from kproxy.report.measures import RULES, measures
from kproxy.report.news import Heard, News, Reloaded, Synced
from kproxy.wiring.health_checks import HealthChecks
from kproxy.wiring.pages import debug_pages, health_site, metrics_pages, profiling_pages, zpages
from kproxy.wiring.status import Facts, Reloads, status_json
from kproxy.wiring.views import gauges, health_of

RETRY_S = 5.0
"""How often an address that cannot be bound is tried again (kube-proxy's interval)."""

DRIFT_EVENT_S = 600.0
"""How often an Event tells of drift, whatever its size: the log and the metrics tell all of it."""

Record = Callable[[Remark], None]


class Door(Value, frozen=True):
    """A main listener: what it is for, and where it is wanted."""

    name: str
    place: Listener
    has_debug: bool = False
    has_profiles: bool = False


METRICS = "metrics"
"""The door that shows them."""
REASONS: Mapping[str, str] = {"healthz": "FailedToStartProxierHealthcheck", METRICS: "FailedToStartMetricServer"}
"""The Event's reason when a door cannot be had."""


class Front:
    """`tell` is for the agent's thread and never waits; all else may be called from any."""

    def __init__(self, backend: str, facts: Facts, log: Logger, record: Record) -> None:
        self.metrics = Metrics(backend, facts.version)
        self._facts = facts
        self._log = log
        self._record = record
        self._said = Recurrence()
        self._checks: HealthChecks | None = None
        self._drifts: dict[Family, Drifts] = {}
        self._pending: dict[Family, tuple[int, int]] = {}
        """Changed Services and endpoints that are not in force."""
        self._reloads = Reloads()
        self._open: dict[str, tuple[Door, Callable[[], None]]] = {}
        self._wanted: dict[str, Door] = {}
        self._changed = threading.Condition()
        self._closed = False

    def tell(self, news: News) -> None:
        """Count it, and let the health checks follow what is in force."""
        self.metrics.take(measures(news))
        if isinstance(news, Heard):
            for family in news.families:
                services, endpoints = self._pending.get(family, (0, 0))
                self._pending[family] = services + news.services, endpoints + news.endpoints
        if isinstance(news, Synced):
            if news.success:
                self._pending[news.family] = 0, 0
            self._drifts[news.family] = self._drifts.get(news.family, Drifts()).after(news.drift, news.at)
            if news.drift and self._said.is_due((news.family, drifted), time.monotonic(), DRIFT_EVENT_S):
                self._record(drifted(news.family, news.drift))
            if self._checks is not None and news.error is None and news.plan is not None:
                self._checks.follow(news.plan)

    def is_ready(self, family: Family) -> bool:
        """Whether every family has been synced once, this one just now."""
        sides = self._state().sides
        return all(one is family or side.updated_at is not None for one, side in sides.items())

    def reloaded(self, path: str, reason: str, at: float) -> None:
        """The configuration file has changed; with a reason, it is not in force."""
        before = self._reloads
        applied, invalid = before.applied + (not reason), before.invalid + bool(reason)
        self._reloads = Reloads(path, applied, invalid, reason)
        self.tell(Reloaded(at, reason))

    @contextlib.contextmanager
    def serving(self, config: Config, state: Callable[[], State], connections: Collector) -> Iterator[Front]:
        """Serve until the end of the block. ConfigError if an address must be bound and cannot be."""
        self._config, self._state, self._connections = config, state, connections
        self.metrics.read_from(connections.latest)
        health, open_pages = self._server("health"), self._server(METRICS)
        self._servers = {"healthz": health, METRICS: open_pages}
        self._checks = HealthChecks(health, lambda: self.health().live, self._no_health_check)
        retrying = threading.Thread(target=self._retry, name="http-bind", daemon=True)
        try:
            self.configure(config)
            if config.proxy.bind_address_hard_fail and self._missing():
                names = ", ".join(f"{door.name} on {door.place}" for door in self._missing())
                raise ConfigError(f"bindAddressHardFail: cannot serve {names}: see the log for the reason")
            retrying.start()
            yield self
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            if retrying.ident is not None:
                retrying.join()
            connections.stop()
            health.close()
            open_pages.close()

    def serve_locally(self, name: socket.socket) -> None:
        """Serve /debug under a local name too, that `take_name` gave."""
        self._servers[METRICS].listen(name, Site(self._debug_pages()))

    def health(self) -> Health:
        """The proxy's health now."""
        return health_of(self._state(), needs_node=self._facts.needs_node)

    def configure(self, config: Config) -> None:
        """Serve where this configuration wants it."""
        self._config = config
        with self._changed:
            self._wanted = {door.name: door for door in doors(config)}
            for name in list(self._open):
                if self._open[name][0] != self._wanted.get(name):
                    self._close(name)
            self._try_missing()
            self._changed.notify_all()

    def _site(self, door: Door) -> Site:
        if door.name == "healthz":
            return health_site(self.health, self.tell)
        pages = dict(metrics_pages(self._state, self._current, self.metrics, self._gauges))
        pages |= zpages(self._facts, self._current, lambda: pages)
        if door.has_debug:
            pages |= self._debug_pages()
        if door.has_profiles:
            pages |= profiling_pages()
        return Site(pages)

    def _gauges(self) -> Iterator[Measure]:
        """What is measured when somebody asks."""
        pending = list(self._pending.values())
        yield Measure(f"{RULES}service_changes_pending", max((one for one, _ in pending), default=0))
        yield Measure(f"{RULES}endpoint_changes_pending", max((one for _, one in pending), default=0))
        enabled = self._config.proxy.feature_gates.get(EXTERNAL_IPS_GATE, True)
        yield Measure("kubernetes_feature_enabled", enabled, (EXTERNAL_IPS_GATE, "BETA"))
        yield from gauges(self._state())

    def _debug_pages(self) -> Mapping[str, Answer]:
        return debug_pages(self._state, self._current, self._status)

    def _current(self) -> Config:
        return self._config

    def _status(self) -> object:
        listeners = [f"{name} {door.place}" for name, (door, _) in sorted(self._open.items())]
        if self._checks is not None:
            listeners += [f"health check of {key} {place}" for place, key in self._checks.listeners]
        return status_json(self._state(), self.health(), self._facts, self._reloads, self._drifts, listeners)

    def _missing(self) -> Sequence[Door]:
        return [door for name, door in self._wanted.items() if name not in self._open]

    def _try_missing(self) -> None:
        for door in self._missing():
            try:
                bound = bind_tcp(door.place.address, door.place.port)
                self._open[door.name] = door, self._servers[door.name].listen(bound, self._site(door))
            except OSError as error:
                self._cannot(door, error)
            else:
                self._log.info("serving", what=door.name, address=str(door.place))
                if door.name == METRICS:
                    self._connections.start()

    def _close(self, name: str) -> None:
        self._open.pop(name)[1]()
        if name == METRICS:
            self._connections.stop()

    def _cannot(self, door: Door, error: OSError) -> None:
        """Say once that an address cannot be had."""
        if self._said.is_due((door.name, door.place, error.errno), 0.0):
            text = f"{door.place}: {error.strerror}"
            self._log.error("cannot serve", what=door.name, address=str(door.place), reason=error.strerror)
            self._record(Remark(REASONS[door.name], f"cannot serve {door.name} on {text}"))

    def _retry(self) -> None:
        with self._changed:
            while not self._closed:
                self._changed.wait(RETRY_S if self._missing() else None)
                if not self._closed:
                    self._try_missing()

    def _no_health_check(self, key: ObjectKey, place: Listener, error: OSError) -> None:
        self._log.error("no health check", service=str(key), address=str(place), reason=error.strerror)
        text = f"node {self._state().host.node} failed to start healthcheck {key} on {place}: {error.strerror}"
        self._record(Remark("FailedToStartServiceHealthcheck", text, "Listen", key))

    def _server(self, name: str) -> HttpServer:
        def complain(error: Exception) -> None:
            self._log.error("a page failed", server=name, error=f"{type(error).__name__}: {error}")

        return HttpServer(name, complain)


def doors(config: Config) -> Iterator[Door]:
    """The main listeners that a configuration wants."""
    healthz, metrics = healthz_listener(config), metrics_listener(config)
    if healthz is not None:
        yield Door("healthz", healthz)
    if metrics is not None:
        profiles = config.proxy.enable_profiling
        yield Door(METRICS, metrics, has_debug=metrics.is_loopback or profiles, has_profiles=profiles)
