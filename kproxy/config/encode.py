"""A configuration back in the words of its file: for `/configz`, and to write the defaults to a file.

Each field goes out in the form that `forms` reads, so that reading what was written gives the same configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from kproxy.config import forms
from kproxy.config.decode import Slot, slots_of
from kproxy.config.fields import KINDS
from kproxy.core.values import Value

DURATIONS = frozenset({forms.PERIOD, forms.TIMEOUT, forms.FLUSH_FREQUENCY})


def encode(value: Value) -> dict[str, Any]:
    """One of our two documents as plain data, with apiVersion and kind."""
    version, kind = next(names for names, found in KINDS.items() if isinstance(value, found))
    return {"apiVersion": version, "kind": kind, **_struct(value)}


def _struct(value: Value) -> dict[str, Any]:
    slots = slots_of(type(value))
    found = {name: (slot, getattr(value, slot.attribute)) for name, slot in slots.items()}
    return {name: _field(slot, one) for name, (slot, one) in found.items() if one is not None}


def _field(slot: Slot, value: Any) -> Any:  # noqa: ANN401 - the field's own type
    extras = get_args(slot.hint)[1:] if hasattr(slot.hint, "__metadata__") else ()
    if DURATIONS & {extra for extra in extras if isinstance(extra, forms.Form)}:
        return duration(value)
    if forms.CLUSTER_CIDR in extras:
        return ",".join(map(str, value))
    return _plain(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field's value
    if isinstance(value, msgspec.Struct):
        return _struct(value)  # type: ignore[arg-type] # every struct here is a Value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [item for part in map(_plain, value) for item in (part if isinstance(part, list) else [part])]
    return value if isinstance(value, bool | int | float | str) else str(value)


def duration(seconds: float) -> str:
    """Seconds as Go prints a Duration: `1h0m0s`, `1m30s`, `0s`, `100ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
