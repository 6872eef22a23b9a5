"""Who else programs Services here: processes, rules, links, both variants of iptables, and who has our ports."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kproxy.core.doctor.checks import Check, failure, not_applicable, ok, warning
from kproxy.core.doctor.facts import Facts, Listening, Place

KUBE_PROXY = "kube-proxy"
KUBE_LINK = "kube-ipvs0"
TAKE_OVER = "kproxy cleanup --kube-proxy --keep-ours"


def processes(facts: Facts) -> Iterator[Check]:
    """Other proxies that run."""
    if not facts.processes:
        yield ok("conflict/process", "no other service proxy is seen to run")
    for one in facts.processes:
        found = f"{one.name} runs (process {one.pid})"
        remedy = f"let one proxy serve this node: end {one.name}, then {TAKE_OVER}"
        if one.name != KUBE_PROXY:
            remedy = f"if {one.name} is set to replace kube-proxy, it or kproxy is one too many"
            yield warning(f"conflict/process/{one.name}", found, remedy)
        elif facts.agent:
            yield failure(f"conflict/process/{one.name}", f"{found} beside kproxy (process {facts.agent.pid})", remedy)
        else:
            yield warning(f"conflict/process/{one.name}", found, remedy)


def remnants(facts: Facts) -> Iterator[Check]:
    """Rules of kube-proxy, and of a backend of ours beside another one."""
    name = "conflict/rules"
    if not facts.may_program:
        yield not_applicable(name, "rules are not looked at without root")
        return
    if facts.remnants_error:
        yield not_applicable(name, f"rules could not be read: {facts.remnants_error}")
        return
    owners = [one.owner for one in facts.remnants]
    for one in facts.remnants:
        found = f"{one.count} objects of {one.owner} stand, for example: {one.first}"
        if one.owner != KUBE_PROXY:
            if len(owners) - (KUBE_PROXY in owners) > 1:
                yield warning(
                    f"{name}/{one.owner}", found, "kproxy run takes the other backend's away once its own rules stand"
                )
        elif KUBE_PROXY in {process.name for process in facts.processes}:
            yield warning(f"{name}/{one.owner}", found, f"end kube-proxy first, then {TAKE_OVER}")
        else:
            yield warning(f"{name}/{one.owner}", f"{found}, and nobody keeps them up to date", TAKE_OVER)
    if KUBE_PROXY not in owners:
        yield ok(name, "nothing of kube-proxy is left")


def links(facts: Facts) -> Iterator[Check]:
    """kube-proxy's dummy link, whose addresses take every packet to a Service as the node's own."""
    if KUBE_LINK not in facts.links:
        yield ok("conflict/link", f"no {KUBE_LINK}")
    elif KUBE_PROXY in {one.name for one in facts.processes}:
        yield warning("conflict/link", f"{KUBE_LINK} stands: kube-proxy in ipvs mode", f"end it, then {TAKE_OVER}")
    else:
        found = f"{KUBE_LINK} stands and kube-proxy does not run: Services' packets end on this node"
        yield failure("conflict/link", found, TAKE_OVER)


def variants(facts: Facts) -> Iterator[Check]:
    """Rules in legacy and in nf_tables tables are both in force, and each tool sees only its own."""
    if not facts.may_program:
        yield not_applicable("conflict/iptables-variants", "rules are not looked at without root")
        return
    for family, counts in facts.rules.items():
        name = f"conflict/iptables-variants/{family}"
        held = {variant: count for variant, count in counts.items() if count}
        if len(held) > 1:
            words = " and ".join(f"{count} rules in {variant} tables" for variant, count in sorted(held.items()))
            yield warning(
                name, f"{words}, all of them in force", "move them to one variant: update-alternatives, reboot"
            )
        else:
            yield ok(name, next((f"only {variant} tables hold rules" for variant in held), "no iptables rules"))


def ports(facts: Facts) -> Iterator[Check]:
    """Whether what the agent serves health and metrics on can be had."""
    for place in facts.places:
        name, where = f"port/{place.purpose}", f"port {place.port} of {place.address}"
        others = [one for one in facts.listening if _clash(one, place)]
        if not others:
            yield ok(name, f"{where} is free")
        elif facts.agent and all(one.owner is None or one.owner.pid == facts.agent.pid for one in others):
            yield ok(name, f"{where} is the running agent's")
        else:
            known = next((one.owner for one in others if one.owner), None)
            owner = f"{known.name} (process {known.pid})" if known else "another process"
            field = f"{place.purpose}BindAddress"
            yield failure(name, f"{where} is taken by {owner}", f"end it, or set {field} to another port")


def _clash(one: Listening, place: Place) -> bool:
    if one.port != place.port:
        return False
    theirs, ours = ipaddress.ip_address(one.address), ipaddress.ip_address(place.address)
    if theirs == ours:
        return True
    # An IPv6 socket on :: takes IPv4 as well, as long as IPV6_V6ONLY is off, which is the kernel's default.
    theirs_all = theirs.is_unspecified and (theirs.version in (6, ours.version))
    ours_all = ours.is_unspecified and ours.version in (6, theirs.version)
    return theirs_all or ours_all
