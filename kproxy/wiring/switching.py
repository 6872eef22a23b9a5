"""Changes the backend of a running node: the new rules are written and read back while the agent goes on with the old.

Rules kept: both stand side by side, and whichever a new connection meets first decides about it; what cannot be opened,
is refused or does not read back as it is wanted is taken away again, and the old backend stays, followed as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from kproxy.agent import State
from kproxy.audit.own import own_differences
from kproxy.config import Config
from kproxy.core.document import Change, Document, diff
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, Value
from kproxy.effects.logs import Logger
from kproxy.errors import KproxyError
from kproxy.ports import Backend, Kernel
from kproxy.sync import Pass, World, sync_family
from kproxy.wiring.backends import Chosen, Find, choose, close_all, find_backend

NOT_CARRIED = "affinity is not carried over: a client's next connection may meet another endpoint"
MAX_SHOWN = 3


class Wish(Value, frozen=True):
    """The backend that a changed configuration asks for (empty: the best there is), and what goes with it."""

    backend: str
    config: Config
    primary: tuple[str, ...]
    """The node's primary addresses, as `Host.primary`."""


def prepare(wish: Wish, state: State, log: Logger, find: Find = find_backend) -> str:
    """Let another backend's rules stand beside those of the one that runs; why they do not, or empty if they do.

    An agent that does not yet know the cluster has nothing to lose: then only the doors are tried.
    """
    try:
        chosen = choose(wish.backend, tuple(state.sides), find)
    except KproxyError as error:
        return str(error)
    try:
        if chosen.backend.name == state.backend.name:
            return ""
        if chosen.missing:
            return "; ".join(f"{family.label}: {reason}" for family, reason in chosen.missing.items())
        return _program(chosen, wish, state, log) if state.snapshot.synced else ""
    finally:
        close_all(chosen.kernels.values())


def _program(chosen: Chosen, wish: Wish, state: State, log: Logger) -> str:
    settings = wish.config.settings_for(chosen.backend.name)
    host = msgspec.structs.replace(state.host, primary=wish.primary)
    plans: dict[Family, NodePlan] = {}
    for family, kernel in chosen.kernels.items():
        done = sync_family(World(), state.snapshot, settings, host, family, chosen.backend, kernel)
        if reason := _unlike(done, chosen.backend, family, kernel):
            return f"{chosen.backend.name}, {family.label}: {reason}{_take_back(chosen.kernels)}"
        if done.world.planned is not None:
            plans[family] = done.world.planned.plan
    log.info("another backend's rules stand beside the old ones", backend=chosen.backend.name, old=state.backend.name)
    if kept := clients_kept(plans):
        log.warning(NOT_CARRIED, services=len(kept), first=", ".join(kept[:MAX_SHOWN]))
    return ""


def _unlike(done: Pass, backend: Backend, family: Family, kernel: Kernel) -> str:
    """What is not as it is wanted after a pass; empty if all is."""
    if done.error is not None:
        return str(done.error)
    if done.outcome.refusals:
        return "; ".join(f"{one.owner}: {one.what}: {one.reason}" for one in done.outcome.refusals[:MAX_SHOWN])
    compiled = done.world.compiled
    return unlike(backend, family, kernel, lambda: compiled.document) if compiled else ""


def unlike(backend: Backend, family: Family, kernel: Kernel, want: Callable[[], Document]) -> str:
    """In what the kernel differs from what is wanted, read back; empty if in nothing.

    What is wanted may change while the kernel is read: objects that it is about then are not compared.
    """
    before = want()
    try:
        have = kernel.observe()
    except KproxyError as error:
        return str(error)
    after = want()
    differences = own_differences(family, without(diff(have, after), diff(before, after)), backend)
    if not differences:
        return ""
    first = differences[0]
    return f"{len(differences)} differences after writing, first {first.where}: {first.kind}: {first.what}"


def without(change: Change, moving: Change) -> Change:
    """A change but for the objects that another one is about."""
    others = moving.added.keys() | moving.changed.keys() | moving.removed.keys()
    return Change(
        {key: one for key, one in change.added.items() if key not in others},
        {key: one for key, one in change.changed.items() if key not in others},
        {key: one for key, one in change.removed.items() if key not in others},
    )


def _take_back(kernels: Mapping[Family, Kernel]) -> str:
    """Remove what was written of a backend that is not to be; what that met, in words."""
    said = []
    for kernel in kernels.values():
        try:
            kernel.apply(diff(kernel.observe(), {}))
        except KproxyError as error:
            said.append(str(error))
    return f"; what was written could not be taken back: {'; '.join(said)}" if said else ""


def clients_kept(plans: Mapping[Family, NodePlan]) -> list[str]:
    """The Services that keep a client at its endpoint, in order."""
    services = (one for plan in plans.values() for one in plan.services.values())
    return sorted({str(one.service) for one in services if any(port.affinity_s for port in one.ports)})
