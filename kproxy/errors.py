"""The error tree, branched by how the caller reacts.

KproxyError            exit 1
├ ConfigError          exit 2; names file, key and value; never retried
│ └ UnreadableFile     a source's: what it last said stays in force, and it is read again when it changes
├ UnsupportedHost      exit 3; a kernel feature, tool or capability is missing: which, and how to get it
├ ApiError             back off and go on
│ ├ ApiExpired         relist now
│ └ ApiDenied          401 or 403: health turns red, then as ApiError
├ ParseError           the object is skipped, counted and named; never stops a sync
├ KernelError          forget what was applied, observe, full diff next time
│ ├ ApplyRejected      the kernel or its tool refused; names object and Service
│ ├ ApplyTimeout       no answer in time: the state is unknown
│ └ ObserveFailed      the kernel could not be read
└ ConntrackError       logged and counted; never fails a sync
"""

from __future__ import annotations


class KproxyError(Exception):
    """Anything that kproxy reports without a traceback."""

    exit_code = 1


class ConfigError(KproxyError):
    """A configuration, manifest argument or command line that cannot be used."""

    exit_code = 2


class UnreadableFile(ConfigError):
    """A manifest file, or a directory of them, that cannot be read at all; the message begins with its place."""


class UnsupportedHost(KproxyError):
    """This machine lacks something; the text says what, and what to do."""

    exit_code = 3


class ApiError(KproxyError):
    """The API server could not be asked; `retry_after_s` is its own wish, 0 without one."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ApiExpired(ApiError):
    """The resource version is too old (410): list again."""


class ApiDenied(ApiError):
    """The API server refuses us (401 or 403)."""


class ParseError(KproxyError):
    """An object that cannot be used.

    `what` names it (`Service shop/cart`), `field` the place (`spec.ports[0].port`),
    `reason` value and remedy.
    """

    def __init__(self, what: str, field: str, reason: str) -> None:
        super().__init__(f"{what}: {field}: {reason}" if field else f"{what}: {reason}")
        self.what = what
        self.field = field
        self.reason = reason


class KernelError(KproxyError):
    """The kernel is not known to hold what was applied."""


class ApplyRejected(KernelError):
    """A change was refused as a whole; `owner` is the Service (or base part) at fault, empty when unknown."""

    def __init__(self, message: str, owner: str = "") -> None:
        super().__init__(message)
        self.owner = owner


class ApplyTimeout(KernelError):
    """The kernel, or the program that talks to it, did not answer in time."""


class ObserveFailed(KernelError):
    """What stands in the kernel could not be read."""


class ConntrackError(KproxyError):
    """The table of connections could not be read or changed; rules are not concerned."""
