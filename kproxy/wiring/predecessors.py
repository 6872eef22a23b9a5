"""What an agent of ours left that ran with another backend here: taken away once the new rules are in force.

Rules kept: the old rules go only after the new ones have been read back and are as they are wanted, so that no
connection meets none; then they must go, because they would go on sending connections to endpoints that are gone. What
IPVS still carries connections through stays for as long as these do, but no longer than endpoints may drain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from kproxy.agent import State
from kproxy.core.leftovers import OURS
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.leftovers import Chains, Remains, Table
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.xtables import read_proc, standing_tools
from kproxy.errors import KproxyError, ObserveFailed
from kproxy.wiring.switching import unlike

AGAIN_S = 2.0
"""How soon it is tried again to find the new rules as they are wanted, or the old connections gone."""


def predecessors(backend: str, families: Iterable[Family] = tuple(Family)) -> Iterator[Remains]:
    """Where rules of another backend than this may stand."""
    for family in families:
        if backend == "nftables":
            yield from (Chains(OURS, tools) for tools in standing_tools(family, process.run, read_proc))
        elif backend == "iptables":
            yield Table(OURS.table, family)


class Predecessors:
    """Removes them in a thread of its own, for the agent has better things to do."""

    def __init__(self, state: Callable[[], State], log: Logger) -> None:
        self._state = state
        self._log = log
        self._said = Recurrence()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predecessors", daemon=True)

    def start(self) -> None:
        """Begin, once the agent's rules are in force."""
        self._thread.start()

    def stop(self) -> None:
        """End, as soon as what is under way is done."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        backend = self._state().backend.name
        try:
            found = [one for one in predecessors(backend) if one.find()]
            if found and self._is_verified():
                for one in found:
                    self._remove(one)
        except (KproxyError, OSError) as error:
            self._log.warning("what another backend left may stand: kproxy cleanup removes it", error=str(error))

    def _remove(self, one: Remains) -> None:
        lines = one.find()
        if lines:
            one.remove()
            self._log.info("removed what another backend of kproxy had left", count=len(lines), first=lines[0])

    def _is_verified(self) -> bool:
        """Wait until the agent's rules read back as they are wanted; False when the agent ends before."""
        while difference := self._difference():
            if self._said.is_due(difference, 0.0):
                self._log.warning("another backend's rules stay until ours are as wanted", difference=difference)
            if self._ended.wait(AGAIN_S):
                return False
        return True

    def _difference(self) -> str:
        """In what the kernel is not as the agent wants it, seen through a door of its own."""
        state = self._state()
        for family, side in state.sides.items():
            if side.world.compiled is None:
                return f"{family.label} is not compiled yet"
            kernel = state.backend.open(family)
            try:
                if found := unlike(state.backend, family, kernel, side.world.compiled.document):
                    return f"{family.label}: {found}"
            except ObserveFailed as error:
                return str(error)
            finally:
                kernel.close()
        return ""
