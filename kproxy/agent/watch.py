"""Notices that others may have changed our rules: hears notifications, and glances at what is told by none.

Whether they have, only a look can tell, which is a pass of the agent; when it is due is `core.vigil`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from kproxy.agent.values import Side
from kproxy.core.values import Family
from kproxy.core.vigil import glance_at, glanced, look_at, looked, may_glance_at, touched, wrote
from kproxy.errors import KernelError
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Kernel, Watched


class Watch:
    """Over the kernels that can be watched; the others are looked at every now and then only."""

    def __init__(
        self, kernels: Mapping[Family, Kernel], clock: Callable[[], float], trouble: Callable[[KernelError], None]
    ) -> None:
        """`trouble` is told of glances that fail."""
        self._clock = clock
        self._trouble = trouble
        self._watched = {family: kernel for family, kernel in kernels.items() if isinstance(kernel, Watched)}
        self.interests: Sequence[Interest] = tuple(kernel.interest() for kernel in self._watched.values())
        self._partial = frozenset(one.family for one in self.interests if one.is_partial)

    def heard(self, side: Side, touch: Touch) -> Side:
        """The side after a notification; the same if it is of what we did ourselves."""
        kernel = self._watched.get(touch.family)
        if kernel is None or kernel.is_own(touch):
            return side
        return msgspec.structs.replace(side, vigil=touched(side.vigil, self._clock(), touch.by))

    def due(self, family: Family, side: Side) -> float | None:
        """When there is something to do for the watch, a glance or a look (maybe in the past); None: nothing so far."""
        wanted = (look_at(side.vigil), self._glance_due(family, side))
        return min((at for at in wanted if at is not None), default=None)

    def glance(self, family: Family, side: Side) -> Side:
        """The side after a glance, if one is due."""
        due = self._glance_due(family, side)
        return side if due is None or due > self._clock() else self._glanced(family, side)

    def before_writing(self, family: Family, side: Side, since: float) -> tuple[Side, bool]:
        """The side before a pass, and whether a glance (not before `since`) could tell if all is as it was."""
        vigil = side.vigil
        if family not in self._partial:
            return side, True
        if vigil.print is None:
            return side, False
        if vigil.glanced_at is not None and vigil.glanced_at >= since:
            return side, True
        if may_glance_at(vigil) > self._clock():
            return side, False
        return self._glanced(family, side), True

    def _glanced(self, family: Family, side: Side) -> Side:
        began, found = self._clock(), None
        try:
            found = self._watched[family].glance()
        except KernelError as error:
            self._trouble(error)
        return msgspec.structs.replace(side, vigil=glanced(side.vigil, found, began, self._clock()))

    def _glance_due(self, family: Family, side: Side) -> float | None:
        """Never before there is anything that could be changed."""
        if family not in self._partial or side.world.applied is None:
            return None
        return glance_at(side.vigil)

    def observed(self, side: Side, took_s: float) -> Side:
        """The side after a pass that has just looked, and took so long."""
        return msgspec.structs.replace(side, vigil=looked(side.vigil, self._clock(), took_s))

    def wrote(self, side: Side, *, is_sure: bool) -> Side:
        """The side after a pass that wrote."""
        return msgspec.structs.replace(side, vigil=wrote(side.vigil, is_sure=is_sure))
