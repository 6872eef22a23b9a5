"""How the fake API server answers over HTTP; its state, faults and commands are `tests.fakes.apiserver`'s."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.apistore import COLLECTIONS, BadToken, Change, Gone, Json, event_of, selector_of
from tests.fakes.apiwire import (
    BOOKMARK,
    COMMON_HEADERS,
    CUT,
    END,
    LONG_BYTES,
    SMALL_BYTES,
    UNSUPPORTED,
    VERSION,
    Cut,
    Fault,
    Request,
    Stream,
    collection_of,
    encode,
    list_body,
    status_body,
)

if TYPE_CHECKING:
    from tests.fakes.apiserver import ApiServer


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], api: ApiServer, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, Handler)
        self.api = api
        self._tls = tls
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        with self._tls.wrap_socket(request, server_side=True) as encrypted:
            self._connections.add(encrypted)
            super().finish_request(encrypted, client_address)
        self._connections.discard(encrypted)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of our errors."""

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def log_message(self, *_: object) -> None:
        """Tests look at `requests`."""

    def do_GET(self) -> None:
        api = self.server.api
        split = urlsplit(self.path)
        request = Request(split.path, dict(parse_qsl(split.query)), self.headers.get("Authorization", ""))
        fault = api.fault_for(request)
        with api.store.changed:
            api.requests.append(request)
            api.store.changed.notify_all()
        self._left_bytes = fault.cut_after_bytes if fault else None
        try:
            self._answer(request, fault)
        except (Cut, ConnectionError, ssl.SSLError):
            self.close_connection = True

    def do_POST(self) -> None:
        api = self.server.api
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with api.store.changed:
            api.posts.append((self.path, body))
            api.store.changed.notify_all()
        self._left_bytes = None
        self._send_json(201, body)

    def _answer(self, request: Request, fault: Fault | None) -> None:
        api = self.server.api
        if fault and (fault.hang or (fault.code and not fault.as_event)):
            return self._fail(fault)
        if api.tokens and request.token not in api.tokens:
            return self._deny(request)
        path, name = collection_of(request.path)
        if path is None or path in api.missing:
            return self._get_other(request.path)
        if name:
            return self._get(path, name)
        return self._watch(request, path, fault) if request.is_watch else self._list(request, path)

    def _fail(self, fault: Fault) -> None:
        if fault.hang:
            self.server.api.await_that(lambda: not self.server.api.running)
            raise Cut
        headers = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s else {}
        self._refuse(fault.code, fault.reason, fault.message, headers=headers)

    def _get_other(self, path: str) -> None:
        if path == "/version":
            return self._send_json(200, VERSION)
        return self._refuse(404, "NotFound", "the server could not find the requested resource", {})

    def _get(self, path: str, key: str) -> None:
        found = self.server.api.store.items(path).get(key)
        if found is not None:
            return self._send_json(200, found)
        name, plural = key.rsplit("/", 1)[1], path.rsplit("/", 1)[1]
        return self._refuse(404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural})

    def _list(self, request: Request, path: str) -> None:
        query, store = request.query, self.server.api.store
        exact = int(query["resourceVersion"]) if query.get("resourceVersionMatch") == "Exact" else None
        selector = selector_of(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        try:
            page = store.page(path, selector, int(query.get("limit", 0)), query.get("continue", ""), exact)
        except Gone:
            text = "list" if exact else "continue parameter"
            return self._refuse(410, "Expired", f"The resourceVersion for the provided {text} is too old.")
        except BadToken:
            text = "invalid continue token: continue key is not valid: invalid character looking for beginning of value"
            return self._refuse(400, "BadRequest", text)
        return self._send_json(200, list_body(COLLECTIONS[path], page))

    def _watch(self, request: Request, path: str, fault: Fault | None) -> None:
        version = request.query.get("resourceVersion", "")
        if version and not version.isdigit():
            text = (
                f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            )
            return self._refuse(500, "", text)
        api = self.server.api
        stream = Stream(request)
        with api.store.changed:
            api.streams.append(stream)
        try:
            self._head(200, {"Transfer-Encoding": "chunked"})
            if self._begin_watch(fault):
                self._follow(stream, path, int(version or 0))
            self._chunk(b"")
        finally:
            with api.store.changed:
                api.streams.remove(stream)
                api.store.changed.notify_all()
        return None

    def _begin_watch(self, fault: Fault | None) -> bool:
        """Whether the stream goes on after what the fault wants."""
        if fault is None:
            return True
        for line in fault.lines:
            self._chunk(line)
        if fault.as_event:
            self._error_event(fault.code, fault.reason, fault.message, fault.retry_after_s)
        return not (fault.as_event or fault.end)

    def _follow(self, stream: Stream, path: str, version: int) -> None:
        """Initial events where they are due, then changes, until the time that was asked for is over."""
        query, store = stream.request.query, self.server.api.store
        initial = query.get("sendInitialEvents") == "true"
        if initial and not self.server.api.streaming:
            return self._error_event(500, "InternalError", UNSUPPORTED)
        selector = selector_of(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        with store.changed:
            if version and version < store.oldest:
                text = f"too old resource version: {version} ({store.oldest})"
                return self._error_event(410, "Expired", text)
            reached = version if version and not initial else store.version
            items = {} if version and not initial else store.items(path)
        for key in sorted(items):
            if selector(items[key]):
                self._event("ADDED", path, items[key])
        if initial:
            self._bookmark(path, reached, {"k8s.io/initial-events-end": "true"})
        seconds = float(query.get("timeoutSeconds", "300"))
        return self._live(stream, path, selector, reached, time.monotonic() + seconds)

    def _live(self, stream: Stream, path: str, selector: Any, reached: int, until: float) -> None:
        api = self.server.api
        bookmarks = stream.request.query.get("allowWatchBookmarks") == "true"
        bookmark_at = time.monotonic() + api.bookmark_s
        while api.running:
            changes, current, commands = self._await_news(stream, path, reached, min(until, bookmark_at))
            for change in changes:
                if event := event_of(change, selector):
                    self._event(event[0], path, event[1])
            over = time.monotonic() >= until
            known = reached <= current
            reached = max(reached, current)
            if bookmarks and known and (over or BOOKMARK in commands or time.monotonic() >= bookmark_at):
                self._bookmark(path, reached, None)
                bookmark_at = time.monotonic() + api.bookmark_s
            if over or self._obey(commands):
                return
        raise Cut

    def _await_news(
        self, stream: Stream, path: str, reached: int, until: float
    ) -> tuple[list[Change], int, list[bytes]]:
        """Changes after `reached`, the version they lead to, and commands."""
        api, store = self.server.api, self.server.api.store
        with store.changed:
            stream.live = True
            store.changed.notify_all()
            wait_s = max(until - time.monotonic(), 0.0)
            store.changed.wait_for(lambda: stream.commands or not api.running or store.version > reached, wait_s)
            commands = stream.commands[:]
            stream.commands.clear()
            return store.changes(path, reached), store.version, commands

    def _obey(self, commands: list[bytes]) -> bool:
        """Whether the stream is to end."""
        for command in commands:
            if command == CUT:
                self._chunk(b'{"type":"MODIFIED","object":{"metadata":{"name":"half')
                raise Cut
            if command == END:
                return True
            if command != BOOKMARK:
                self._chunk(command)
        return False

    def _event(self, kind: str, path: str, item: Json) -> None:
        collection = COLLECTIONS[path]
        whole = {"kind": collection.kind, "apiVersion": collection.api_version, **item}
        self._chunk(encode({"type": kind, "object": whole}) + b"\n")

    def _bookmark(self, path: str, version: int, annotations: Json | None) -> None:
        metadata = {"resourceVersion": str(version), **({"annotations": annotations} if annotations else {})}
        self._event("BOOKMARK", path, {"metadata": metadata, **COLLECTIONS[path].empty})

    def _error_event(self, code: int, reason: str, message: str, retry_after_s: int = 0) -> None:
        details = {"causes": [], "retryAfterSeconds": retry_after_s} if retry_after_s else None
        self._chunk(encode({"type": "ERROR", "object": status_body(code, reason, message, details)}) + b"\n")

    def _deny(self, request: Request) -> None:
        if request.authorization:
            return self._refuse(401, "Unauthorized", "Unauthorized")
        plural = request.path.rsplit("/", 1)[1]
        text = (
            f'{plural} is forbidden: User "system:anonymous" cannot list resource "{plural}" '
            'in API group "" at the cluster scope'
        )
        return self._refuse(403, "Forbidden", text, {"kind": plural})

    def _refuse(
        self, code: int, reason: str, message: str, details: Json | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self._send_json(code, status_body(code, reason, message, details), headers)

    def _send_json(self, code: int, body: Json, headers: dict[str, str] | None = None) -> None:
        data = encode(body) + b"\n"
        if len(data) <= SMALL_BYTES:
            self._head(code, {"Content-Length": str(len(data)), **(headers or {})})
            self._write(data, data)
            return
        packed = len(data) > LONG_BYTES and "gzip" in self.headers.get("Accept-Encoding", "")
        encoding = {"Content-Encoding": "gzip"} if packed else {}
        self._head(code, {"Transfer-Encoding": "chunked", **encoding, **(headers or {})})
        self._chunk(gzip.compress(data, 1) if packed else data)
        self._chunk(b"")

    def _head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in (COMMON_HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _chunk(self, data: bytes) -> None:
        self._write(data, b"%x\r\n%b\r\n" % (len(data), data))

    def _write(self, data: bytes, framed: bytes) -> None:
        """Send, unless the fault's allowance for the body is used up: then as much as it allows."""
        time.sleep(self.server.api.slow_s)
        if self._left_bytes is not None and len(data) >= self._left_bytes:
            self.wfile.write(framed[: framed.index(data) + self._left_bytes] if data else b"")
            raise Cut
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
        self.wfile.write(framed)
