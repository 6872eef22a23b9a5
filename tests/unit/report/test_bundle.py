"""A support bundle: what is in it, what is missing, how large it may be, and that it can be unpacked."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import PurePosixPath

import pytest

from kproxy.report import bundle
from kproxy.report.bundle import Part, archive, packed


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of an archive, by name below its one directory."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {
            str(PurePosixPath(*PurePosixPath(one.name).parts[1:])): (tar.extractfile(one) or io.BytesIO()).read()
            for one in tar.getmembers()
        }


def test_parts_come_out_as_they_went_in() -> None:
    parts = packed([Part("a.txt", "text\n"), Part("b/c.json", {"x": [1, "y"]}), Part("d.txt", missing="no root")])
    files = unpacked(archive(parts, {"node": "n"}, "dir", 1_700_000_000))
    assert files["a.txt"] == b"text\n"
    assert json.loads(files["b/c.json"]) == {"x": [1, "y"]}
    assert "d.txt" not in files
    listed = json.loads(files["MANIFEST.json"])
    assert listed["node"] == "n"
    assert {one["name"]: one["state"] for one in listed["files"]} == {
        "a.txt": "included",
        "b/c.json": "included",
        "d.txt": "missing",
    }
    assert listed["files"][2]["reason"] == "no root"


def test_reasons_have_no_secrets_either() -> None:
    (one,) = packed([Part("a", missing="cannot log in with password: planted")])
    assert "planted" not in one.reason


def test_no_part_and_not_the_whole_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_PART_BYTES", 10)
    monkeypatch.setattr(bundle, "MAX_BYTES", 25)
    parts = packed([Part(str(number), "x" * 11) for number in range(4)])
    assert [len(one.data) for one in parts] == [10, 10, 5, 0]
    assert {one.state for one in parts} == {"shortened"}
    assert parts[0].reason == "only the first 10 of 11 bytes"


def test_the_same_parts_give_the_same_bytes() -> None:
    parts = packed([Part("a.txt", "text\n")])
    assert archive(parts, {}, "dir", 1_700_000_000) == archive(parts, {}, "dir", 1_700_000_000)


def test_what_is_no_text_at_all_is_packed_all_the_same() -> None:
    (one,) = packed([Part("a.txt", "\udcff\n")])
    assert one.data == b"?\n"
