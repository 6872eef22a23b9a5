"""What an audit found, by Service: for people a few lines each, for programs all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kproxy.audit.compare import Difference
from kproxy.core.values import Family, Value

SHOWN = 8
"""How many differences of a Service people see."""


class Audit(Value, frozen=True):
    """What stands of one proxy, and in what it differs."""

    proxy: str
    """`kproxy` or `kube-proxy`."""
    mode: str
    families: tuple[Family, ...]
    frontends: int
    """How many frontends are wanted."""
    differences: tuple[Difference, ...] = ()
    unread: tuple[str, ...] = ()
    """Rules of the proxy's that were not understood, so that what they do was not compared."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs but what the proxy does by design."""
        return all(one.known for one in self.differences)


def by_service(audit: Audit) -> Mapping[str, list[Difference]]:
    """The differences by Service, those of no single Service last."""
    grouped: dict[str, list[Difference]] = {}
    for one in sorted(audit.differences, key=lambda it: ("/" not in it.service, it.service)):
        grouped.setdefault(one.service, []).append(one)
    return grouped


def heading(audit: Audit) -> str:
    """`kube-proxy, iptables mode (IPv4, IPv6)`."""
    return f"{audit.proxy}, {audit.mode} ({', '.join(family.label for family in audit.families)})"


def lines(audit: Audit) -> Iterator[tuple[bool, str]]:
    """Lines for people; whether it is a heading."""
    yield True, f"{heading(audit)}: {summary(audit)}"
    for service, differences in by_service(audit).items():
        yield True, service
        for one in differences[:SHOWN]:
            known = f" (by design: {one.known})" if one.known else ""
            yield False, f"  {one.kind:<8} {one.family.label}  {one.where}: {one.what}{known}"
        if len(differences) > SHOWN:
            yield False, f"  … and {len(differences) - SHOWN} more; -o json has all of them"
    if audit.unread:
        yield True, f"{len(audit.unread)} rules were not understood and not compared"
        for text in audit.unread[:SHOWN]:
            yield False, f"  {text}"


def summary(audit: Audit) -> str:
    """How much differs."""
    faults = [one for one in audit.differences if not one.known]
    if not audit.differences:
        return f"{audit.frontends} frontends, all as they should be"
    services = {one.service for one in faults}
    of_services = sum("/" in name for name in services)
    places = [f"{of_services} Service{'s' if of_services != 1 else ''}"] if of_services else []
    places += ["what Services share"] if len(services) > of_services else []
    text = f"{len(faults)} difference{'s' if len(faults) != 1 else ''}"
    text += f" in {' and '.join(places)}" if places else ""
    known = len(audit.differences) - len(faults)
    return f"{text}{f', {known} more by design' if known else ''}, of {audit.frontends} frontends"


def plain(audit: Audit) -> dict[str, object]:
    """All of it as plain data."""
    return {
        "proxy": audit.proxy,
        "mode": audit.mode,
        "families": [family.label for family in audit.families],
        "frontends": audit.frontends,
        "clean": audit.is_clean,
        "services": [
            {"service": service, "differences": [_plain(one) for one in differences]}
            for service, differences in by_service(audit).items()
        ],
        "unread": list(audit.unread),
    }


def _plain(one: Difference) -> dict[str, object]:
    return {
        "kind": str(one.kind),
        "family": one.family.label,
        "where": one.where,
        "what": one.what,
        "known": one.known,
    }
