"""Finds backends by name and chooses one for this machine.

Rules kept: a backend is imported when it is asked for, not before; ours are found without looking at the installed
distributions, others by entry points of group `kproxy.backends`; a broken one is named and skipped; the choice is made
by what the kernel can do (its door opens), never by a version number.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.values import Family, Value
from kproxy.errors import ConfigError, KproxyError, UnsupportedHost
from kproxy.ports import Backend, Instanced, Kernel
from kproxy.wiring.question import BACKENDS

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "kproxy.backends"
OURS: Mapping[str, str] = {name: f"backends.{name}" for name in BACKENDS}
"""Our backends and their modules."""
PREFERRED = ("nftables", "iptables")
"""Those that are chosen where none is named, in this order."""
OFFLINE_DEFAULT = "nftables"

Find = Callable[[str], Backend]


class Chosen(Value, frozen=True):
    """A backend with its open doors, and the reason, for the log."""

    backend: Backend
    kernels: Mapping[Family, Kernel]
    why: str
    missing: Mapping[Family, str]
    """Families that this machine cannot do with this backend, and why not."""


def backend_names() -> tuple[str, ...]:
    """Every installed backend's name, ours first."""
    return (*OURS, *sorted(_others()))


def find_backend(name: str, instance: Instance = DEFAULT) -> Backend:
    """The backend of a name for an instance.

    ConfigError if there is none, if another distribution's cannot be imported, or if it serves no instances.
    """
    backend = _find(name)
    if not instance:
        return backend
    if not isinstance(backend, Instanced):
        reason = "it serves one agent on a node, the one without a name"
        raise ConfigError(f"backend {name!r} cannot be that of {instance}: {reason}; use {' or '.join(PREFERRED)}")
    return backend.of(instance)


def backends_of(instance: Instance) -> tuple[Backend, ...]:
    """Every installed backend that serves this instance."""
    every = [_find(name) for name in backend_names()]
    return tuple(one.of(instance) for one in every if isinstance(one, Instanced)) if instance else tuple(every)


def finder(instance: Instance) -> Find:
    """Finds backends of an instance by name."""
    return functools.partial(find_backend, instance=instance)


def _find(name: str) -> Backend:
    if name in OURS:
        backend: Backend = import_module(OURS[name]).BACKEND
        return backend
    others = _others()
    if name not in others:
        near = difflib.get_close_matches(name, backend_names(), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"there is no backend {name[:80]!r}{hint}; installed are {', '.join(backend_names())}")
    entry = others[name]
    try:
        loaded: Backend = entry.load()
    except Exception as error:  # whatever another distribution raises while it is imported
        raise ConfigError(
            f"backend {name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return loaded


def _others() -> Mapping[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - it is slow, and seldom needed

    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in OURS}


def choose(named: str, families: Collection[Family], find: Find = find_backend) -> Chosen:
    """Open the named backend's doors, or, if none is named, those of the first preferred one that this kernel can.

    One family may be missing. UnsupportedHost if none is left, ConfigError for an unknown name.
    """
    if named:
        return _open(find(named), families, f"{named} was asked for")
    reasons: list[str] = []
    for name in PREFERRED:
        try:
            return _open(find(name), families, "; ".join([*reasons, f"{name} works here"]))
        except UnsupportedHost as error:
            reasons.append(f"{name} does not: {error}")
    raise UnsupportedHost(f"no backend works here; {'; '.join(reasons)}")


def _open(backend: Backend, families: Iterable[Family], why: str) -> Chosen:
    kernels: dict[Family, Kernel] = {}
    missing: dict[Family, UnsupportedHost] = {}
    for family in families:
        try:
            kernels[family] = backend.open(family)
        except UnsupportedHost as error:
            missing[family] = error
    if not kernels:
        raise next(iter(missing.values()))
    return Chosen(backend, kernels, why, {family: str(error) for family, error in missing.items()})


def close_all(kernels: Iterable[Kernel]) -> None:
    """Close doors; what one of them says to that is of no use any more."""
    for kernel in kernels:
        try:
            kernel.close()
        except (KproxyError, OSError):
            continue
