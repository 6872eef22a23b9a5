from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kproxy.config import Config
from kproxy.wiring import reloads
from kproxy.wiring.cluster import load_config
from kproxy.wiring.reloads import ConfigWatch

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
PATIENCE_S = 30.0
Heard = queue.SimpleQueue[Config | str]


@contextmanager
def watching(path: Path, config: Config | None = None) -> Iterator[Heard]:
    heard: Heard = queue.SimpleQueue()
    watch = ConfigWatch(str(path), config or load_config(str(path)), heard.put, heard.put)
    watch.start()
    try:
        yield heard
    finally:
        watch.stop()


def mode(heard: Heard) -> str:
    """The mode of the next configuration that is told."""
    told = heard.get(timeout=PATIENCE_S)
    assert isinstance(told, Config), told
    return told.proxy.mode


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_rename(path: Path, text: str) -> None:
    """As editors do."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def after_removal(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("write", [in_place, by_rename, after_removal])
def test_a_file_that_is_changed_is_read_again(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    path = tmp_path / "config"
    path.write_text(f"{HEAD}mode: iptables\n")
    with watching(path) as heard:
        for name in ("nftables", "iptables", "ipvs"):
            write(path, f"{HEAD}mode: {name}\n")
            assert mode(heard) == name
    assert heard.empty()


def test_a_mounted_config_map_swaps_a_link_above_the_file(tmp_path: Path) -> None:
    for name, text in (("one", "iptables"), ("two", "nftables")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.conf").write_text(f"{HEAD}mode: {text}\n")
    (tmp_path / "..data").symlink_to("one")
    path = tmp_path / "config.conf"
    path.symlink_to("..data/config.conf")
    with watching(path) as heard:
        (tmp_path / "..data_tmp").symlink_to("two")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")  # noqa: PTH105 - the link itself is replaced
        assert mode(heard) == "nftables"


def test_an_invalid_file_is_told_once_and_so_is_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(HEAD)
    with watching(path) as heard:
        path.write_text(f"{HEAD}mode: none\n")
        reason = heard.get(timeout=PATIENCE_S)
        assert isinstance(reason, str)
        assert "mode: 'none' is not allowed" in reason
        path.write_text(f"{HEAD}mode: none\n# the same reason in another text\n")
        path.write_text(HEAD)
        assert mode(heard) == ""
    assert heard.empty()


def test_a_change_before_the_watch_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(f"{HEAD}mode: nftables\n")
    with watching(path, Config()) as heard:
        assert mode(heard) == "nftables"


def test_a_file_that_is_written_piece_by_piece_is_believed_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(HEAD)
    with watching(path) as heard, path.open("w") as file:
        for piece in (HEAD, "mode: ", "nf", "tables", "\n"):
            file.write(piece)
            file.flush()
        file.close()
        assert mode(heard) == "nftables"
        assert heard.empty()


def test_the_same_text_again_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(HEAD)
    with watching(path) as heard:
        path.write_text(HEAD)
        path.write_text(f"{HEAD}mode: iptables\n")
        assert mode(heard) == "iptables"


def test_what_could_not_be_taken_over_is_told_again_until_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloads, "LOOK_S", 0.1)
    path = tmp_path / "config"
    path.write_text(f"{HEAD}mode: iptables\n")
    heard: Heard = queue.SimpleQueue()
    answers = iter([False, False, True])

    def changed(config: Config) -> bool:
        heard.put(config)
        return next(answers)

    watch = ConfigWatch(str(path), load_config(str(path)), changed, heard.put)
    watch.start()
    try:
        by_rename(path, f"{HEAD}mode: nftables\n")
        assert [mode(heard) for _ in range(3)] == ["nftables"] * 3
    finally:
        watch.stop()
