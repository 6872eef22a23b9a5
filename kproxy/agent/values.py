"""What an agent is told, at its start and while it runs, and what it knows of a family between syncs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from conntrack.cleaner import Cleaner
from kproxy.core.host import Host, Settings
from kproxy.core.model import Event
from kproxy.core.schedule import Pace, Schedule
from kproxy.core.values import Family, Value
from kproxy.effects.logs import Logger
from kproxy.effects.network import Refused, Sysctl, ensure
from kproxy.errors import KernelError
from kproxy.ports import Backend, Kernel
from kproxy.report.counters import SyncCounters
from kproxy.sync import World


class Events(Value, frozen=True):
    """A source delivered."""

    events: Sequence[Event]


class Trouble(Value, frozen=True):
    """A source, or a watch, met an error that it will retry or that costs one object."""

    error: Exception


class Addresses(Value, frozen=True):
    """This node's addresses are now these."""

    addresses: frozenset[str]


class Stop(Value, frozen=True):
    """The agent is to end."""


Message = Events | Trouble | Addresses | Stop


class Setup(Value, frozen=True):
    """What an agent is told at its start."""

    backend: Backend
    kernels: Mapping[Family, Kernel]
    settings: Settings
    host: Host
    pace: Pace
    log: Logger
    once: bool = False
    """End after each family's first sync."""
    cleaner: Cleaner | None = None
    """Removes stale connections after syncs; None: nobody does."""
    clock: Callable[[], float] = time.monotonic
    ensure: Callable[[Sysctl], Refused | None] = ensure


class Side(Value, frozen=True):
    """One family's state between syncs."""

    schedule: Schedule = Schedule()
    pace: Pace = Pace()
    world: World = World()
    counters: SyncCounters = SyncCounters()
    error: KernelError | None = None
    """Why the last sync failed."""
