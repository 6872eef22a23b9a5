"""The forms that a field's value may have: what is allowed, in words, and how it is read.

A form is used for reading, for error messages and for the documentation, so that the three cannot differ. Readers get a
plain YAML scalar's value and raise ValueError for what is not allowed; None means "as if the field were not there",
which is how the Kubernetes API treats zero where zero makes no sense.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from kproxy.config.yamltree import Plain
from kproxy.core.host import PRIMARY
from kproxy.core.instance import ALLOWED
from kproxy.core.instance import NAME as INSTANCE_NAME
from kproxy.core.values import Network, Value, canonical_address

MAX_DURATION_S = (2**63 - 1) / 1e9
"""What Go's time.Duration holds."""
MAX_PORT = 65535
INT32 = (-(2**31), 2**31 - 1)


class Form(Value, frozen=True):
    """A way to write a value. `allowed` ends the sentence "must be …"."""

    allowed: str
    read: Callable[[Plain], object]


def between(low: int, high: int) -> Form:
    """A whole number from `low` to `high`."""
    return Form(f"a whole number from {low} to {high}", lambda value: _whole(value, low, high))


def at_least(low: int) -> Form:
    """A whole number from `low` up to what 32 bits hold."""
    return Form(f"a whole number, at least {low}", lambda value: _whole(value, low, INT32[1]))


def one_of(*words: str) -> Form:
    """One of some words; empty text means the default."""
    return Form(f"one of {', '.join(words)}", lambda value: _word(value, words))


def _whole(value: Plain, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError
    return value


def _word(value: Plain, words: tuple[str, ...]) -> str | None:
    if value == "":
        return None
    if value not in words:
        raise ValueError
    return str(value)


_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Plain) -> float:
    """A Go duration (`time.ParseDuration`: "1h2m3.5s") in seconds; ValueError if it is none."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError
    total = sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(value))
    if total > MAX_DURATION_S:
        raise ValueError
    return -total if value.startswith("-") else total


def _timeout(value: Plain) -> float:
    result = seconds(value)
    if result < 0:
        raise ValueError
    return result


def _period(value: Plain) -> float | None:
    return _timeout(value) or None


def _flush_frequency(value: Plain) -> float:
    return value / 1e9 if isinstance(value, int) and not isinstance(value, bool) else _timeout(value)


def _text(value: Plain) -> str:
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - every reader says ValueError
    return value


def _flag(value: Plain) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - every reader says ValueError
    return value


def _rate(value: Plain) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise ValueError
    return float(value) or None


def _burst(value: Plain) -> int | None:
    return _whole(value, 0, INT32[1]) or None


def _quantity(value: Plain) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(value)
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?", text, re.ASCII):
        raise ValueError
    return text


def network(value: Plain) -> Network:
    """A network in CIDR notation; host bits may be set, as in Go. ValueError if it is none."""
    text = _text(value)
    address, slash, length = text.partition("/")
    if not slash or "%" in text or not re.fullmatch(r"\d{1,3}", length, re.ASCII):
        raise ValueError
    return ipaddress.ip_network((address, int(length)), strict=False)


def _cluster_cidr(value: Plain) -> tuple[Network, ...]:
    text = _text(value)
    networks = tuple(network(part.strip()) for part in text.split(",")) if text else ()
    if len({item.version for item in networks}) != len(networks):
        raise ValueError
    return networks


_ADDRESS_WORDS: dict[str, tuple[Network | str, ...]] = {
    PRIMARY: (PRIMARY,),
    "localhost": (network("127.0.0.0/8"), network("::1/128")),
    "all": (network("0.0.0.0/0"), network("::/0")),
}


def _node_port_address(value: Plain) -> tuple[Network | str, ...]:
    text = _text(value)
    return _ADDRESS_WORDS.get(text) or (network(text),)


def _address(value: Plain) -> str | None:
    text = _text(value)
    return canonical_address(text) if text else None


def _listener(value: Plain) -> str | None:
    """`IP:port`, or an address alone, to which kube-proxy adds its default port."""
    text = _text(value)
    if not text:
        return None
    match = re.fullmatch(r"(?:\[([^][]+)\]|([^][:]+)):(\d{1,5})", text, re.ASCII)
    if match is None:
        canonical_address(text.removeprefix("[").removesuffix("]"))
        return text
    canonical_address(match[1] or match[2])
    if not 1 <= int(match[3]) <= MAX_PORT:
        raise ValueError
    return text


def _instance(value: Plain) -> str:
    text = _text(value)
    if text and not INSTANCE_NAME.fullmatch(text):
        raise ValueError
    return text


def _own_listener(value: Plain) -> str:
    return _listener(value) or ""


def _port_range(value: Plain) -> str:
    text = _text(value)
    match = re.fullmatch(r"(\d{1,5})(?:([-+])(\d{1,5}))?", text.replace(" ", ""), re.ASCII)
    if text and (match is None or int(match[1]) > MAX_PORT):
        raise ValueError
    return text


def _version(value: Plain) -> str:
    text = _text(value)
    if text and not re.fullmatch(r"\d+\.\d+", text, re.ASCII):
        raise ValueError
    return text


def _interface(value: Plain, longest: int) -> str:
    text = _text(value)
    if (text and not re.fullmatch(rf"[!-~]{{1,{longest}}}", text)) or set(text) & set("/+*:%\"'\\!"):
        raise ValueError
    return text


TEXT = Form("text (quote numbers and true or false)", _text)
NAME = Form("a name (empty: the default)", lambda value: _text(value) or None)
FLAG = Form("true or false", _flag)
WHOLE = Form("a whole number", lambda value: _whole(value, *INT32))
RATE = Form("a number", _rate)
BURST = Form("a whole number, at least 0", _burst)
QUANTITY = Form('a Kubernetes quantity such as "64Ki"', _quantity)
TIMEOUT = Form('a duration such as "90s" or "1h30m", not negative', _timeout)
PERIOD = Form('a duration such as "30s" or "1m", more than 0 (0 means the default)', _period)
FLUSH_FREQUENCY = Form('a duration such as "5s", or nanoseconds', _flush_frequency)
NETWORK = Form('a network in CIDR notation such as "10.0.0.0/8"', network)
CLUSTER_CIDR = Form('one network, or one of each family, such as "10.64.0.0/16,fd00:10:64::/48"', _cluster_cidr)
NODE_PORT_ADDRESS = Form('"primary", "localhost", "all", or a network such as "192.0.2.0/24"', _node_port_address)
INTERFACE = Form("the name of an interface, 1 to 15 characters", lambda value: _interface(value, 15))
INTERFACE_PREFIX = Form("how interface names begin, 1 to 14 characters", lambda value: _interface(value, 14))
ADDRESS = Form("an IP address", _address)
LISTENER = Form('IP:port such as "127.0.0.1:10249" or "[::1]:10249"', _listener)
INSTANCE = Form(f"empty, or {ALLOWED}", _instance)
OWN_LISTENER = Form('IP:port such as "127.0.0.1:10249", or "" to open none', _own_listener)
PORT_RANGE = Form('a port range such as "30000-32767"', _port_range)
VERSION = Form('a version such as "1.35"', _version)
