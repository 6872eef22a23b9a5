"""The HTTP door: a few sockets, one thread that waits for all of them, and few that answer; waitress does the protocol.

Rules kept: only GET and HEAD are answered; a request is small, a client that is silent or does not take its answer is
let go, connections are counted, and of a long answer only a little is there at a time, never in a file, so that nobody
can take memory or threads from the proxy; sockets open and close while the server runs; no
answer names the server's software; an error of ours is a plain 500.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher

from kproxy.effects.page import FAILED, METHODS, NOT_ALLOWED, Answer, Page, Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CONNECTIONS: Final = 64
"""How many clients may be connected to one server at a time; more wait in the kernel's queue."""
SILENCE_S: Final = 10
"""A connection without a request for so long is closed."""
UNTAKEN_S: Final = 10.0
"""So is one whose client has taken nothing of its answer for so long."""
HEADER_BYTES: Final = 16 * 1024
BODY_BYTES: Final = 4 * 1024
"""No answer depends on a body; a small one does no harm."""
OBJECTS_PER_LISTENER: Final = 2
"""waitress keeps a socket and a trigger for each listener in the map that it counts connections by."""
AHEAD_BYTES: Final = 256 * 1024
"""How much of an answer is made before the client has taken what was made before."""
NO_FILE_BYTES: Final = 1 << 40
"""waitress keeps what is longer in a temporary file, for which a container may have no room."""
LOOK_S: Final = 2.0
"""How often such clients are looked for."""
REST_S: Final = 0.2
"""How long after a client that could not be let in the next try is made."""
PATIENCE_S: Final = 1
"""How long closing waits for threads."""


