"""Looks at what stands of kproxy and of kube-proxy, and holds it against the plan. Nothing is written.

All doors are opened and used under `only_reading`, which refuses, before a byte is sent, whatever could write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kproxy.audit.compare import Difference, Kind, compare, wanted
from kproxy.audit.kube_iptables import read_iptables, stands
from kproxy.audit.kube_ipvs import read_ipvs
from kproxy.audit.kube_nftables import Dumped, Step, chain_of, entries_of, read_nftables, set_of, step_of, table_of
from kproxy.audit.own import own_differences
from kproxy.audit.report import Audit
from kproxy.audit.standing import Standing
from kproxy.core.document import Document, diff
from kproxy.core.leftovers import KUBE_PROXY
from kproxy.core.node_facts import VIP_LINK
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.kube_tables import dump_table
from kproxy.effects.leftovers import ABSENT, read_ip_vs
from kproxy.effects.network import link_addresses, local_addresses
from kproxy.effects.only_reading import WouldWrite, only_reading
from kproxy.effects.process import ProcessFailed
from kproxy.effects.xtables import LEGACY_TABLES, Variant, find_tools, read_proc, standing_tools
from kproxy.errors import KproxyError, ObserveFailed, UnsupportedHost
from kproxy.ports import Backend
from kproxy.wiring.asked import Subject
from kproxy.wiring.backends import OURS, backends_of, find_backend
from kproxy.wiring.offline import plan_families, plans_of

KPROXY: Final = "kproxy"
SAVE_TIMEOUT_S: Final = 120.0
DESIGN: Final = "kube-proxy's ipvs mode sends to other nodes what policy Local would drop"

Found = Mapping[Family, Standing]
"""What stands, in the families in which anything does."""


def audit_node(subject: Subject, families: Sequence[Family], proxy: str = "") -> list[Audit]:
    """An audit of each proxy that has rules in this kernel, or of the one that is named.

    KernelError if the kernel cannot be read, UnsupportedHost if we may not, KproxyError if nothing stands.
    """
    try:
        with only_reading():
            audits = [one for one in _audits(subject, families, proxy) if one.families]
    except ObserveFailed as error:
        if isinstance(error.__cause__, PermissionError) and not isinstance(error.__cause__, WouldWrite):
            raise UnsupportedHost(f"{error}; reading rules needs root (CAP_NET_ADMIN)") from error
        raise
    if not audits:
        whose = proxy or f"{KPROXY} or {KUBE_PROXY.proxy}"
        raise KproxyError(f"this kernel has no rules of {whose} in this network namespace")
    return audits


def _audits(subject: Subject, families: Sequence[Family], proxy: str) -> Iterator[Audit]:
    if proxy in ("", KPROXY):
        yield from beside([_own(subject, backend, families) for backend in backends_of(subject.instance)])
    if proxy in ("", KUBE_PROXY.proxy):
        yield from (_kube_proxy(subject, families, mode, found) for mode, found in _modes(families))


def beside(audits: Sequence[Audit]) -> Iterator[Audit]:
    """The audits of our backends; where rules of several stand, each has the others as a difference."""
    for audit in audits:
        others = [one for one in audits if one is not audit and set(one.families) & set(audit.families)]
        yield msgspec.structs.replace(
            audit,
            differences=audit.differences
            + tuple(_other(audit, one, family) for one in others for family in one.families),
        )


def _other(audit: Audit, other: Audit, family: Family) -> Difference:
    what = f"stands beside {audit.mode}, and may send packets first; kproxy run leaves those of one backend alone"
    return Difference("backends", family, Kind.EXTRA, f"{KPROXY}, {other.mode}", what)


def standing_proxies(families: Sequence[Family]) -> list[tuple[str, str]]:
    """Whose rules stand here, and in which backend or mode of it; nothing is compared."""
    ours = (find_backend(name) for name in OURS)
    return [
        *((KPROXY, one.name) for one in ours if any(_observed(one, family) for family in families)),
        *((KUBE_PROXY.proxy, mode) for mode, _ in _modes(families)),
    ]


def may_stand(backend: str, family: Family) -> bool:
    """Whether rules of this backend of ours can stand here; otherwise its door is not even opened."""
    return backend not in MAY_STAND or MAY_STAND[backend](family)


def _own(subject: Subject, backend: Backend, families: Sequence[Family]) -> Audit:
    """What stands of one of our backends; without families if nothing does."""
    standing = {family: _observed(backend, family) for family in families}
    if not any(standing.values()):
        return Audit(KPROXY, backend.name, (), 0)
    plans = {
        family: plan
        for family, plan in _plans(subject, backend, families).items()
        if standing[family] or plan.services  # a family that nobody uses need not be there
    }
    differences = [
        one
        for family, plan in plans.items()
        for one in own_differences(family, diff(standing[family], backend.compile(plan, None).document), backend)
    ]
    count = sum(len(wanted(plan)) for plan in plans.values())
    return Audit(KPROXY, backend.name, tuple(plans), count, tuple(differences))


def _observed(backend: Backend, family: Family) -> Document:
    """What of ours stands; nothing where this machine cannot even hold it."""
    if not may_stand(backend.name, family):
        return {}
    try:
        kernel = backend.open(family)
    except UnsupportedHost:
        return {}
    try:
        found = kernel.observe()
    except ObserveFailed as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in ABSENT:
            return {}
        raise
    finally:
        kernel.close()
    return found if any(found.values()) else {}


def _plans(subject: Subject, backend: Backend, families: Sequence[Family]) -> dict[Family, NodePlan]:
    return plans_of(plan_families(subject.live_node(backend), backend, families))


def _kube_proxy(subject: Subject, families: Sequence[Family], mode: str, found: Found) -> Audit:
    plans = _plans(subject, find_backend(mode), families)
    wishes = {family: wish for family, plan in plans.items() if (wish := wanted(plan)) or family in found}
    differences = [
        one for family, wish in wishes.items() for one in compare(family, wish, found.get(family, Standing({})))
    ]
    if mode == "ipvs":
        differences = [_by_design(one) for one in differences]
    unread = tuple(text for have in found.values() for text in have.unread)
    count = sum(map(len, wishes.values()))
    return Audit(KUBE_PROXY.proxy, f"{mode} mode", tuple(wishes), count, tuple(differences), unread)


def _by_design(one: Difference) -> Difference:
    """A difference that kube-proxy's ipvs mode is known for, marked as such."""
    dropped = one.kind is Kind.POLICY and one.what.startswith("should DROP")
    return msgspec.structs.replace(one, known=DESIGN) if dropped else one


