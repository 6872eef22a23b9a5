"""What happens to an agent, as values: told once, by whoever knows, to whoever counts, serves or remembers it.

Metrics, health-check listeners and readiness are derived from these, so that the agent knows none of them. Times called
`at` are seconds since the epoch, for people and dashboards; durations end in `_s`.
"""

from __future__ import annotations

from collections.abc import Mapping

from kproxy.core.document import Change
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, Value
from kproxy.core.waiting import Waiting
from kproxy.errors import KernelError
from kproxy.ports import Refusal
from kproxy.report.drift import Drift


class Heard(Value, frozen=True):
    """The source told something new: a sync is wanted."""

    at: float
    families: tuple[Family, ...]
    services: int
    """How many Services are new, different or gone."""
    endpoints: int
    """The Services whose EndpointSlices are."""


class Synced(Value, frozen=True):
    """A family's pass has ended, for better or worse."""

    at: float
    family: Family
    backend: str
    took_s: float
    stages: Mapping[str, float]
    """How long each stage took that was reached, in seconds."""
    observed: bool
    """Whether the kernel was looked at, rather than remembered."""
    change: Change
    refusals: tuple[Refusal, ...]
    error: KernelError | None
    plan: NodePlan | None
    waited_s: float | None
    """Since when the oldest change in it was known; None: it took up none."""
    programming_s: tuple[float, ...]
    """How long ago each change of endpoints was triggered that is in force with this pass."""
    drift: Drift = Drift()
    """In what the kernel was not as the last pass had left it, which is now put right."""
    waiting: Waiting | None = None
    """Why nothing was programmed."""

    @property
    def success(self) -> bool:
        """Whether all of it is in force."""
        return self.error is None and not self.refusals and self.waiting is None


class Troubled(Value, frozen=True):
    """A source met an error, or an object that cannot be used."""

    error: Exception


class Cleaned(Value, frozen=True):
    """A look at a family's connections has ended."""

    family: Family
    took_s: float
    deleted: int
    error: str


class Probed(Value, frozen=True):
    """Somebody asked for this proxy's health and was given this status."""

    path: str
    status: int


class WatchBegan(Value, frozen=True):
    """A watch of this kind of object was begun again."""

    kind: str


class Reloaded(Value, frozen=True):
    """The configuration file has changed; `reason` says why it is not in force, and is empty if it is."""

    at: float
    reason: str


News = Heard | Synced | Troubled | Cleaned | Probed | WatchBegan | Reloaded
