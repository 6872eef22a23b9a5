"""The reference of the configuration, from the types that read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec

from kproxy.config.decode import slots_of
from kproxy.config.encode import encode
from kproxy.config.fields import KINDS, Effect, KproxyConfiguration, KubeProxyConfiguration
from kproxy.config.forms import Form
from kproxy.core.values import Value
from tests.docs.cli_page import escaped

HEAD = """\
# Configuration

One file, `--config FILE`: kube-proxy's own document as it is, and beside it, as a second document of the same file,
ours with what kube-proxy has no field for. `kproxy check-config FILE` checks it, with line and column. A changed file
is taken over while the agent runs.

Fields marked *no effect* are accepted and validated, because kube-proxy has them. Durations are Go's: `90s`, `1h30m`.
"""
EXAMPLE = """\
## An example

```yaml
{text}```
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for (version, name), kind in KINDS.items():
        defaults = encode(kind())
        rows = "\n".join(_rows(kind, "", defaults))
        parts.append(f"## {name}\n\n`apiVersion: {version}`, `kind: {name}`\n\n{TABLE}{rows}\n")
    return "\n".join([*parts, EXAMPLE.format(text=_example())])


TABLE = "| field | allowed | default | what it does |\n|---|---|---|---|\n"


def _rows(kind: type[Value], path: str, defaults: Any) -> Iterator[str]:
    for name, slot in slots_of(kind).items():
        inner, default = _struct(slot.hint), defaults.get(name) if isinstance(defaults, dict) else None
        here = f"{path}{name}"
        if inner is not None:
            repeated = "[]" if isinstance(default, list) else ""
            yield from _rows(inner, f"{here}{repeated}.", encoded(inner) if repeated else default)
            continue
        words = escaped(" ".join(_metas(slot.hint)))
        if slot.effect is not None:
            words = "*no effect*" if slot.effect is Effect.NONE else f"*{slot.effect.value}*"
        yield f"| `{here}` | {_allowed(slot.hint)} | {_default(default)} | {words} |"


def encoded(kind: type[Value]) -> dict[str, Any]:
    """The defaults of a type that is part of a document."""
    return {name: slot.default for name, slot in slots_of(kind).items()}


def _struct(hint: Any) -> type[Value] | None:
    """The type of a part that has fields of its own, also as the items of a list."""
    for one in _inside(hint):
        if isinstance(one, type) and issubclass(one, Value) and issubclass(one, msgspec.Struct):
            return one
    return None


def _inside(hint: Any) -> Iterator[Any]:
    """A type and all that stands in its brackets, extras of Annotated too."""
    yield hint
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]
    for one in get_args(hint):
        if one not in (type(None), Ellipsis):
            yield from _inside(one)


def _metas(hint: Any) -> list[str]:
    return list(
        dict.fromkeys(one.description for one in _inside(hint) if isinstance(one, msgspec.Meta) and one.description)
    )


def _allowed(hint: Any) -> str:
    forms = list(dict.fromkeys(one.allowed for one in _inside(hint) if isinstance(one, Form)))
    text = escaped("; ".join(forms)).replace("|", "\\|")
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    of_items = forms and not any(isinstance(one, Form) for one in extras)
    kind = get_origin(get_args(hint)[0] if extras else hint)
    return f"a list: {text}" if of_items and kind is tuple else text


def _default(value: Any) -> str:
    if value in (None, "", [], {}, ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _example() -> str:
    """What most files say."""
    import yaml  # noqa: PLC0415 - only here

    proxy = encode(KubeProxyConfiguration())
    own = encode(KproxyConfiguration())
    kept = {name: proxy[name] for name in ("apiVersion", "kind")}
    main = {
        **kept,
        "clientConnection": {"kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf"},
        "mode": "nftables",
        "clusterCIDR": "10.64.0.0/16,fd00:10:64::/48",
        "nodePortAddresses": ["primary"],
    }
    second = {name: own[name] for name in ("apiVersion", "kind")} | {"rejectUnlistedPorts": True}
    return yaml.safe_dump_all([main, second], sort_keys=False)