def _modes(families: Sequence[Family]) -> Iterator[tuple[str, Found]]:
    """What stands of kube-proxy, by mode."""
    for mode, read in MODES.items():
        found = {family: have for family in families if (have := read(family)) is not None}
        if found:
            yield mode, found


def _iptables(family: Family) -> Standing | None:
    for tools in standing_tools(family, process.run, read_proc):
        saved = _saved(tools.save)
        if stands(saved):
            return read_iptables(saved)
    return None


def _saved(program: str) -> str:
    """All tables that there are."""
    try:
        result = process.run([program], "", SAVE_TIMEOUT_S)
    except ProcessFailed as error:
        raise ObserveFailed(str(error)) from error
    if result.status:
        raise ObserveFailed(f"{program}: {' '.join(result.errors.split())}")
    return result.output


def _nftables(family: Family) -> Standing | None:
    found = dump_table(family, KUBE_PROXY.table, table_of, set_of)
    if found is None:
        return None
    rules: dict[str, list[Step]] = {}
    for message in found.rules:
        rules.setdefault(chain_of(message), []).append(step_of(message))
    elements = {name: [one for part in parts for one in entries_of(part)] for name, parts in found.elements.items()}
    return read_nftables(family, Dumped(rules, elements))


def _ipvs(family: Family) -> Standing | None:
    link = link_addresses(KUBE_PROXY.link)
    if link is None:
        return None
    own = {one for one in link if (":" in one) is (family is Family.IPV6)}
    local = {one for one in local_addresses() - link if (":" in one) is (family is Family.IPV6)}
    found = read_ipvs(read_ip_vs(), own, local)
    return found if found.frontends else None


def has_ipvs(_family: Family) -> bool:
    """Whether the kernel has IPVS already (asking it by netlink would load the module), and the backend's link."""
    return bool(read_ip_vs()) and link_addresses(VIP_LINK) is not None


def _has_tables(family: Family) -> bool:
    """Whether our chains can stand and be read; to ask for a legacy table that is not there would create it."""
    try:
        variant = find_tools(family, process.run, read_proc).variant
    except UnsupportedHost:
        return False
    return variant is Variant.NFT or set(read_proc(LEGACY_TABLES[family]).split()) >= {"nat", "filter"}


MAY_STAND: Final[Mapping[str, Callable[[Family], bool]]] = {"ipvs": has_ipvs, "iptables": _has_tables}
MODES: Final[Mapping[str, Callable[[Family], Standing | None]]] = {
    "iptables": _iptables,
    "nftables": _nftables,
    "ipvs": _ipvs,
}
