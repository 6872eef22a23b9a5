"""Looks at the table every now and then for the sake of metrics, in a thread of its own and within a budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from conntrack.metrics import Metric, table_metrics
from conntrack.services import Services
from conntrack.stats import Tally, summarise
from conntrack.table import Table
from kproxy.errors import KproxyError

EVERY_S: Final = 30.0
SHARE: Final = 0.02
"""What share of one processor collecting may take: a large table is looked at less often."""


class Collector:
    """Keeps the newest metrics of the table; `latest` never waits."""

    def __init__(
        self,
        services: Callable[[], Services],
        fail: Callable[[KproxyError], None],
        open_table: Callable[[], Table] = Table,
        every_s: float = EVERY_S,
    ) -> None:
        self._services = services
        self._fail = fail
        self._open_table = open_table
        self._every_s = every_s
        self._stop = threading.Event()
        self._latest: tuple[Metric, ...] = ()
        self._thread = threading.Thread(target=self._run, name="conntrack-collector", daemon=True)

    def start(self) -> None:
        """Begin; the thread works in the network namespace of the caller."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def latest(self) -> tuple[Metric, ...]:
        """The metrics of the last look that succeeded; empty before the first."""
        return self._latest

    def _run(self) -> None:
        took_s = 0.0
        while True:
            start = time.thread_time()
            try:
                self._latest = self._collect()
            except KproxyError as error:
                self._fail(error)
            took_s = time.thread_time() - start
            if self._stop.wait(max(self._every_s, took_s / SHARE)):
                return

    def _collect(self) -> tuple[Metric, ...]:
        with self._open_table() as table:
            tally = table.whole(_tally)
            return table_metrics(table.limits(), table.cpu_counters(), summarise(tally, self._services()))


def _tally(batches: Iterator[list[bytes]]) -> Tally:
    tally = Tally(clients=False)
    for batch in batches:
        tally.add(batch)
    return tally
