"""Checks of single fields: text or number in, canonical value out, or `Invalid` with the reason.

What is allowed follows the API server's validation (Kubernetes 1.36), because
manifests reach us without one. A reason always holds the value met and what
is allowed. The place is built only on the way up (`Invalid.within`), so that
good objects never pay for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from kproxy.core.values import Family, Network, canonical_address, family_of

A = TypeVar("A")
B = TypeVar("B")

LONGEST_QUOTE = 80
HIGHEST_PORT = 65535

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_CIDR = re.compile(r"[0-9A-Fa-f:.]+/[0-9]{1,3}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(?:\.{_LABEL.pattern})*")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_UTC_SECONDS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_LONGEST_SUBDOMAIN = 253
_SPECIAL_IPV4 = ("127.", "169.254.", "224.0.0.")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class Invalid(Exception):
    """A field that cannot be used: `field` is its path so far, `reason` the value and what is allowed."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def within(self, parent: str) -> Invalid:
        """The same, seen from one level further out."""
        return Invalid(f"{parent}.{self.field}" if self.field else parent, self.reason)


def quoted(value: object) -> str:
    """A value from outside for a message: escaped, on one line, and not endless."""
    text = "null" if value is None else ascii(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"


def each(items: Iterable[A] | None, check: Callable[[A], B], field: str) -> Iterator[B]:
    """The checked items of a list; an Invalid one is placed at `field[index]`."""
    for index, item in enumerate(items or ()):
        try:
            yield check(item)
        except Invalid as error:
            raise error.within(f"{field}[{index}]") from None


def chosen(table: Mapping[str | None, B], value: str | None, field: str) -> B:
    """The table's entry; None and the empty text stand for the API's default."""
    try:
        return table[value]
    except KeyError:
        allowed = ", ".join(name for name in table if name)
        raise Invalid(field, f"{quoted(value)} is not one of {allowed}") from None


def whole_number(value: int | None, field: str, lowest: int, highest: int) -> int:
    """A required number between two bounds, both included."""
    if value is not None and lowest <= value <= highest:
        return value
    if value is None:
        raise Invalid(field, f"is required: a number from {lowest} to {highest}")
    raise Invalid(field, f"{value} is not a number from {lowest} to {highest}")


def optional_port(value: int | None, field: str) -> int:
    """A port, or 0 when it is absent or 0."""
    return whole_number(value, field, 1, HIGHEST_PORT) if value else 0


def address(text: str, field: str = "") -> str:
    """An address of either family, in canonical text; IPv4 inside IPv6 is refused as ambiguous."""
    if _IPV4.fullmatch(text):
        return text
    try:
        canonical = canonical_address(text)
    except ValueError:
        raise Invalid(field, f"{quoted(text)} is not an IPv4 or IPv6 address") from None
    if canonical.startswith("::ffff:") and ipaddress.IPv6Address(canonical) in _MAPPED:
        raise Invalid(field, f"{quoted(text)} is an IPv4 address in IPv6 form; write it as IPv4")
    return canonical


def reachable_address(text: str, field: str = "") -> str:
    """An address that traffic may be sent to: not unspecified, loopback, link-local or link-local multicast.

    So the API server judges endpoints and external IPs (ValidateNonSpecialIP): a
    manifest must not point a Service at what listens on the node's loopback.
    """
    canonical = address(text, field)
    if canonical.startswith(_SPECIAL_IPV4) or canonical == "0.0.0.0" or _is_special_ipv6(canonical):  # noqa: S104 - refused
        raise Invalid(field, f"{quoted(text)} must not be unspecified, loopback, link-local or link-local multicast")
    return canonical


def _is_special_ipv6(canonical: str) -> bool:
    if family_of(canonical) is Family.IPV4 or not canonical.startswith(("::", "fe", "ff")):
        return False
    value = ipaddress.IPv6Address(canonical)
    is_link_local_multicast = value.is_multicast and value.packed[1] & 0x0F == 2  # noqa: PLR2004 - RFC 4291, 2.7
    return value.is_unspecified or value.is_loopback or value.is_link_local or is_link_local_multicast


def of_family(canonical: str, family: Family, field: str) -> str:
    """The address, which must be of this family."""
    if family_of(canonical) is not family:
        raise Invalid(field, f"{quoted(canonical)} is not an {family.label} address")
    return canonical


def network(text: str, field: str = "") -> Network:
    """A CIDR; spaces around it are dropped, bits right of the prefix are ignored, as the API server does."""
    trimmed = text.strip()
    if _CIDR.fullmatch(trimmed):
        with contextlib.suppress(ValueError):
            return _network(trimmed)
    raise Invalid(field, f"{quoted(text)} is not a CIDR such as 192.0.2.0/24 or 2001:db8::/32")


@functools.lru_cache(maxsize=4096)
def _network(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def dns_label(text: str, field: str) -> str:
    """A name of at most 63 lower-case letters, digits and inner hyphens (RFC 1123 label)."""
    if _LABEL.fullmatch(text):
        return text
    raise Invalid(field, f"{quoted(text)} is not a name of up to 63 lower-case letters, digits and inner hyphens")


def dns_subdomain(text: str, field: str) -> str:
    """Labels joined by dots, at most 253 characters."""
    if len(text) <= _LONGEST_SUBDOMAIN and _SUBDOMAIN.fullmatch(text):
        return text
    raise Invalid(field, f"{quoted(text)} is not a name of lower-case letters, digits, inner hyphens and dots")


@functools.lru_cache(maxsize=16384)
def namespace(text: str, field: str) -> str:
    """A namespace's name; remembered, so that the objects of one namespace share one text."""
    return dns_label(text, field)


@functools.lru_cache(maxsize=16384)
def node_name(text: str, field: str) -> str:
    """A Node's name; remembered, so that the endpoints of one node share one text."""
    return dns_subdomain(text, field)


def label_value(text: str, field: str) -> str:
    """At most 63 letters, digits, `_`, `.` and `-`, as a label's value may be."""
    if _LABEL_VALUE.fullmatch(text):
        return text
    raise Invalid(field, f"{quoted(text)} is not a label value of up to 63 letters, digits, '-', '_' and '.'")


def timestamp(text: str | None, field: str) -> str:
    """An RFC 3339 time as UTC to the second, so that text order is time order; empty when there is none."""
    if not text or _UTC_SECONDS.fullmatch(text):
        return text or ""
    try:
        moment = dt.datetime.fromisoformat(text)
        return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise Invalid(field, f"{quoted(text)} is not an RFC 3339 time such as 2026-01-31T12:00:00Z") from None
