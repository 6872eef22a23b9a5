"""The door that reads another proxy's nf_tables table: rules, sets and elements, as netlink has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kproxy.core.values import Family, Value
from kproxy.effects.leftovers import ABSENT
from kproxy.effects.netlink import NetlinkSocket
from kproxy.errors import ObserveFailed
from kproxy.netlink.attributes import Malformed, text
from kproxy.netlink.messages import Message, netfilter

NFPROTO: Final = {Family.IPV4: 2, Family.IPV6: 10}
SUBSYSTEM: Final = 10
GETTABLE, GETRULE, GETSET, GETSETELEM = 1, 7, 10, 13


class TableDump(Value, frozen=True):
    """The messages of a table."""

    rules: Sequence[Message]
    elements: Mapping[str, Sequence[Message]]
    """By set."""


def dump_table(
    family: Family, name: str, table_of: Callable[[Message], str], set_of: Callable[[Message], str]
) -> TableDump | None:
    """The table of a name; None if there is none, or no nf_tables; ObserveFailed if it cannot be read.

    `table_of` and `set_of` tell the names in a message.
    """
    try:
        with NetlinkSocket() as socket:

            def dump(kind: int, attributes: bytes = b"") -> list[Message]:
                payload = netfilter(NFPROTO[family], text(1, name), attributes)
                return [one for one in socket.dump(SUBSYSTEM << 8 | kind, payload) if table_of(one) == name]

            tables = [table_of(one) for one in socket.dump(SUBSYSTEM << 8 | GETTABLE, netfilter(NFPROTO[family]))]
            if name not in tables:
                return None
            sets = [set_of(one) for one in dump(GETSET)]
            return TableDump(dump(GETRULE), {one: dump(GETSETELEM, text(2, one)) for one in sets})
    except (OSError, Malformed, KeyError) as error:
        if isinstance(error, OSError) and error.errno in ABSENT:
            return None
        raise ObserveFailed(f"table {name} of {family.label} cannot be read: {error!r}") from error
