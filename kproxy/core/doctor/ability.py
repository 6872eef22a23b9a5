"""Whether this machine can: capabilities, backends and programs."""

from __future__ import annotations

from collections.abc import Iterator

from kproxy.core.doctor.checks import Check, failure, not_applicable, ok, warning
from kproxy.core.doctor.facts import NET_ADMIN, NET_RAW, Facts, Probe

ROOT_REMEDY = "run it as root to have everything looked at: sudo kproxy doctor"
PURPOSES = {
    "iptables-restore": "backends iptables and ipvs, IPv4",
    "ip6tables-restore": "backends iptables and ipvs, IPv6",
    "nft": "only to look at rules by hand",
    "ipvsadm": "only to look at virtual servers by hand",
    "ipset": "only to look at IP sets by hand",
    "conntrack": "only to look at connections by hand",
}
"""What each program is for."""
NEEDED_BY = {"iptables-restore": ("iptables", "ipvs"), "ip6tables-restore": ("iptables", "ipvs")}


def capabilities(facts: Facts) -> Iterator[Check]:
    """NET_ADMIN for every backend, NET_RAW for iptables."""
    missing = [name for name in (NET_ADMIN, NET_RAW) if name not in facts.capabilities]
    if not missing:
        yield ok("capabilities", f"{NET_ADMIN} and {NET_RAW} are effective")
    elif facts.user_id:
        yield warning(
            "capabilities",
            f"asked by an ordinary user (uid {facts.user_id}), so rules and backends are not looked at",
            ROOT_REMEDY,
        )
    elif NET_ADMIN in missing:
        yield failure(
            "capabilities",
            f"{' and '.join(missing)} are not effective although this is root: a container without them",
            "add NET_ADMIN and NET_RAW to securityContext.capabilities of the container",
        )
    else:
        yield warning(
            "capabilities",
            f"{NET_RAW} is not effective; legacy iptables needs it",
            "add NET_RAW to the container's capabilities, or use --backend nftables",
        )


def backends(facts: Facts) -> Iterator[Check]:
    """What each backend's own probe says, and whether the one that is wanted, or any, works."""
    if not facts.may_program:
        names = ", ".join(dict.fromkeys(one.backend for one in facts.probes))
        yield not_applicable("backend", f"not known without {NET_ADMIN}: {names}", ROOT_REMEDY)
        return
    works = {one.backend for one in facts.probes if not one.obstacle}
    for one in facts.probes:
        yield _backend(one, facts, works)
    if not works and facts.probes:
        yield failure("backend", "no backend works on this machine", "see each backend's own reason")


def _backend(probe: Probe, facts: Facts, works: set[str]) -> Check:
    name = f"backend/{probe.backend}/{probe.family}"
    if not probe.obstacle:
        return ok(name, "works here")
    what, remedy = _parted(probe.obstacle)
    if probe.family == "IPv6" and not facts.has_ipv6:
        return not_applicable(name, f"this machine has no IPv6: {what}")
    if probe.backend == facts.backend:
        return failure(name, f"asked for, and does not work: {what}", remedy)
    if not works - {probe.backend}:
        return failure(name, what, remedy)
    if probe.backend in works:
        return warning(name, what, remedy)
    return not_applicable(name, f"not needed, for {' and '.join(sorted(works))} can be used: {what}")


def _parted(obstacle: str) -> tuple[str, str]:
    """An error's text as what is wrong and what to do, which is its last part."""
    for mark in ("; ", ": "):
        what, _, remedy = obstacle.rpartition(mark)
        if what:
            return what, remedy
    return obstacle, "use another backend"


def tools(facts: Facts) -> Iterator[Check]:
    """Programs and their versions."""
    for one in facts.tools:
        name, purpose = f"tool/{one.name}", PURPOSES[one.name]
        if one.version:
            yield ok(name, one.version)
        elif facts.backend in NEEDED_BY.get(one.name, ()):
            yield failure(name, f"missing; needed for {purpose}", "install the package iptables (1.8 or later)")
        else:
            yield not_applicable(name, f"not installed; for {purpose}")
