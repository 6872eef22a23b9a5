"""All checks, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from kproxy.core.doctor import ability, rivals, settings
from kproxy.core.doctor.checks import Check, Status
from kproxy.core.doctor.facts import Facts

CHECKS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    ability.capabilities,
    ability.backends,
    ability.tools,
    settings.agent,
    rivals.processes,
    rivals.remnants,
    rivals.links,
    rivals.variants,
    rivals.ports,
    settings.parameters,
    settings.ephemeral_ports,
    settings.connections,
    settings.config,
    settings.node_name,
    settings.cluster,
)


def judge(facts: Facts) -> tuple[Check, ...]:
    """Everything that is to be said of these facts."""
    return tuple(check for rule in CHECKS for check in rule(facts))


def counts(checks: Iterable[Check]) -> Mapping[Status, int]:
    """How many there are of each status."""
    found = dict.fromkeys(Status, 0)
    for check in checks:
        found[check.status] += 1
    return found
