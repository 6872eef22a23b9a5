"""Puts an agent together: backend, source, host facts, pace, front; and takes it apart again, leaving the rules."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import msgspec

from conntrack.cleaner import Cleaned, Cleaner
from conntrack.collector import Collector
from kproxy.agent import REMIND_S, Agent, Setup
from kproxy.config import Config
from kproxy.config.flags import over
from kproxy.config.listeners import without_address
from kproxy.core.instance import Instance
from kproxy.core.schedule import Pace
from kproxy.effects import oom
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.network import AddressWatch
from kproxy.effects.notices import Notices
from kproxy.effects.systemd import Notifier, notifier
from kproxy.errors import KproxyError, ObserveFailed
from kproxy.report import news
from kproxy.report.events import started
from kproxy.wiring.backends import choose, close_all, finder
from kproxy.wiring.cluster import instance_of, live_host, node_addresses, node_name, open_source
from kproxy.wiring.front import Front
from kproxy.wiring.local import take_name
from kproxy.wiring.predecessors import Predecessors, succeeding
from kproxy.wiring.question import KUBERNETES, Asked
from kproxy.wiring.recorder import event_recorder
from kproxy.wiring.reloads import ConfigWatch
from kproxy.wiring.rule_counts import rule_counts
from kproxy.wiring.status import Facts
from kproxy.wiring.switching import Wish, prepare
from kproxy.wiring.sysctls import set_conntrack


class Running:
    """An agent that is fed, and the configuration to open another one with once it has ended, if there is one."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.again: Config | None = None

    def reopen(self, config: Config) -> None:
        """End, to begin again with a configuration that a running agent cannot take over; the rules stay."""
        self.again = config
        self.agent.stop()


@contextlib.contextmanager
def open_agent(asked: Asked, config: Config, log: Logger, *, once: bool = False) -> Iterator[Running]:
    """An agent that is fed; the caller runs it. Afterwards all threads are joined and all doors closed.

    With `once` nothing is served or followed, and no connection cleaned up. ConfigError, UnsupportedHost or
    ObserveFailed if it cannot even start, KproxyError if another one runs here.
    """
    with ExitStack() as stack:
        instance = instance_of(asked, config)
        local = take_name(instance.local_name)
        stack.callback(local.close)
        name, primary = node_name(asked.node_name, config), node_addresses(asked.node_ips, config)
        kubeconfig = asked.kubeconfig or config.proxy.client_connection.kubeconfig
        source = open_source(
            asked.source,
            name,
            kubeconfig,
            asked.master,
            lambda kind: running.agent.setup.tell(news.WatchBegan(kind)),
            instance,
        )
        chosen = choose(asked.backend or config.proxy.mode, asked.families, finder(instance))
        stack.callback(close_all, chosen.kernels.values())
        log.info("backend chosen", backend=chosen.backend.name, why=chosen.why, node=name, **of_instance(instance))
        for family, reason in chosen.missing.items():
            log.warning("family left out", family=family.label, reason=reason)
        set_conntrack(config.proxy.conntrack, log)
        setup = Setup(
            backend=chosen.backend,
            kernels=chosen.kernels,
            settings=config.settings_for(chosen.backend.name),
            host=live_host(name, primary),
            pace=pace_of(config, chosen.backend.name),
            log=log,
            once=once,
        )
        running = Running(Agent(setup)) if once else stack.enter_context(_served(asked, config, setup, local))
        watch = AddressWatch()
        watch.start(running.agent.move, running.agent.fail)
        stack.callback(watch.stop)
        stack.enter_context(succeeding(running.agent, log, instance) if once else heeding(running.agent, log))
        source.start(running.agent.put, running.agent.fail)
        stack.callback(source.stop)
        yield running


@contextlib.contextmanager
def _served(asked: Asked, config: Config, setup: Setup, local: socket.socket) -> Iterator[Running]:
    """An agent with what goes on beside it: serving, following the configuration, cleaning up connections."""
    log, systemd = setup.log, notifier()
    if reason := oom.adjust(config.proxy.oom_score_adj):
        log.debug("oomScoreAdj is not set", wanted=config.proxy.oom_score_adj, reason=reason)
    instance = instance_of(asked, config)
    facts = Facts(
        own_version(),
        asked.source,
        setup.wall(),
        given(asked),
        needs_node=asked.source == KUBERNETES,
        instance=instance.name,
    )
    for field in without_address(config.as_instance(instance)):
        log.warning("not served, an instance has no default address", field=field)
    recorder = event_recorder(asked, config, setup)
    front = Front(setup.backend.name, facts, log, recorder.record)
    front.metrics.read_from(lambda: rule_counts(setup.kernels.values()))

    def ready() -> None:
        connections.look()
        predecessors.start()

    tell = announcing(front, systemd, ready)
    cleaner = Cleaner(cleaning_news(log, tell))
    connections = Collector(cleaner.services, not_counted(log))
    setup = msgspec.structs.replace(setup, cleaner=cleaner, tell=tell, beat=systemd.beat, beat_s=systemd.beat_s)
    running = Running(Agent(setup))
    predecessors = Predecessors(lambda: running.agent.state, log, instance)
    with (
        recorder.open(),
        front.serving(config.as_instance(instance), lambda: running.agent.state, connections),
        following(asked, config, front, running),
    ):
        front.serve_locally(local)
        for remark in started(setup.backend.name):
            recorder.record(remark)
        cleaner.start()
        try:
            yield running
        finally:
            systemd.stopping()
            predecessors.stop()
            cleaner.stop()


