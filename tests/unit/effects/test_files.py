"""Manifests from the command line's paths."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kproxy.core.model import Kind, Replaced, key_of
from kproxy.effects.files import read_manifests
from kproxy.effects.manifests import Manifests
from kproxy.errors import ConfigError

DATA = Path(__file__).parents[2] / "data" / "manifests"


def service(name: str, port: object = 80) -> str:
    spec = f"{{clusterIP: 10.96.0.10, ports: [{{port: {port}}}]}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"


def services(found: Manifests) -> list[str]:
    return [
        key_of(item).name
        for event in found.events
        if isinstance(event, Replaced) and event.kind is Kind.SERVICE
        for item in event.items
    ]


def test_a_directory_gives_what_its_files_say_in_the_order_of_their_names() -> None:
    found = read_manifests([DATA])
    assert services(found) == ["fine", "db", "cart"]
    assert [str(problem) for problem in found.problems] == [
        f"{DATA / 'broken.yaml'}:8: Service shop/bad-port: spec.ports[0].port: 70000 is not a number from 1 to 65535"
    ]


def test_only_visible_manifest_files_of_a_directory_itself_count(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", ".hidden.yaml", "a.yaml~", "notes.txt", "deeper.yaml/x.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(service(name.partition(".")[0] or "hidden"))
    (tmp_path / "c.json").symlink_to(DATA / "list.json")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    found = read_manifests([tmp_path])
    assert services(found) == ["a", "b"]
    assert found.problems == ()


def test_an_empty_directory_is_an_empty_cluster(tmp_path: Path) -> None:
    found = read_manifests([tmp_path])
    assert services(found) == []
    assert len(found.events) == len(Kind)


def test_files_directories_and_standard_input_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_text(service("b"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(service("a").encode())))
    assert services(read_manifests(["-", str(tmp_path / "plain"), DATA / "shop.yaml"])) == ["a", "b", "cart"]


def test_a_fault_in_standard_input_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a: [")))
    (problem,) = read_manifests(["-"]).problems
    assert str(problem).startswith("standard input:2: not YAML")


def test_a_named_pipe_can_be_given_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if os.fork() == 0:
        path.write_text(service("a"))
        os._exit(0)
    assert services(read_manifests([path])) == ["a"]
    os.wait()


def test_the_same_object_in_two_files_is_a_fault(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(service("cart"))
    found = read_manifests([tmp_path])
    assert services(found) == ["cart"]
    (problem,) = found.problems
    assert str(problem) == (
        f"{tmp_path}/b.yaml:1: Service shop/cart: is also in {tmp_path}/a.yaml:1, which counts; remove one of them"
    )


def test_a_path_that_does_not_exist_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent: No such file or directory; give a file, a directory or -"):
        read_manifests([tmp_path, tmp_path / "absent"])


def test_an_empty_path_is_seen_in_its_error() -> None:
    with pytest.raises(ConfigError, match=r"^'': No such file or directory; give a file"):
        read_manifests([""])


def test_a_name_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J\n.yaml").write_text("a: [")
    (problem,) = read_manifests([tmp_path]).problems
    assert str(problem).isprintable()


def test_a_file_that_cannot_be_opened_costs_only_itself(tmp_path: Path) -> None:
    shutil.copy(DATA / "shop.yaml", tmp_path / "shop.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    found = read_manifests([tmp_path])
    assert services(found) == ["cart"]
    (problem,) = found.problems
    assert str(problem) == f"{tmp_path}/loop.yaml: cannot be read: Too many levels of symbolic links"
