"""How changes of our iptables chains are noticed: by nf_tables' notifications, or by a glance at legacy tables."""

from __future__ import annotations

from collections.abc import Iterable

from kproxy.core.chains import PREFIX
from kproxy.core.values import Family
from kproxy.effects.legacy_tables import fingerprint
from kproxy.effects.process import is_lately_ours
from kproxy.effects.xtables import Variant
from kproxy.errors import ObserveFailed
from kproxy.netlink.notices import Interest, Touch


def interest_in(family: Family, variant: Variant, tables: Iterable[str], prefix: str = PREFIX) -> Interest:
    """What is told of chains whose names begin so, and of jumps to them, in these tables: of legacy ones nothing."""
    if variant is Variant.LEGACY:
        return Interest(family, is_partial=True)
    return Interest(family, frozenset(tables), prefix.encode())


def is_of_our_program(touch: Touch) -> bool:
    """Whether the netlink port is that of an iptables-restore of ours: libmnl lets the kernel take the process id."""
    return is_lately_ours(touch.port)


def glance_at(family: Family, variant: Variant, tables: Iterable[str]) -> bytes:
    """A fingerprint of the tables as far as nobody tells of them; ObserveFailed if it cannot be taken."""
    if variant is not Variant.LEGACY:
        return b""
    try:
        return fingerprint(family, tables)
    except OSError as error:
        raise ObserveFailed(f"the legacy tables of {family.label} cannot be read: {error}") from error
