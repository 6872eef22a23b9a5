"""Puts an agent together: backend, source, host facts, pace; and takes it apart again, leaving the rules."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from conntrack.cleaner import Cleaned, Cleaner
from kproxy.agent import REMIND_S, Agent, Setup
from kproxy.config import Config
from kproxy.core.schedule import Pace
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.network import AddressWatch
from kproxy.wiring.backends import choose, close_all
from kproxy.wiring.cluster import live_host, node_addresses, node_name, open_source
from kproxy.wiring.question import Asked


@contextlib.contextmanager
def open_agent(asked: Asked, config: Config, log: Logger, *, once: bool = False) -> Iterator[Agent]:
    """An agent that is fed; the caller runs it. Afterwards all threads are joined and all doors closed.

    ConfigError, UnsupportedHost or ObserveFailed if it cannot even start.
    """
    name, primary = node_name(asked.node_name, config), node_addresses(asked.node_ips, config)
    source = open_source(asked.source, name, asked.kubeconfig or config.proxy.client_connection.kubeconfig)
    chosen = choose(asked.backend or config.proxy.mode, asked.families)
    try:
        log.info("backend chosen", backend=chosen.backend.name, why=chosen.why, node=name)
        for family, reason in chosen.missing.items():
            log.warning("family left out", family=family.label, reason=reason)
        pacing = config.pacing_for(chosen.backend.name)
        cleaner = None if once else Cleaner(cleaning_log(log))
        setup = Setup(
            backend=chosen.backend,
            kernels=chosen.kernels,
            settings=config.settings_for(chosen.backend.name),
            host=live_host(name, primary),
            pace=Pace(pacing.min_gap_s, retry_max_s=pacing.sync_period_s, observe_every_s=pacing.sync_period_s),
            log=log,
            once=once,
            cleaner=cleaner,
        )
        agent, watch = Agent(setup), AddressWatch()
        try:
            if cleaner is not None:
                cleaner.start()
            watch.start(agent.move, agent.fail)
            source.start(agent.put, agent.fail)
            yield agent
        finally:
            source.stop()
            watch.stop()
            if cleaner is not None:
                cleaner.stop()
    finally:
        close_all(chosen.kernels.values())


def cleaning_log(log: Logger) -> Callable[[Cleaned], None]:
    """Tells what became of stale connections: each removal, and a standing trouble once in a while."""
    said = Recurrence()

    def tell(cleaned: Cleaned) -> None:
        family = log.bind(family=cleaned.family.label)
        if cleaned.deleted:
            took_ms = round(cleaned.took_s * 1000, 1)
            family.info("stale connections removed", flows=cleaned.deleted, took_ms=took_ms)
        if cleaned.error and said.is_due((cleaned.family, cleaned.error), time.monotonic(), REMIND_S):
            family.warning("stale connections may remain", error=cleaned.error)

    return tell
