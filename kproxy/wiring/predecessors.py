"""What an agent of ours left that ran with another backend here: taken away once the new rules are in force.

Rules kept: the old rules go only after the new ones have been read back and are as they are wanted, so that no
connection meets none; then they must go, because they would go on sending connections to endpoints that are gone. What
IPVS still carries connections through stays for as long as these do, but no longer than endpoints may drain.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

import msgspec

from kproxy.agent import Agent, State
from kproxy.core.chains import IPVS_PREFIX, PREFIX
from kproxy.core.document import Document
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.leftovers import OURS, signs_of
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.leftovers import Chains, Remains, Table, named_link
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.xtables import read_proc, standing_tools
from kproxy.errors import KproxyError
from kproxy.ports import Carrier
from kproxy.wiring.audit import has_ipvs
from kproxy.wiring.backends import find_backend
from kproxy.wiring.cleanup import Known
from kproxy.wiring.switching import unlike

AGAIN_S: Final = 2.0
"""How soon it is looked again whether the new rules are as they are wanted, or the old connections gone."""
IPVS: Final = "ipvs"
_IPTABLES_CHAIN: Final = f"{PREFIX}(?!{IPVS_PREFIX.removeprefix(PREFIX)})\\S+"
STOP_S: Final = 1.5
"""How long stopping waits for the thread."""
OF_IPTABLES: Final = msgspec.structs.replace(
    OURS, chains=re.compile(f"\\S+ {_IPTABLES_CHAIN}"), entries=re.compile(_IPTABLES_CHAIN)
)
BEFORE_IPVS: Final = msgspec.structs.replace(
    OURS, chains=re.compile(f"mangle {IPVS_PREFIX}\\S+"), entries=re.compile(f"{IPVS_PREFIX}\\S+")
)
"""The chains that give packets their marks. The others keep a VIP from leading to the host's own services."""


def predecessors(
    backend: str, instance: Instance = DEFAULT, families: Iterable[Family] = tuple(Family)
) -> Iterator[Remains]:
    """What an instance has of other backends than this and only new connections need: it may go at once."""
    of_iptables = signs_of(instance) if instance else OF_IPTABLES
    follows_ipvs = backend != IPVS and not instance and has_ipvs(Family.IPV4)  # else no listing is asked for in vain
    for family in families:
        for tools in standing_tools(family, process.run, read_proc):
            if backend != "iptables":
                yield Chains(of_iptables, tools)
            if follows_ipvs:
                yield Chains(BEFORE_IPVS, tools)
        if backend != "nftables":
            yield Table(instance.table, family)


def carriers(
    backend: str, instance: Instance = DEFAULT, families: Iterable[Family] = tuple(Family)
) -> Iterator[Remains]:
    """What an instance has of other backends and established connections go through."""
    if backend != IPVS and not instance and has_ipvs(Family.IPV4):
        yield from (Known(find_backend(IPVS), family) for family in families)
        yield named_link(OURS.link)


class Predecessors:
    """Removes them in a thread of its own, for the agent has better things to do."""

    def __init__(self, state: Callable[[], State], log: Logger, instance: Instance = DEFAULT) -> None:
        self._state = state
        self._instance = instance
        self._log = log
        self._said = Recurrence()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="predecessors", daemon=True)

    def start(self) -> None:
        """Begin, once the agent's rules are in force."""
        self._thread.start()

    def stop(self) -> None:
        """End, as soon as what is under way is done; a program that hangs is not waited for, it ends with the agent."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def finish(self) -> None:
        """Remove at once what can go without waiting, and say what stays; for an agent that has synced and ends."""
        self._ended.set()
        self._run()
        backend = self._state().backend.name
        with contextlib.suppress(KproxyError, OSError):  # `_run` has told them
            remains = chain(predecessors(backend, self._instance), carriers(backend, self._instance))
            lines = [line for one in remains for line in one.find()]
            if lines:
                self._log.warning(
                    "rules of another backend of kproxy stand beside these",
                    count=len(lines),
                    first=lines[0],
                    remedy="a lasting kproxy run takes them away when they may go",
                )

    def _run(self) -> None:
        backend = self._state().backend.name
        try:
            at_once = [one for one in predecessors(backend, self._instance) if one.find()]
            carrying = [one for one in carriers(backend, self._instance) if one.find()]
            if (at_once or carrying) and self._is_verified():
                self._remove(at_once)
                if carrying and self._are_connections_done():
                    self._remove(carrying)
        except (KproxyError, OSError) as error:
            self._log.warning("what another backend left may stand: kproxy cleanup removes it", error=str(error))

    def _remove(self, remains: Sequence[Remains]) -> None:
        for one in remains:
            if lines := one.find():
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
        if unknown := state.snapshot.flaws.unknown:
            return f"what the source says is not known: {unknown[0]}"
        for family in state.sides:
            kernel = state.backend.open(family)
            try:
                found = unlike(state.backend, family, kernel, partial(self._wanted, family))
            finally:
                kernel.close()
            if found:
                return f"{family.label}: {found}"
        return ""

    def _wanted(self, family: Family) -> Document:
        """What the agent has compiled last; it has synced before this begins."""
        compiled = self._state().sides[family].world.compiled
        return compiled.document if compiled else {}

    def _are_connections_done(self) -> bool:
        """Wait until IPVS carries no connection of ours, or for as long as they may drain; False when the agent ends.

        They pass it by their own entries; new ones never come so far, for they are translated before.
        """
        began = time.monotonic()
        while left := sum(map(connections, Family)):
            drain_s = self._state().settings.ipvs.drain_s
            if time.monotonic() - began >= drain_s:
                self._log.warning("connections of the IPVS backend are ended", connections=left, after_s=drain_s)
                break
            if self._said.is_due("draining", 0.0):
                self._log.info("connections of the IPVS backend may finish", connections=left, within_s=drain_s)
            if self._ended.wait(AGAIN_S):
                return False
        return True


@contextlib.contextmanager
def succeeding(agent: Agent, log: Logger, instance: Instance) -> Iterator[None]:
    """Beside an agent that ends by itself: once it has, and nothing went wrong, what other backends left goes."""
    yield
    if all(side.updated_at is not None for side in agent.state.sides.values()):
        Predecessors(lambda: agent.state, log, instance).finish()


def connections(family: Family) -> int:
    """How many connections the IPVS backend's virtual servers have."""
    kernel = find_backend(IPVS).open(family)
    try:
        return kernel.connections() if isinstance(kernel, Carrier) else 0
    finally:
        kernel.close()
