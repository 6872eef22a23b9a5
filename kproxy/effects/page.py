"""Pages: what is asked for, what is answered, and which page a path has; the protocol is `effects.http`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Final

from kproxy.core.values import Value

PIECE_CHARACTERS: Final = 32 * 1024
TEXT: Final = "text/plain; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD"})


class Page(Value, frozen=True):
    """An answer: its body, or the parts of a long one, which are made while it is sent."""

    body: bytes = b""
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()
    parts: Callable[[], Iterable[str]] | None = None

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of a size worth sending."""
        if self.body:
            yield self.body
        gathered: list[str] = []
        size = 0
        for part in self.parts() if self.parts else ():
            gathered.append(part)
            size += len(part)
            if size >= PIECE_CHARACTERS:
                yield "".join(gathered).encode(errors="replace")
                gathered, size = [], 0
        if gathered:
            yield "".join(gathered).encode(errors="replace")


class Request(Value, frozen=True):
    """What is asked for: the path, decoded, and the part after the question mark as it came."""

    path: str
    query: str = ""


Answer = Callable[[Request], Page]
NOT_FOUND = Page(b"404 page not found\n", status=HTTPStatus.NOT_FOUND)
NOT_ALLOWED = Page(
    b"405 method not allowed\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(sorted(METHODS))),)
)
FAILED = Page(b"500 internal server error\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)


class Site(Value, frozen=True):
    """Pages by path; a path that ends in `/` stands for all that begin so."""

    pages: Mapping[str, Answer]

    def __call__(self, request: Request) -> Page:
        """The page of the longest path that fits, or a 404."""
        exact = self.pages.get(request.path)
        if exact is not None:
            return exact(request)
        prefixes = [path for path in self.pages if path.endswith("/") and request.path.startswith(path)]
        return self.pages[max(prefixes, key=len)](request) if prefixes else NOT_FOUND
