"""Files as a source: manifests read once, or a directory of them read again whenever it changes.

Rules kept: `.yaml`, `.yml` and `.json` count in a directory, hidden names and
what lies deeper do not; links are followed, so that a mounted ConfigMap works.
A file is read when its writer closes it or moves it there, never while it is
written. What cannot be read is told once, and what it last said stays in force;
so does everything when the directory itself is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import Event, Flaws
from kproxy.core.values import Value
from kproxy.effects.inotify import Inotify, Mask, Notice
from kproxy.effects.manifest_text import MAX_BYTES, Problem
from kproxy.effects.manifests import Manifest, Manifests, carry, merge, read_manifest
from kproxy.errors import ConfigError

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
QUIET_S = 0.03
"""A burst of changes ends when nothing has changed for so long."""
LONGEST_BURST_S = 1.0
"""A burst is read after so long even if it goes on."""
RETRY_S = 1.0
"""How often a directory is looked for that is gone, beside what its parent tells."""


class Content(Value, frozen=True):
    """A file's bytes, and what messages call it; or why it cannot be read."""

    name: str
    data: bytes = b""
    problem: Problem | None = None

    def manifest(self, instance: Instance = DEFAULT) -> Manifest:
        """What it says to an instance."""
        if self.problem is None:
            return read_manifest(self.name, self.data, instance)
        return Manifest(self.name, problems=(self.problem,), is_whole=False, is_known=False)


def read_manifests(paths: Sequence[str | Path], instance: Instance = DEFAULT) -> Manifests:
    """What files, directories and `-` (standard input) say to an instance; ConfigError for a path that is not there."""
    return merge(content.manifest(instance) for content in read_contents(paths))


def read_contents(paths: Sequence[str | Path]) -> Iterator[Content]:
    """The bytes of files, of those in directories, and of `-` (standard input); ConfigError as `read_manifests`."""
    return (content for path in paths for content in _read_path(path))


def _read_path(path: str | Path) -> Iterator[Content]:
    if str(path) == STDIN:
        yield Content("standard input", sys.stdin.buffer.read(MAX_BYTES + 1))
        return
    try:
        if os.path.isdir(path):  # noqa: PTH112 - a path may be text
            names = _manifest_names(Path(path))
            yield from (found for name in names if (found := _read_entry(Path(path), name)) is not None)
            return
        with open(path, "rb") as file:  # noqa: PTH123 - likewise
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{_shown(path)}: {error.strerror}; give a file, a directory or - for standard input"
        ) from error
    yield Content(_shown(path), content)


def _manifest_names(directory: Path) -> list[str]:
    """The names that count, sorted; OSError if it cannot be listed."""
    return sorted(name for name in os.listdir(directory) if _counts(name))  # noqa: PTH208 - names are wanted


