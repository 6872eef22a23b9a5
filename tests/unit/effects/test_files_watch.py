"""A directory of manifests as it changes, on the real kernel; every wait is for an event, none for a time."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from kproxy.core.model import Event, Flaws, Service
from kproxy.core.snapshot import Snapshot, fold
from kproxy.effects.files import DirectorySource
from kproxy.errors import ConfigError, ParseError

WAIT_S = 20.0
Ports = dict[str, int]


def service(name: str, port: object = 80) -> str:
    spec = f"{{clusterIP: 10.96.0.10, ports: [{{port: {port}}}]}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"


def put_in_place(path: Path, text: str) -> None:
    """As editors write: beside it, then renamed over it."""
    draft = path.with_name(f".{path.name}.swp")
    draft.write_text(text)
    draft.rename(path)


class Followed:
    """A directory with a source that follows it; remembers nothing but what the source said."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = directory
        self.snapshot = Snapshot()
        self.faults: queue.Queue[Exception] = queue.Queue()
        self.said: queue.Queue[Sequence[Event]] = queue.Queue()
        self.source = DirectorySource(directory, clock)
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def put(self, events: Sequence[Event]) -> None:
        """What the source calls; it reads no notice while `go_on` is held."""
        self.reading.set()
        assert self.go_on.wait(WAIT_S)
        self.said.put(events)

    def __enter__(self) -> Self:
        self.source.start(self.put, self.faults.put)
        return self

    def __exit__(self, *exc: object) -> None:
        self.go_on.set()
        self.source.stop()

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def next(self) -> Ports:
        """What is in force after the next delivery: the port of each Service."""
        self.snapshot = fold(self.snapshot, self.said.get(timeout=WAIT_S))
        return self.ports

    def until(self, ports: Ports) -> None:
        """Take deliveries until just these Services are in force."""
        deadline = time.monotonic() + WAIT_S
        while self.ports != ports:
            assert time.monotonic() < deadline, f"still {self.ports}"
            self.next()

    @property
    def ports(self) -> Ports:
        return {
            key.name: item.ports[0].port for key, item in self.snapshot.services.items() if isinstance(item, Service)
        }

    def fault(self) -> Exception:
        return self.faults.get(timeout=WAIT_S)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "manifests"
    path.mkdir()
    (path / "a.yaml").write_text(service("a"))
    return path


@pytest.fixture
def followed(directory: Path) -> Iterator[Followed]:
    with Followed(directory) as found:
        assert found.next() == {"a": 80}
        yield found


def test_an_empty_directory_is_complete_at_once(tmp_path: Path) -> None:
    with Followed(tmp_path) as followed:
        assert followed.next() == {}
        assert followed.snapshot.synced


def test_files_come_change_and_go(followed: Followed) -> None:
    followed.write("b.json", '{"apiVersion": "v1", "kind": "List", "items": []}')
    followed.write("c.yml", service("c"))
    followed.until({"a": 80, "c": 80})
    followed.write("a.yaml", service("a", 81))
    followed.until({"a": 81, "c": 80})
    (followed.directory / "a.yaml").unlink()
    followed.until({"c": 80})


def test_what_is_renamed_over_a_file_counts(followed: Followed) -> None:
    put_in_place(followed.directory / "a.yaml", service("a", 81))
    followed.until({"a": 81})


