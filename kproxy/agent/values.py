"""What an agent is told, at its start and while it runs, and what it knows of a family between syncs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from conntrack.cleaner import Cleaner
from kproxy.core.host import Host, Settings
from kproxy.core.model import Event
from kproxy.core.schedule import Pace, Schedule
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, Value
from kproxy.core.vigil import Vigil
from kproxy.core.waiting import Waiting
from kproxy.effects.logs import Logger
from kproxy.effects.network import Refused, Sysctl, ensure
from kproxy.errors import KernelError
from kproxy.netlink.notices import Touch
from kproxy.ports import Backend, Kernel
from kproxy.report.counters import SyncCounters
from kproxy.report.news import News
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


class Reconfigure(Value, frozen=True):
    """The configuration is now this, as far as an agent can follow it."""

    settings: Settings
    pace: Pace
    primary: tuple[str, ...]
    """The node's primary addresses, as `Host.primary`."""


class Touched(Value, frozen=True):
    """Somebody may have changed rules of ours."""

    touch: Touch


class Stop(Value, frozen=True):
    """The agent is to end."""


Message = Events | Trouble | Addresses | Reconfigure | Touched | Stop


def unheard(_news: News) -> None:
    """Nobody is told."""


def heartless() -> None:
    """Nobody asks whether the agent lives."""


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
    tell: Callable[[News], None] = unheard
    """Hears, in the agent's thread, what it does; it must return at once."""
    beat: Callable[[], None] = heartless
    """Called between passes, at least every `beat_s`."""
    beat_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    ensure: Callable[[Sysctl], Refused | None] = ensure


class Side(Value, frozen=True):
    """One family's state between syncs."""

    schedule: Schedule = Schedule()
    pace: Pace = Pace()
    world: World = World()
    counters: SyncCounters = SyncCounters()
    error: KernelError | None = None
    """Why the last sync failed."""
    waiting: Waiting | None = None
    """Why nothing has been programmed."""
    updated_at: float | None = None
    """When a sync last succeeded, in seconds since the epoch."""
    vigil: Vigil = Vigil()
    """What is known of others who may have changed our rules."""
    triggers: tuple[float, ...] = ()
    """When that was changed which the next sync takes up, as far as endpoints say it; seconds since the epoch."""


class State(Value, frozen=True):
    """What an agent knows at one moment; made for other threads to read."""

    snapshot: Snapshot
    host: Host
    settings: Settings
    backend: Backend
    sides: Mapping[Family, Side]
    now: float
    """The agent's clock: what the schedules' times are compared with."""
    unheard_since: float | None
    """Since when a message waits to be taken up; None: none does."""
    flawed_at: float | None = None
    """Since when the source cannot be read as a whole, in seconds since the epoch; None: it can."""
