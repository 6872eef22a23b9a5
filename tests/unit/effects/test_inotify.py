"""The inotify door, on the real kernel."""

from __future__ import annotations

import errno
import os
import resource
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.effects.inotify import Inotify, Mask, Notice, decode
from kproxy.errors import UnsupportedHost

WAIT_S = 10.0


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    door = Inotify()
    yield door
    door.close()


def test_notices_name_what_happened(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.watch(tmp_path, Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.DELETE)
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").rename(tmp_path / "b é")
    (tmp_path / "b é").unlink()
    assert inotify.wait(WAIT_S) == (
        Notice(watch, Mask.CLOSE_WRITE, "a"),
        Notice(watch, Mask.MOVED_TO, "b é"),
        Notice(watch, Mask.DELETE, "b é"),
    )


def test_a_name_that_is_not_text_survives(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path, Mask.CLOSE_WRITE)
    path = os.fsencode(tmp_path) + b"/\xff.yaml"
    with open(path, "wb"):  # noqa: PTH123 - bytes
        pass
    notices = inotify.wait(WAIT_S)
    assert notices
    assert os.fsencode(notices[0].name) == b"\xff.yaml"


def test_waiting_ends_with_the_time_out(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path, Mask.CLOSE_WRITE)
    assert inotify.wait(0.001) == ()
    assert inotify.wait(0.0) == ()


def test_the_bell_ends_a_wait_in_another_thread_and_every_later_one(inotify: Inotify) -> None:
    heard: list[object] = []
    thread = threading.Thread(target=lambda: heard.append(inotify.wait(None)))
    thread.start()
    inotify.ring()
    thread.join(WAIT_S)
    assert heard == [None]
    assert inotify.wait(None) is None


def test_a_directory_that_is_watched_twice_has_one_number(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.watch(tmp_path, Mask.CREATE)
    assert inotify.watch(tmp_path, Mask.CREATE) == watch


def test_a_forgotten_watch_says_no_more_than_that(inotify: Inotify, tmp_path: Path) -> None:
    watch = inotify.watch(tmp_path, Mask.CREATE)
    inotify.forget(watch)
    (tmp_path / "a").touch()
    assert inotify.wait(WAIT_S) == (Notice(watch, Mask.IGNORED, ""),)
    inotify.forget(watch)


@pytest.mark.parametrize(("name", "number"), [("absent", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_what_is_no_directory_cannot_be_watched(inotify: Inotify, tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=name) as caught:
        inotify.watch(tmp_path / name, Mask.CREATE)
    assert caught.value.errno == number


@pytest.fixture
def one_descriptor_left() -> Iterator[None]:
    """Room for the bell, and for nothing after it."""
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("one_descriptor_left")
def test_too_many_instances_are_told_with_the_remedy() -> None:
    with pytest.raises(UnsupportedHost, match=r"Too many open files; raise sysctl fs\.inotify\.max_user_instances"):
        Inotify()
    os.close(os.dup(0))


notices = st.builds(
    Notice,
    st.integers(-1, 2**31 - 1),
    st.sampled_from(Mask),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=20),
)


@given(st.lists(notices, max_size=5), st.integers(0, 16))
def test_what_the_kernel_writes_is_what_is_read(written: list[Notice], padding: int) -> None:
    data = b""
    for notice in written:
        name = os.fsencode(notice.name) + b"\0" * padding
        data += struct.pack("=iIII", notice.watch, notice.mask, 0, len(name)) + name
    assert list(decode(data)) == written


def test_a_full_queue_is_told() -> None:
    (notice,) = decode(struct.pack("=iIII", -1, 0x4000, 0, 0))
    assert notice.overflowed