def test_a_file_that_is_moved_away_takes_its_objects_along(followed: Followed) -> None:
    (followed.directory / "a.yaml").rename(followed.directory / "a.yaml.off")
    followed.until({})
    (followed.directory / "a.yaml.off").rename(followed.directory / "b.yaml")
    followed.until({"a": 80})


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_new_link_counts_at_once(followed: Followed, tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    (tmp_path / "elsewhere").write_text(service("b"))
    link(tmp_path / "elsewhere", followed.directory / "b.yaml")
    followed.until({"a": 80, "b": 80})


def test_a_broken_file_is_named_and_what_it_last_said_stays(followed: Followed) -> None:
    followed.write("a.yaml", "a: [")
    followed.write("b.yaml", service("b"))
    fault = followed.fault()
    assert isinstance(fault, ConfigError)
    assert str(fault).startswith(f"{followed.directory}/a.yaml:2: not YAML")
    followed.until({"a": 80, "b": 80})
    followed.write("a.yaml", service("a", 81))
    followed.until({"a": 81, "b": 80})
    assert followed.faults.empty()


def test_a_broken_object_is_named_and_stays_as_it_was(followed: Followed) -> None:
    followed.write("a.yaml", service("a", 70000) + "---\n" + service("b"))
    fault = followed.fault()
    assert isinstance(fault, ParseError)
    assert str(fault) == (
        f"{followed.directory}/a.yaml:4: Service shop/a: spec.ports[0].port: 70000 is not a number from 1 to 65535"
    )
    followed.until({"a": 80, "b": 80})


def test_a_fault_is_told_once_and_again_when_it_comes_back(followed: Followed) -> None:
    for text, port in (("a: [", 1), ("a: [", 2), (service("a", 81), 3), ("a: [", 4)):
        followed.write("a.yaml", text)
        followed.write("b.yaml", service("b", port))
        followed.until({"a": 81 if port > 2 else 80, "b": port})
    first, second = followed.fault(), followed.fault()
    assert str(first) == str(second)
    assert followed.faults.empty()


def test_at_the_first_reading_what_can_be_read_is_in_force(directory: Path) -> None:
    (directory / "b.yaml").write_text("a: [")
    with Followed(directory) as followed:
        assert followed.next() == {"a": 80}
        assert "b.yaml:2" in str(followed.faults.get_nowait())


def test_a_file_is_not_read_while_it_is_written(followed: Followed) -> None:
    with (followed.directory / "b.yaml").open("w") as half:
        half.write(service("b"))
        half.flush()
        followed.write("c.yaml", service("c"))
        assert followed.next() == {"a": 80, "c": 80}
        half.write("---\n" + service("b2"))
    followed.until({"a": 80, "b": 80, "b2": 80, "c": 80})


def mounted(volume: Path, version: str, text: str) -> None:
    """Publish as a kubelet publishes a ConfigMap: a new directory, and one rename of a link to it."""
    (volume / version).mkdir()
    (volume / version / "a.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(version)
    (volume / "..data_tmp").rename(volume / "..data")


def test_a_mounted_config_map_changes_by_one_rename(tmp_path: Path) -> None:
    mounted(tmp_path, "..1", service("a", 80))
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    with Followed(tmp_path) as followed:
        assert followed.next() == {"a": 80}
        mounted(tmp_path, "..2", service("a", 81))
        shutil.rmtree(tmp_path / "..1")
        followed.until({"a": 81})


def test_a_directory_that_is_removed_leaves_its_objects_in_force_until_it_is_back(followed: Followed) -> None:
    followed.directory.rename(followed.directory.with_name("away"))
    fault = followed.fault()
    assert isinstance(fault, ConfigError)
    assert "what it last said stays in force" in str(fault)
    before = followed.ports
    assert followed.next() == before
    assert followed.snapshot.flaws == Flaws((str(fault),))
    followed.directory.mkdir()
    followed.write("b.yaml", service("b"))
    followed.until({"b": 80})
    followed.write("b.yaml", service("b", 81))
    followed.until({"b": 81})


def test_what_happens_to_the_directory_that_was_moved_away_no_longer_counts(followed: Followed) -> None:
    away = followed.directory.with_name("away")
    followed.directory.rename(away)
    shutil.copytree(away, followed.directory)
    (followed.directory / "a.yaml").write_text(service("a", 81))
    followed.until({"a": 81})
    (away / "b.yaml").write_text(service("b"))
    followed.write("c.yaml", service("c"))
    followed.until({"a": 81, "c": 80})


def test_another_directory_under_the_same_link_counts(tmp_path: Path, directory: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.yaml").write_text(service("b"))
    link = tmp_path / "link"
    link.symlink_to(directory)
    with Followed(link) as followed:
        assert followed.next() == {"a": 80}
        (tmp_path / "draft").symlink_to(other)
        (tmp_path / "draft").rename(link)
        followed.until({"b": 80})
        (other / "b.yaml").write_text(service("b", 81))
        followed.until({"b": 81})


def test_a_whole_tree_that_returns_is_found_without_its_parents_word(tmp_path: Path) -> None:
    deep = tmp_path / "x" / "y"
    deep.mkdir(parents=True)
    with Followed(deep) as followed:
        assert followed.next() == {}
        shutil.rmtree(tmp_path / "x")
        assert "cannot be read" in str(followed.fault())
        deep.mkdir(parents=True)
        followed.write("a.yaml", service("a"))
        followed.until({"a": 80})


class HeldClock:
    """A clock that stands still until it is told; `turns` waits until the source has looked at it again and again."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looked = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looked.release()
        return self.now

    def turns(self, count: int) -> None:
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(count):
            assert self.looked.acquire(timeout=WAIT_S)


@pytest.mark.parametrize("advance_s", [0.05, 5.0])
def test_a_burst_is_one_delivery(directory: Path, advance_s: float) -> None:
    clock = HeldClock()
    with Followed(directory, clock) as followed:
        assert followed.next() == {"a": 80}
        for number in range(30):
            followed.write(f"{number}.yaml", service(f"s{number}"))
        clock.turns(6)
        assert followed.said.empty()
        clock.now += advance_s
        assert len(followed.next()) == 31


def test_a_burst_that_does_not_end_is_read_nevertheless(directory: Path) -> None:
    """The clock leaps by less than the quiet time, so that only the limit of a burst can end it."""
    ticks = iter(range(10**9))
    with Followed(directory, lambda: next(ticks) * 0.012) as followed:
        assert followed.next() == {"a": 80}
        busy = threading.Event()

        def write() -> None:
            port = 1
            while not busy.is_set():
                followed.write("b.yaml", service("b", port % 60000 + 1))
                port += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            while "b" not in followed.ports:
                followed.next()
        finally:
            busy.set()
            thread.join()


@pytest.fixture
def held(directory: Path) -> Iterator[Followed]:
    """A source that has read the directory once, and reads no notice before `go_on`."""
    found = Followed(directory)
    found.go_on.clear()
    with found:
        assert found.reading.wait(WAIT_S)
        yield found


def test_nothing_is_lost_when_the_kernels_queue_is_full(held: Followed) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    paths = [held.directory / name for name in ("x.txt", "y.txt")]
    for number in range(limit + 2):
        os.close(os.open(paths[number % 2], os.O_WRONLY | os.O_CREAT))
    held.write("b.yaml", service("b"))
    held.go_on.set()
    held.until({"a": 80, "b": 80})


def test_a_file_that_is_gone_again_is_nothing(held: Followed) -> None:
    (held.directory / "b.yaml").symlink_to("a.yaml")
    (held.directory / "b.yaml").unlink()
    held.write("c.yaml", service("c"))
    held.go_on.set()
    held.until({"a": 80, "c": 80})
    assert held.faults.empty()


def test_nothing_comes_after_stop(directory: Path) -> None:
    with Followed(directory) as followed:
        followed.next()
    followed.write("b.yaml", service("b"))
    assert followed.said.empty()
    assert not any(thread.name == "manifests" for thread in threading.enumerate())
    followed.source.stop()


def test_it_can_be_started_again(directory: Path) -> None:
    followed = Followed(directory)
    for _ in range(2):
        with followed:
            assert followed.next() == {"a": 80}


def test_stop_before_start_is_nothing(directory: Path) -> None:
    DirectorySource(directory).stop()


@pytest.mark.parametrize("name", ["absent", "manifests/a.yaml"])
def test_what_is_no_directory_is_refused_at_the_start(directory: Path, name: str) -> None:
    with (
        pytest.raises(ConfigError, match="is not a directory of manifests; create it"),
        Followed(directory.parent / name),
    ):
        pass
