"""When to look at the kernel because it may have been changed by others: a machine without a clock.

Two ways lead here. A notification says that something of ours may have been touched; and what the kernel tells nobody
about is glanced at, which is cheap: a fingerprint is compared with the last one. Both end in a look (observe and diff),
which alone knows. Rules kept:

- The first touch leads to a look at once, or as soon as the burst that it belongs to has settled.
- Looks for this reason come from an allowance, so that a neighbour who fights us is answered `BURST` times, then every
  now and then: looking never takes more than `LOOK_SHARE` of the time for long.
- Our own writes change the fingerprint too, so it is taken just before and anew after each. Where that left room for
  others, between a look and what was written because of it, say, a look follows that confirms; these leave some
  of the allowance, so that a touch does not wait because of them.
- Glances never take more than `GLANCE_SHARE` of the time.

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
LOOK_SHARE: Final = 0.05
"""What share of the time looks, and what they put right, may take for long."""
SPARED: Final = 2
"""How many looks are left for touches, when others have taken theirs."""
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
    is_unsure: bool = False
    """Whether others may have changed something that the fingerprint holds already, or will."""
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
    if vigil.touched_at is not None:
        return max(vigil.touched_at + SETTLE_S, _allowed_at(vigil, 1.0))
    if vigil.is_unsure and vigil.print is not None and vigil.glanced_at is not None:
        return max(vigil.glanced_at, _allowed_at(vigil, 1.0 + SPARED))
    return None


def _allowed_at(vigil: Vigil, needed: float) -> float:
    """When so much of the allowance will be there."""
    missing = needed - vigil.allowance
    return vigil.counted_at + missing * refill_s(vigil) if missing > 0 else float("-inf")


def is_worth_a_look(vigil: Vigil, now: float) -> bool:
    """Whether a sync that runs anyway should look: the touch need not settle for that, but be allowed for."""
    at = look_at(vigil)
    return at is not None and at - SETTLE_S <= now


def looked(vigil: Vigil, now: float, took_s: float) -> Vigil:
    """A look has ended that took so long; it took up the touch, if there was one, and used some of the allowance."""
    asked = vigil.touched_at is not None or (vigil.is_unsure and vigil.print is not None)
    before = now - took_s
    left = min(vigil.allowance + max(before - vigil.counted_at, 0.0) / refill_s(vigil), float(BURST))
    return Vigil(
        allowance=left - asked,
        counted_at=before,
        look_s=took_s,
        print=vigil.print,
        glanced_at=vigil.glanced_at,
        glance_s=vigil.glance_s,
    )


def waits(vigil: Vigil) -> float:
    """For how long the next touch will have to wait for its look, counted from the last one; 0 if not at all."""
    return max(1.0 - vigil.allowance, 0.0) * refill_s(vigil)


def refill_s(vigil: Vigil) -> float:
    """How long it takes until one more look is allowed."""
    return max(REFILL_S, vigil.look_s / LOOK_SHARE)


def wrote(vigil: Vigil, *, is_sure: bool) -> Vigil:
    """We have written: the fingerprint is to be taken anew. `is_sure`: a glance just before found all as it was."""
    return msgspec.structs.replace(vigil, print=None, is_unsure=vigil.is_unsure or not is_sure)


def glance_at(vigil: Vigil) -> float:
    """When to glance: soon while there is no fingerprint to compare with, and never too often; the first time now."""
    if vigil.glanced_at is None or vigil.print is None:
        return may_glance_at(vigil)
    return max(vigil.glanced_at + GLANCE_EVERY_S, may_glance_at(vigil))


def may_glance_at(vigil: Vigil) -> float:
    """From when on a glance keeps to its share of the time."""
    return float("-inf") if vigil.glanced_at is None else vigil.glanced_at + vigil.glance_s / GLANCE_SHARE


def glanced(vigil: Vigil, found: Hashable, began: float, ended: float) -> Vigil:
    """A glance has found this (None: it failed); another fingerprint than the last one is a touch."""
    seen = msgspec.structs.replace(vigil, print=found, glanced_at=ended, glance_s=ended - began)
    if found is None or vigil.print is None or found == vigil.print:
        return seen
    return touched(seen, ended, is_told=False)