def _counts(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")


def _read_entry(directory: Path, name: str) -> Content | None:
    """What is in a file of a directory; None if there is none, or it is no file."""
    path = directory / name
    try:
        # Not to hang on a pipe that somebody has put there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENXIO):
            return None
        return Content(_shown(path), problem=Problem(_shown(path), 0, "", "", f"cannot be read: {error.strerror}"))
    return Content(_shown(path), content)


def _shown(path: str | Path) -> str:
    """A path for messages; quoted if it is empty or not plain text."""
    text = str(path)
    return text if text and text.isprintable() else ascii(text)


class Changed(Value, frozen=True):
    """What has to be read again: everything, or the files of some names."""

    names: frozenset[str] = frozenset()
    everything: bool = False

    def __or__(self, other: Changed) -> Changed:
        return Changed(self.names | other.names, self.everything or other.everything)

    def __bool__(self) -> bool:
        return self.everything or bool(self.names)


NOTHING = Changed()
EVERYTHING = Changed(everything=True)

_PARENT_MASK = Mask.MOVED_FROM | Mask.MOVED_TO | Mask.CREATE | Mask.DELETE
_ENTRY_MASK = _PARENT_MASK | Mask.CLOSE_WRITE
_SELF_MASK = Mask.DELETE_SELF | Mask.MOVE_SELF


class DirectorySource:
    """A directory of manifests as a Source (see `kproxy.ports`); each change gives whole lists of every kind."""

    def __init__(
        self, directory: str | Path, clock: Callable[[], float] = time.monotonic, instance: Instance = DEFAULT
    ) -> None:
        self._directory = Path(directory).absolute()
        self._instance = instance
        self._clock = clock
        self._manifests: dict[str, Manifest] = {}
        self._reported: frozenset[Problem] = frozenset()
        self._watch = self._parent_watch = -1
        self._inotify: Inotify | None = None
        self._thread: threading.Thread | None = None

    def start(self, put: Callable[[Sequence[Event]], None], fail: Callable[[Exception], None]) -> None:
        """Begin to deliver; ConfigError if there is no such directory now, UnsupportedHost without inotify."""
        if not self._directory.is_dir():
            raise ConfigError(f"{_shown(self._directory)} is not a directory of manifests; create it, or name another")
        self._inotify = Inotify()
        self._thread = threading.Thread(
            target=self._run, args=(self._inotify, put, fail), name="manifests", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End delivery and join the thread."""
        if self._inotify is not None and self._thread is not None:
            self._inotify.ring()
            self._thread.join()
            self._inotify.close()
            self._inotify = self._thread = None

    def _run(self, inotify: Inotify, put: Callable[[Sequence[Event]], None], fail: Callable[[Exception], None]) -> None:
        changed: Changed | None = EVERYTHING
        while changed is not None:
            try:
                if changed.everything:
                    self._watch_again(inotify)
                said = self._read(changed)
            except OSError as error:
                gone = self._gone(error)
                is_news = gone not in self._reported
                self._report([gone], fail)
                if is_news:
                    put((Flaws((str(gone),)),))
            else:
                # Problems first: whoever stops listening at the first whole answer must have heard of them.
                self._report(said.problems, fail)
                put((*said.events, said.flaws))
            changed = self._next_change(inotify)

    def _watch_again(self, inotify: Inotify) -> None:
        """Watch the directory that has the name now; its parent tells when another takes its place."""
        before, self._watch, self._parent_watch = self._watch, -1, -1
        try:
            with contextlib.suppress(OSError):  # It may be none of ours to read; then only time tells.
                self._parent_watch = inotify.watch(self._directory.parent, _PARENT_MASK)
            self._watch = inotify.watch(self._directory, _ENTRY_MASK | _SELF_MASK)
        finally:
            if before not in (-1, self._watch):
                inotify.forget(before)

    def _read(self, changed: Changed) -> Manifests:
        """What the directory says; a new file that no notice has named is still being written."""
        manifests: dict[str, Manifest] = {}
        for name in _manifest_names(self._directory):
            before = self._manifests.get(name)
            now = before
            if changed.everything or name in changed.names:
                read = _read_entry(self._directory, name)
                now = carry(before, read.manifest(self._instance)) if read is not None else None
            if now is not None:
                manifests[name] = now
        self._manifests = manifests
        return merge(manifests.values())

    def _report(self, problems: Iterable[Problem], fail: Callable[[Exception], None]) -> None:
        problems = list(problems)
        for problem in problems:
            if problem not in self._reported:
                fail(problem.error)
        self._reported = frozenset(problems)

    def _gone(self, error: OSError) -> Problem:
        reason = f"cannot be read: {error.strerror}; what it last said stays in force until it is back"
        return Problem(_shown(self._directory), 0, "", "", reason)

    def _next_change(self, inotify: Inotify) -> Changed | None:
        """The next burst of changes once it is over; None if it is time to stop."""
        changed, ends, ends_at_last = NOTHING, 0.0, 0.0
        while True:
            now = self._clock()
            if changed and now >= min(ends, ends_at_last):
                return changed
            is_gone = self._watch == -1
            timeout_s = min(ends, ends_at_last) - now if changed else RETRY_S if is_gone else None
            notices = inotify.wait(timeout_s)
            if notices is None:
                return None
            if not notices and not changed:
                return EVERYTHING
            more = self._changed_by(notices)
            if more:
                ends = self._clock() + QUIET_S
                ends_at_last = ends_at_last if changed else self._clock() + LONGEST_BURST_S
                changed |= more

    def _changed_by(self, notices: Iterable[Notice]) -> Changed:
        changed = NOTHING
        for notice in notices:
            changed |= self._changed_by_one(notice)
        return changed

    def _changed_by_one(self, notice: Notice) -> Changed:
        if notice.overflowed or self._is_about_directory(notice):
            return EVERYTHING
        if notice.watch != self._watch or not self._is_complete(notice):
            return NOTHING
        return EVERYTHING if notice.name.startswith("..") else Changed(frozenset({notice.name}))

    def _is_about_directory(self, notice: Notice) -> bool:
        """Whether the directory itself came, went or gave its name to another."""
        if notice.watch == self._watch:
            return bool(notice.mask & (_SELF_MASK | Mask.IGNORED | Mask.UNMOUNT))
        return notice.watch == self._parent_watch and notice.name == self._directory.name

    def _is_complete(self, notice: Notice) -> bool:
        """Whether this is a name that counts, and the last notice of its change.

        A mounted ConfigMap changes by one rename of `..data`, which all its files link through.
        """
        if not _counts(notice.name):
            return bool(notice.mask & Mask.MOVED_TO) and notice.name.startswith("..")
        return not notice.mask & Mask.CREATE or self._is_link(notice.name)

    def _is_link(self, name: str) -> bool:
        """Whether a new name is a link to what was there before; anything else is told again once it is written."""
        try:
            status = os.lstat(self._directory / name)
        except OSError:
            return False
        return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1