class Wsgi:
    """An Answer as a WSGI application; what it raises is logged by `complain` and answered with 500."""

    def __init__(self, answer: Answer, complain: Callable[[Exception], None]) -> None:
        self._answer = answer
        self._complain = complain

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """One request."""
        page = self._page(environ)
        headers = [
            ("Content-Type", page.content_type),
            ("X-Content-Type-Options", "nosniff"),
            *page.headers,
        ]
        if page.parts is None:
            headers.append(("Content-Length", str(len(page.body))))
        start(f"{page.status.value} {page.status.phrase}", headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        return self._sent(page) if page.parts else [page.body]

    def _sent(self, page: Page) -> Iterator[bytes]:
        """The pieces; where one fails, the answer breaks off, so that nobody takes it for whole."""
        try:
            yield from page.pieces()
        except Exception as error:
            self._complain(error)
            raise

    def _page(self, environ: WSGIEnvironment) -> Page:
        if environ["REQUEST_METHOD"] not in METHODS:
            return NOT_ALLOWED
        path = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace")
        try:
            return self._answer(Request(path, environ.get("QUERY_STRING", "")))
        except Exception as error:  # noqa: BLE001 - a page that fails must not end a thread
            self._complain(error)
            return FAILED


class HttpServer:
    """Answers on any number of sockets until it is closed; `listen` and `close` may be called from any thread."""

    def __init__(self, name: str, complain: Callable[[Exception], None], threads: int = 2) -> None:
        """Starts the threads, which answer nothing as long as there is no socket."""
        # It logs with a stack on standard error what its user can do nothing about; our own errors reach `complain`.
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        self._complain = complain
        self._map: dict[int, Any] = {}
        self._adjustments = Adjustments(
            ident=None,
            threads=threads,
            channel_timeout=SILENCE_S,
            cleanup_interval=SILENCE_S // 2,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=BODY_BYTES,
            outbuf_high_watermark=AHEAD_BYTES,
            outbuf_overflow=NO_FILE_BYTES,
            clear_untrusted_proxy_headers=False,
            asyncore_use_poll=True,
        )
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(threads)
        self._jobs: list[Callable[[], None]] = []
        self._bell = _Bell(self._map, self._work)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"http-{name}", daemon=True)
        self._thread.start()

    def listen(self, bound: socket.socket, answer: Answer) -> Callable[[], None]:
        """Answer on a socket that is bound; it is the server's from now on.

        Returns what closes it again, which any thread but the server's may call.
        """
        opened: list[BaseWSGIServer] = []

        def open_it() -> None:
            kind = _UnixServer if bound.family == socket.AF_UNIX else _TcpServer
            info = (bound.family, bound.type, bound.proto, bound.getsockname())
            opened.append(
                kind(
                    Wsgi(answer, self._complain),
                    map=self._map,
                    _sock=bound,
                    dispatcher=self._dispatcher,
                    adj=self._adjustments,
                    sockinfo=info,
                    bind_socket=False,
                )
            )
            self._adjustments.connection_limit += OBJECTS_PER_LISTENER

        def close_it() -> None:
            for server in opened:
                self._adjustments.connection_limit -= OBJECTS_PER_LISTENER
                for channel in [one for one in self._map.values() if getattr(one, "server", None) is server]:
                    channel.close()
                server.close()
            opened.clear()

        # Clients may connect before the thread comes to it.
        bound.listen()
        self._do(open_it)
        return lambda: self._have_done(close_it)

    def close(self) -> None:
        """Close every socket and end the threads."""
        self._do(self._shut)
        self._thread.join(PATIENCE_S)
        self._dispatcher.shutdown(timeout=PATIENCE_S)

    def _have_done(self, job: Callable[[], None]) -> None:
        """Return when it is done: only then is a port free."""
        done = threading.Event()
        self._do(job)
        self._do(done.set)
        done.wait(PATIENCE_S)

    def _do(self, job: Callable[[], None]) -> None:
        """Have a job done by the thread that waits, since its map is no other thread's."""
        self._jobs.append(job)
        with contextlib.suppress(OSError):  # closed meanwhile
            self._bell.ring()

    def _work(self) -> None:
        while self._jobs:
            job = self._jobs.pop(0)
            try:
                job()
            except OSError as error:
                self._complain(error)

    def _let_go(self, before: float) -> None:
        """Close connections whose clients have taken nothing of their answer since; a thread may be waiting for them.

        waitress does so itself for all that it is not making an answer for.
        """
        for one in list(self._map.values()):
            if isinstance(one, HTTPChannel) and one.requests and one.total_outbufs_len and one.last_activity < before:
                one.handle_close()

    def _shut(self) -> None:
        self._closed = True

    def _run(self) -> None:
        while not self._closed:
            wasyncore.poll2(timeout=LOOK_S, map=self._map)
            self._let_go(time.time() - UNTAKEN_S)
        wasyncore.close_all(self._map, ignore_all=True)


class _Resting:
    """A server whose thread rests a moment where there is no descriptor or memory for a client, who waits on."""

    def accept(self) -> tuple[socket.socket, Any] | None:
        try:
            accepted: tuple[socket.socket, Any] | None = super().accept()  # type: ignore[misc] # the other parent's
        except OSError:
            time.sleep(REST_S)
            raise
        return accepted


class _TcpServer(_Resting, TcpWSGIServer):
    pass


class _UnixServer(_Resting, UnixWSGIServer):
    pass


class _Bell(wasyncore.dispatcher):
    """Wakes the thread that waits, and has it do what is to be done there."""

    def __init__(self, objects: dict[int, Any], work: Callable[[], None]) -> None:
        self._work = work
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        super().__init__(reader, map=objects)

    def ring(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._writer.send(b"!")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(4096)
        self._work()

    def close(self) -> None:
        self._writer.close()
        super().close()


def bind_tcp(address: str, port: int) -> socket.socket:
    """A TCP socket on an address of this machine (IPv6: of that family alone); OSError if it cannot be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def bind_abstract(name: str) -> socket.socket:
    """A socket of an abstract name (unix(7)), which lives as long as the process; OSError if the name is taken."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        bound.bind(f"\0{name}")
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def serving(name: str, complain: Callable[[Exception], None], threads: int = 2) -> Iterator[HttpServer]:
    """A server that is closed in the end."""
    server = HttpServer(name, complain, threads)
    try:
        yield server
    finally:
        server.close()
