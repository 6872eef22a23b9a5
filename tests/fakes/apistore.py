"""What an API server stores: objects, one version counter for all, and the changes since the last compaction."""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]
Selector = Callable[[Json], bool]


class Collection(NamedTuple):
    kind: str
    api_version: str
    namespaced: bool
    empty: Json
    """What a bookmark of this kind carries beside its metadata, as Go marshals an empty object."""


COLLECTIONS: Mapping[str, Collection] = {
    "/api/v1/services": Collection("Service", "v1", True, {"spec": {}, "status": {"loadBalancer": {}}}),
    "/api/v1/nodes": Collection("Node", "v1", False, {"spec": {}, "status": {}}),
    "/apis/discovery.k8s.io/v1/endpointslices": Collection(
        "EndpointSlice", "discovery.k8s.io/v1", True, {"addressType": "", "endpoints": None, "ports": None}
    ),
    "/apis/networking.k8s.io/v1/servicecidrs": Collection(
        "ServiceCIDR", "networking.k8s.io/v1", False, {"spec": {}, "status": {}}
    ),
}
PATHS = {collection.kind: path for path, collection in COLLECTIONS.items()}


class Change(NamedTuple):
    version: int
    path: str
    key: str
    before: Json | None
    after: Json | None


class Gone(Exception):
    """The version asked for has been compacted."""


class BadToken(Exception):
    """A continue token that this store did not make."""


class Page(NamedTuple):
    items: list[Json]
    version: int
    token: str
    remaining: int


class Store:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 1
        self.oldest = 0
        """Versions below this one are compacted."""
        self.history: list[Change] = []
        self._objects: dict[str, dict[str, Json]] = {path: {} for path in COLLECTIONS}

    def put(self, item: Json, version: int | None = None) -> Json:
        """Add or replace an object; its version is the next one unless it is given."""
        path = PATHS[item["kind"]]
        with self.changed:
            own = version or self.version + 1
            self.version = max(self.version, own)
            stored = {**item, "metadata": {**item["metadata"], "resourceVersion": str(own)}}
            key = key_of(stored)
            self._record(path, key, self._objects[path].get(key), stored)
            self._objects[path][key] = stored
            return stored

    def delete(self, kind: str, name: str, namespace: str = "", version: int | None = None) -> None:
        path, key = PATHS[kind], f"/{namespace}/{name}" if namespace else f"/{name}"
        with self.changed:
            self.version = version or self.version + 1
            before = self._objects[path].pop(key)
            self._record(path, key, before, None)

    def compact(self) -> None:
        """Forget all changes so far, as etcd does."""
        with self.changed:
            self.oldest = self.version
            self.history.clear()

    def rewind(self, version: int) -> None:
        """Count on from a lower version, as after a restore from a backup."""
        with self.changed:
            self.version, self.oldest = version, 0
            self.history.clear()

    def items(self, path: str, version: int | None = None) -> dict[str, Json]:
        """The objects at a version, the present one without; Gone if it is compacted."""
        with self.changed:
            found = dict(self._objects[path])
            if version is None or version == self.version:
                return found
            if version < self.oldest:
                raise Gone
            for change in reversed(self.history):
                if change.version > version and change.path == path:
                    if change.before is None:
                        del found[change.key]
                    else:
                        found[change.key] = change.before
            return found

    def changes(self, path: str, after: int) -> list[Change]:
        """What changed after a version; objects must have been put in the order of their versions."""
        first = bisect.bisect_right(self.history, after, key=lambda change: change.version)
        return [change for change in self.history[first:] if change.path == path]

    def page(self, path: str, selector: Selector, limit: int, token: str, exact: int | None) -> Page:
        """A list, or the next `limit` of it."""
        version, start = read_token(token) if token else (exact, "")
        with self.changed:
            version = self.version if version is None else version
            items = self.items(path, version)
        chosen = [(key, items[key]) for key in sorted(items) if key >= start and selector(items[key])]
        if not limit or len(chosen) <= limit:
            return Page([item for _, item in chosen], version, "", 0)
        after = make_token(version, chosen[limit - 1][0] + "\0")
        return Page([item for _, item in chosen[:limit]], version, after, len(chosen) - limit)

    def _record(self, path: str, key: str, before: Json | None, after: Json | None) -> None:
        self.history.append(Change(self.version, path, key, before, after))
        self.changed.notify_all()


def key_of(item: Json) -> str:
    metadata = item["metadata"]
    return f"/{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else f"/{metadata['name']}"


def make_token(version: int, start: str) -> str:
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(found["rv"]), str(found["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise BadToken from error


def event_of(change: Change, selector: Selector) -> tuple[str, Json] | None:
    """What a watch with this selector says of a change."""
    before = change.before if change.before is not None and selector(change.before) else None
    after = change.after if change.after is not None and selector(change.after) else None
    if after is not None:
        return ("MODIFIED" if before is not None else "ADDED"), after
    if before is None:
        return None
    metadata = {**before["metadata"], "resourceVersion": str(change.version)}
    return "DELETED", {**before, "metadata": metadata}


def selector_of(labels: str, fields: str) -> Selector:
    """Of the selector grammar, what a service proxy uses: `!label`, `label=value`, `field=value` and `field!=value`."""

    def has_label(item: Json, term: str) -> bool:
        labels = item["metadata"].get("labels") or {}
        name, equals, value = term.removeprefix("!").partition("=")
        return labels.get(name) == value if equals else name in labels

    def has_value(item: Json, term: str) -> bool:
        path, _, value = term.replace("!=", "=").partition("=")
        found: Any = item
        for part in path.split("."):
            found = found.get(part) or {}
        return (found or "") == value

    tests = [(has_label, term, not term.startswith("!")) for term in labels.split(",") if term]
    tests += [(has_value, term, "!=" not in term) for term in fields.split(",") if term]
    return lambda item: all(test(item, term) is wanted for test, term, wanted in tests)
