"""When to look at the kernel because it may have been changed by others: a machine without a clock.

Two ways lead here. A notification says that something of ours may have been touched; and what the kernel tells nobody
about is glanced at, which is cheap: a fingerprint is compared with the last one. Both end in a look (observe and diff),
which alone knows. Rules kept:

- The first touch leads to a look at once, or as soon as the burst that it belongs to has settled.
- Looks for this reason come from an allowance, so that a neighbour who fights us is answered `BURST` times, then every
  now and then: looking never takes more than `LOOK_SHARE` of the time for long.
- Our own writes change the fingerprint too, so it is taken anew after each; glances never take more than
  `GLANCE_SHARE` of the time.

Times are seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import msgspec

from kproxy.core.values import Value

SETTLE_S: Final = 0.05
"""How long to wait for the rest of what began with a touch."""
BURST: Final = 10
"""How many looks may follow one another at once."""
REFILL_S: Final = 2.0
"""How long it takes, at least, until one more look is allowed."""
LOOK_SHARE: Final = 0.01
"""What share of the time looks may take for long."""
GLANCE_EVERY_S: Final = 2.0
"""How often what the kernel tells nobody about is glanced at; a look that follows makes it less than 5 s."""
GLANCE_SHARE: Final = 0.02
"""What share of the time glances may take."""


class Vigil(Value, frozen=True):
    """What is known of touches, looks and glances of one family."""

    touched_at: float | None = None
    """The oldest touch that no look has taken up."""
    by: tuple[str, ...] = ()
    """Who did it, as far as is known."""
    is_told: bool = True
    """Whether a notification told of the touch, rather than a glance."""
    allowance: float = float(BURST)
    counted_at: float = 0.0
    """When the allowance was as it says."""
    look_s: float = 0.0
    """How long the last look took."""
    print: Hashable = None
    """The fingerprint at the last glance; None: not taken since we wrote."""
    glanced_at: float | None = None
    glance_s: float = 0.0


def touched(vigil: Vigil, now: float, by: str = "", *, is_told: bool = True) -> Vigil:
    """Something of ours may have been changed; what came in time for a look that waits is one touch with it."""
    if vigil.touched_at is None:
        return msgspec.structs.replace(vigil, touched_at=now, by=(by,) if by else (), is_told=is_told)
    known = vigil.by if not by or by in vigil.by else (*vigil.by, by)
    return msgspec.structs.replace(vigil, by=known)


def look_at(vigil: Vigil) -> float | None:
    """When to look (maybe in the past: now); None while nothing asks for it."""
    if vigil.touched_at is None:
        return None
    missing = 1.0 - vigil.allowance
    allowed_at = vigil.counted_at + missing * refill_s(vigil) if missing > 0 else vigil.touched_at
    return max(vigil.touched_at + SETTLE_S, allowed_at)


def is_worth_a_look(vigil: Vigil, now: float) -> bool:
    """Whether a sync that runs anyway should look: the touch need not settle for that, but be allowed for."""
    at = look_at(vigil)
    return at is not None and at - SETTLE_S <= now


def looked(vigil: Vigil, now: float, took_s: float) -> Vigil:
    """A look has ended that took so long; it took up the touch, if there was one, and used some of the allowance."""
    spent = 0.0 if vigil.touched_at is None else 1.0
    before = now - took_s
    left = min(vigil.allowance + max(before - vigil.counted_at, 0.0) / refill_s(vigil), float(BURST))
    return msgspec.structs.replace(
        vigil, touched_at=None, by=(), is_told=True, allowance=left - spent, counted_at=before, look_s=took_s
    )


def waits(vigil: Vigil) -> float:
    """For how long the next touch will have to wait for its look, counted from the last one; 0 if not at all."""
    return max(1.0 - vigil.allowance, 0.0) * refill_s(vigil)


def refill_s(vigil: Vigil) -> float:
    """How long it takes until one more look is allowed."""
    return max(REFILL_S, vigil.look_s / LOOK_SHARE)


def wrote(vigil: Vigil) -> Vigil:
    """We have written: the fingerprint is to be taken anew."""
    return msgspec.structs.replace(vigil, print=None)


def glance_at(vigil: Vigil, now: float) -> float:
    """When to glance: soon while there is no fingerprint to compare with, and never too often."""
    if vigil.glanced_at is None:
        return now
    pause_s = vigil.glance_s / GLANCE_SHARE
    return vigil.glanced_at + (pause_s if vigil.print is None else max(GLANCE_EVERY_S, pause_s))


def glanced(vigil: Vigil, found: Hashable, began: float, ended: float) -> Vigil:
    """A glance has found this (None: it failed); another fingerprint than the last one is a touch."""
    seen = msgspec.structs.replace(vigil, print=found, glanced_at=ended, glance_s=ended - began)
    if found is None or vigil.print is None or found == vigil.print:
        return seen
    return touched(seen, ended, is_told=False)
