"""What goes over the wire to and from the fake API server: requests, faults, bodies."""

from __future__ import annotations

import json
from typing import NamedTuple

from tests.fakes.apistore import COLLECTIONS, Collection, Json, Page

SMALL_BYTES = 2048
"""Go's net/http gives bodies up to this a Content-Length and chunks the others."""
COMMON_HEADERS = {"Cache-Control": "no-cache, private", "Content-Type": "application/json"}
LONG_BYTES = 128 * 1024
"""Longer lists are compressed for those who take it (k8s.io/apiserver endpoints/handlers/responsewriters)."""
VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake", "platform": "linux/amd64"}
BOOKMARK, END, CUT = b"BOOKMARK", b"END", b"CUT"
"""Commands to streams; anything else is a line to send as it is."""


class Fault(NamedTuple):
    """What becomes of the next request that matches; the first matching fault is used up by it."""

    path: str = "/"
    watch: bool | None = None
    """Only watches (streaming lists too), only lists, or either."""
    code: int = 0
    reason: str = ""
    message: str = "injected"
    retry_after_s: int = 0
    as_event: bool = False
    """Status 200 and an ERROR event, instead of a status."""
    lines: tuple[bytes, ...] = ()
    """Sent at the beginning of the stream."""
    cut_after_bytes: int | None = None
    """The connection is reset after so much of the body."""
    end: bool = False
    """The stream ends properly after `lines`."""
    hang: bool = False
    """No answer at all, until the server stops."""


class Request(NamedTuple):
    path: str
    query: dict[str, str]
    authorization: str

    @property
    def token(self) -> str:
        """What stands behind `Bearer`, however that is spelt."""
        scheme, _, token = self.authorization.partition(" ")
        return token if scheme.lower() == "bearer" else ""

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") in {"1", "true"}


class Cut(Exception):
    """The connection is to be reset."""


class Stream:
    """One watch in hand."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.commands: list[bytes] = []
        self.live = False


def collection_of(path: str) -> tuple[str | None, str]:
    """The collection's path and an object's key, empty if all are meant."""
    if path in COLLECTIONS:
        return path, ""
    collection, _, name = path.rpartition("/")
    before, inside, rest = collection.partition("/namespaces/")
    if inside:
        namespace, _, plural = rest.partition("/")
        return f"{before}/{plural}", f"/{namespace}/{name}"
    return (collection, f"/{name}") if collection in COLLECTIONS else (None, "")


UNSUPPORTED = (
    "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"
)


def list_body(collection: Collection, page: Page) -> Json:
    metadata: Json = {"resourceVersion": str(page.version)}
    if page.token:
        metadata |= {"continue": page.token, "remainingItemCount": page.remaining}
    items = [{name: part for name, part in item.items() if name not in {"kind", "apiVersion"}} for item in page.items]
    return {
        "kind": f"{collection.kind}List",
        "apiVersion": collection.api_version,
        "metadata": metadata,
        "items": items,
    }


def status_body(code: int, reason: str, message: str, details: Json | None = None) -> Json:
    body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    return {**body, "code": code}


def encode(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