@contextlib.contextmanager
def heeding(agent: Agent, log: Logger) -> Iterator[None]:
    """Hand the kernel's notifications about our rules to the agent; without them it looks every now and then only."""
    try:
        notices = Notices(agent.interests)
    except ObserveFailed as error:
        log.warning("changes by others are noticed late", error=str(error))
        yield
        return
    notices.start(agent.touch, agent.fail)
    try:
        yield
    finally:
        notices.stop()


@contextlib.contextmanager
def following(asked: Asked, config: Config, front: Front, running: Running) -> Iterator[None]:
    """Take over the configuration file whenever it changes, if there is one."""
    if asked.config is None:
        yield
        return
    path, setup = asked.config, running.agent.setup

    def changed(read: Config) -> bool:
        now = over(read, asked.flags)
        if reason := not_possible(asked, config, now, running.agent, setup.log):
            refused(reason)
            return False
        front.reloaded(path, "", time.time())
        for warning in now.warnings:
            setup.log.warning("configuration", remark=warning)
        if needs_another(asked, config, now):
            setup.log.info("configuration changed, beginning again with it", file=path)
            running.reopen(now)
            return True
        primary = node_addresses(asked.node_ips, now)
        running.agent.configure(now.settings_for(setup.backend.name), pace_of(now, setup.backend.name), primary)
        front.configure(now.as_instance(instance_of(asked, now)))
        set_conntrack(now.proxy.conntrack, setup.log)
        setup.log.info("configuration changed and in force", file=path)
        return True

    def refused(reason: str) -> None:
        front.reloaded(path, reason, time.time())
        setup.log.error("configuration changed, but the old one stays in force", file=path, reason=reason)

    watch = ConfigWatch(path, config, changed, refused)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


def not_possible(asked: Asked, before: Config, now: Config, agent: Agent, log: Logger) -> str:
    """Why a change of the backend cannot be followed; empty if it can, or there is none: then both backends stand."""
    wanted = asked.backend or now.proxy.mode
    if wanted == (asked.backend or before.proxy.mode):
        return ""
    find = finder(instance_of(asked, now))
    return prepare(Wish(wanted, now, node_addresses(asked.node_ips, now)), agent.state, log, find)


def needs_another(asked: Asked, before: Config, now: Config) -> bool:
    """Whether a change needs another backend, source, name, instance or log, and so another agent."""

    def essence(config: Config) -> tuple[object, ...]:
        proxy = config.proxy
        backend, node = asked.backend or proxy.mode, node_name(asked.node_name, config)
        return backend, instance_of(asked, config), node, proxy.client_connection.kubeconfig, proxy.logging

    return essence(before) != essence(now)


def pace_of(config: Config, backend: str) -> Pace:
    """How fast syncs follow one another."""
    pacing = config.pacing_for(backend)
    return Pace(pacing.min_gap_s, retry_max_s=pacing.sync_period_s, observe_every_s=pacing.sync_period_s)


def given(asked: Asked) -> Mapping[str, str]:
    """The options that were given, by name, kube-proxy's flags among them."""
    own = {
        "config": asked.config or "",
        "kubeconfig": asked.kubeconfig,
        "master": asked.master,
        "source": asked.source,
        "backend": asked.backend,
        "instance": asked.instance,
        "node-name": asked.node_name,
        "node-ip": ",".join(asked.node_ips),
        "family": ",".join(family.label for family in asked.families),
    }
    return {**{name: text for name, text in own.items() if text}, **asked.flags}


def of_instance(instance: Instance) -> Mapping[str, str]:
    """What the log says of an instance; nothing of the default one."""
    return {"instance": instance.name} if instance else {}


def own_version() -> str:
    """The version that is installed."""
    try:
        return installed_version("kproxy")
    except PackageNotFoundError:
        return "unknown"


def announcing(front: Front, systemd: Notifier, ready: Callable[[], None]) -> Callable[[news.News], None]:
    """Tells the front everything, and systemd and `ready`, once, that every family has been synced."""
    told = False

    def tell(what: news.News) -> None:
        nonlocal told
        front.tell(what)
        if not told and isinstance(what, news.Synced) and what.success and front.is_ready(what.family):
            told = True
            systemd.ready()
            ready()

    return tell


def cleaning_news(log: Logger, tell: Callable[[news.News], None]) -> Callable[[Cleaned], None]:
    """Tells what became of stale connections; logs each removal, and a standing trouble once in a while."""
    said = Recurrence()

    def cleaned_up(cleaned: Cleaned) -> None:
        tell(news.Cleaned(cleaned.family, cleaned.took_s, cleaned.deleted, cleaned.error))
        family = log.bind(family=cleaned.family.label)
        if cleaned.deleted:
            took_ms = round(cleaned.took_s * 1000, 1)
            family.info("stale connections removed", flows=cleaned.deleted, took_ms=took_ms)
        if cleaned.error and said.is_due((cleaned.family, cleaned.error), time.monotonic(), REMIND_S):
            family.warning("stale connections may remain", error=cleaned.error)

    return cleaned_up


def not_counted(log: Logger) -> Callable[[KproxyError], None]:
    """Logs why connections cannot be counted, a standing trouble once in a while."""
    said = Recurrence()

    def failed(error: KproxyError) -> None:
        if said.is_due(str(error), time.monotonic(), REMIND_S):
            log.warning("connections are not counted, their metrics may be old", error=str(error))

    return failed
