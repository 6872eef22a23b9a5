"""What a judgement looks like."""

from __future__ import annotations

import enum

from kproxy.core.values import Value


class Status(enum.StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_APPLICABLE = "not-applicable"


class Check(Value, frozen=True):
    """Something that was looked at: what was found, and what to do about it if it is not as it should be."""

    name: str
    """A word for programs: `backend/nftables/IPv4`, `sysctl/net.ipv4.ip_forward`."""
    status: Status
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Check:
    """As it should be."""
    return Check(name, Status.OK, found)


def warning(name: str, found: str, remedy: str) -> Check:
    """It works, and something may not."""
    return Check(name, Status.WARNING, found, remedy)


def failure(name: str, found: str, remedy: str) -> Check:
    """Services will not work as they should."""
    return Check(name, Status.FAILURE, found, remedy)


def not_applicable(name: str, found: str, remedy: str = "") -> Check:
    """It does not matter here, or could not be looked at; `found` says which."""
    return Check(name, Status.NOT_APPLICABLE, found, remedy)
