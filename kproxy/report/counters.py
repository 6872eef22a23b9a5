"""What the syncs of one family add up to, as a value: for the log now, for metrics later."""

from __future__ import annotations

from kproxy.core.document import Change
from kproxy.core.values import Value


class SyncCounters(Value, frozen=True):
    """Totals since the agent started, and the last sync's time."""

    syncs: int = 0
    failures: int = 0
    refusals: int = 0
    """Objects that the kernel would not take while the rest of the change landed."""
    added: int = 0
    changed: int = 0
    removed: int = 0
    last_s: float = 0.0
    """How long the last sync took."""

    def after(self, change: Change, took_s: float, refusals: int, *, failed: bool) -> SyncCounters:
        """The totals with one more sync; of a failed one the change did not happen."""
        landed = 0 if failed else 1
        return SyncCounters(
            self.syncs + 1,
            self.failures + failed,
            self.refusals + refusals,
            self.added + landed * len(change.added),
            self.changed + landed * len(change.changed),
            self.removed + landed * len(change.removed),
            took_s,
        )
