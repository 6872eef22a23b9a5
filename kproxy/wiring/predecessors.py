"""What an agent of ours left that ran with another backend here: taken away once the new rules are in force.

Rules kept: the new rules come first, so that no connection meets none; then the old ones must go, because they would
go on sending connections to endpoints that are gone. iptables and nftables are known; IPVS's chains bear the names of
those of iptables, so where it is involved `kproxy cleanup` has to be asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from kproxy.core.leftovers import OURS
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.leftovers import Chains, Remains, Table
from kproxy.effects.logs import Logger
from kproxy.effects.xtables import read_proc, standing_tools
from kproxy.errors import KproxyError


def predecessors(backend: str, families: Iterable[Family] = tuple(Family)) -> Iterator[Remains]:
    """Where rules of the other backend may stand."""
    for family in families:
        if backend == "nftables":
            yield from (Chains(OURS, tools) for tools in standing_tools(family, process.run, read_proc))
        elif backend == "iptables":
            yield Table(OURS.table, family)


def remove_predecessors(backend: str, log: Logger) -> None:
    """Take away what stands of the other backend; what cannot be is told and does no harm to the agent."""
    try:
        for one in predecessors(backend):
            if found := one.find():
                one.remove()
                log.info("removed what another backend of kproxy had left", count=len(found), first=found[0])
    except (KproxyError, OSError) as error:
        log.warning("what another backend left may stand: kproxy cleanup removes it", error=str(error))


def begin_removing(backend: str, log: Logger) -> None:
    """The same in a thread of its own, for the agent has better things to do."""
    threading.Thread(target=remove_predecessors, args=(backend, log), name="predecessors", daemon=True).start()
