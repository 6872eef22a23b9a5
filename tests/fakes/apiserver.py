"""An HTTP fake of the API server: lists, watches, streaming lists and faults, as tests/data/recordings has them.

    python -m tests.fakes.apiserver --services 1000 --endpoints 5 --kubeconfig /tmp/kubeconfig

serves a generated cluster until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from tests.fakes.apihandler import HttpServer
from tests.fakes.apiobjects import cluster
from tests.fakes.apistore import Json, Store
from tests.fakes.apiwire import BOOKMARK, CUT, END, Fault, Request, Stream

__all__ = ["BOOKMARK", "CUT", "END", "ApiServer", "Fault", "Request"]

PATIENCE_S = 60.0


class ApiServer:
    """Starts on a free port of 127.0.0.1; `store` is its state and outlives `stop` and `start`."""

    def __init__(self, tokens: Iterable[str] = (), tls: ssl.SSLContext | None = None) -> None:
        self.store = Store()
        self.tokens = set(tokens)
        """Those that are let in; everybody if empty."""
        self.streaming = True
        """Whether streaming lists are supported."""
        self.missing: set[str] = set()
        """Paths that this server does not have."""
        self.bookmark_s = 60.0
        self.slow_s = 0.0
        """How long it takes over every piece that it sends."""
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.posts: list[tuple[str, Json]] = []
        """What was to be created, with its path; nothing of it is kept."""
        self.streams: list[Stream] = []
        self._tls = tls
        self._port = 0
        self._http: HttpServer | None = None
        self.running = False

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> Self:
        self._http = HttpServer(("127.0.0.1", self._port), self, self._tls)
        self._port = self._http.server_address[1]
        self.running = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), name="fake-apiserver", daemon=True).start()
        return self

    def stop(self) -> None:
        """Cut every connection; refuse new ones."""
        assert self._http is not None
        with self.store.changed:
            self.running = False
            self.store.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.stop()

    def put(self, *items: Json) -> None:
        for item in items:
            self.store.put(item)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        self.store.delete(kind, name, namespace)

    def inject(self, *faults: Fault) -> None:
        with self.store.changed:
            self.faults.extend(faults)

    def fault_for(self, request: Request) -> Fault | None:
        with self.store.changed:
            for fault in self.faults:
                if request.path.startswith(fault.path) and fault.watch in {None, request.is_watch}:
                    self.faults.remove(fault)
                    return fault
        return None

    def await_that(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of `requests`, `streams` or the store."""
        with self.store.changed:
            if not self.store.changed.wait_for(holds, PATIENCE_S):
                raise AssertionError(f"it did not come to hold: {self.requests[-5:]}")

    def await_watches(self, count: int) -> None:
        """Wait until so many streams are past their initial events."""
        self.await_that(lambda: sum(stream.live for stream in self.streams) == count)

    def command(self, command: bytes) -> None:
        """Tell every stream: BOOKMARK, END, CUT, or a line to send as it is."""
        with self.store.changed:
            for stream in self.streams:
                stream.commands.append(command)
            self.store.changed.notify_all()

    def kubeconfig(self, token: str = "", ca: str = "") -> Json:
        """As a file's content; `ca` is the path of a PEM file."""
        where = {"server": self.url, **({"certificate-authority": ca} if ca else {})}
        user = {"token": token} if token else {}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": where}],
            "users": [{"name": "fake", "user": user}],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake API server with a generated cluster.")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=5)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="where to write a kubeconfig for it")
    parser.add_argument("--no-streaming", action="store_true", help="refuse streaming lists")
    options = parser.parse_args()
    with ApiServer() as server:
        server.streaming = not options.no_streaming
        server.put(*cluster(options.services, options.endpoints))
        options.kubeconfig.write_text(json.dumps(server.kubeconfig()))
        threading.Event().wait()


if __name__ == "__main__":
    main()
