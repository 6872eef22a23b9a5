"""The API's wrappings around objects: lists, watch events and statuses, decoded without looking into the objects.

An object stays raw bytes until it is read by itself, so that one that cannot
be read never breaks the list or the stream that it came in.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import msgspec

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import Applied, Deleted, Kind
from kproxy.core.parse import decode_key, decode_object
from kproxy.core.values import ObjectKey, Value
from kproxy.errors import ApiDenied, ApiError, ApiExpired, ParseError

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the BOOKMARK that ends a streaming list (KEP-3157)."""

TRIGGER_TIME = b"endpoints.kubernetes.io/last-change-trigger-time"

TEXT_LIMIT = 300
"""How much of a server's own words is repeated."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ListMeta(Value, frozen=True, rename="camel"):
    """`metadata` of a list; `continue_` is empty on its last page."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class List(Value, frozen=True):
    """A list or one page of it."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(Value, frozen=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class ObjectMeta(Value, frozen=True, rename="camel"):
    """The part of an object's `metadata` that a list or watch goes by."""

    resource_version: str = ""
    annotations: dict[str, str] | None = None

    @property
    def ends_initial_events(self) -> bool:
        """Whether a BOOKMARK with this metadata completes a streaming list."""
        return (self.annotations or {}).get(INITIAL_EVENTS_END) == "true"


class Named(Value, frozen=True):
    """Any object, down to its metadata."""

    metadata: ObjectMeta = ObjectMeta()


class StatusDetails(Value, frozen=True, rename="camel"):
    """`details` of a Status."""

    retry_after_seconds: float = 0.0


class Status(Value, frozen=True):
    """The API's error body (`kind: Status`)."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class Unread(Value, frozen=True):
    """An object that exists but cannot be read."""

    key: ObjectKey | None
    """None where not even its name can be read."""
    error: ParseError


_lists = msgspec.json.Decoder(List)
_events = msgspec.json.Decoder(WatchEvent)
_named = msgspec.json.Decoder(Named)
_statuses = msgspec.json.Decoder(Status)


def decode_list(body: bytes) -> List:
    """A list's wrapping; ApiError if it is none, or has no resource version to go on from."""
    try:
        found = _lists.decode(body)
    except MALFORMED as error:
        raise ApiError(f"the answer is not a list: {printable(str(error))}") from error
    if not found.metadata.resource_version:
        raise ApiError("the list has no metadata.resourceVersion")
    return found


def decode_event(line: bytes) -> WatchEvent:
    """A watch line's wrapping; ApiError if it is none."""
    try:
        return _events.decode(line)
    except MALFORMED as error:
        raise ApiError(f"the watch sent a line that is not an event: {printable(str(error))}") from error


def object_meta(raw: msgspec.Raw) -> ObjectMeta:
    """An object's metadata; empty where even that cannot be read."""
    try:
        return _named.decode(raw).metadata
    except MALFORMED:
        return ObjectMeta()


def decode_status(body: bytes | msgspec.Raw) -> Status:
    """An error body; one that is not a Status (a proxy's page) becomes its message."""
    try:
        return _statuses.decode(body)
    except MALFORMED:
        return Status(message=bytes(body)[: TEXT_LIMIT * 4].decode(errors="replace"))


def read_object(
    kind: Kind, raw: msgspec.Raw, instance: Instance = DEFAULT, *, timed: bool = False
) -> Applied | Deleted | Unread:
    """What an object that exists means to us: it is ours, it is not (so to us it is gone), or it cannot be read.

    `timed`: whether it changed just now, so that it is worth knowing what triggered it.
    """
    try:
        item = decode_object(kind, raw, instance)
    except ParseError as error:
        return Unread(decode_key(kind, raw), error)
    return gone(kind, raw) if item is None else Applied(item, trigger_time(kind, raw) if timed else None)


def trigger_time(kind: Kind, raw: msgspec.Raw) -> float | None:
    """The annotation that says when a pod or Service changed for which these endpoints did, in seconds since the epoch.

    It is measured by and nothing else, so an unreadable one is none.
    """
    if kind is not Kind.ENDPOINT_SLICE or TRIGGER_TIME not in bytes(raw):
        return None
    text = (object_meta(raw).annotations or {}).get(TRIGGER_TIME.decode(), "")
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def gone(kind: Kind, raw: msgspec.Raw) -> Deleted:
    """That an object is no longer there, or no longer ours; ApiError if it does not say which one."""
    key = decode_key(kind, raw)
    if key is None:
        raise ApiError(f"the watch sent a {kind} without a name")
    return Deleted(kind, key)


def api_error(asked: str, code: int, status: Status, retry_after_s: float = 0.0) -> ApiError:
    """The error for an answer that is not the one asked for: ApiDenied, ApiExpired or ApiError.

    `asked` names the request; a wish in the Status itself goes before `retry_after_s`, the header's.
    """
    words = " ".join(str(part) for part in (code or "", status.reason, printable(status.message)) if part)
    wish = status.details.retry_after_seconds if status.details else 0.0
    return ERRORS.get(code, ApiError)(f"{asked}: {words or 'no reason given'}", max(wish or retry_after_s, 0.0))


ERRORS: dict[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: ApiDenied,
    HTTPStatus.FORBIDDEN: ApiDenied,
    HTTPStatus.GONE: ApiExpired,
}


def printable(text: str) -> str:
    """A server's words on one line, cut short, without control characters."""
    cleaned = "".join(char if char.isprintable() else " " for char in text[: TEXT_LIMIT * 4])
    short = " ".join(cleaned.split())
    return short if len(short) <= TEXT_LIMIT else short[: TEXT_LIMIT - 1] + "…"
