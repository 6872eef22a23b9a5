"""The lock files pass the audit, and the audit finds what it is for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dependencies import locks
from tests.dependencies.locks import Pin, all_pins, is_allowed, known, pins, problems, told, written

LICENCES = {"allowed": ["MIT", "Apache-2.0"], "packages": {"good": "MIT", "bad": "GPL-3.0-only", "two": "GPL OR MIT"}}
ADVISORIES = [{"package": "good", "id": "CVE-1", "fixed_in": "1.10"}, {"package": "two", "id": "CVE-2", "fixed_in": ""}]


def test_every_locked_package_is_hashed_licensed_and_not_known_as_vulnerable() -> None:
    licences, snapshot = known()
    assert list(problems(all_pins(), licences, snapshot["advisories"])) == []


def test_every_licence_that_is_named_is_of_a_package_that_is_locked() -> None:
    assert known()[0]["packages"].keys() == {pin.name for pin in all_pins()}


@pytest.mark.parametrize(
    ("pin", "complaints"),
    [
        (Pin("a.lock", "good", "1.10", 1), []),
        (Pin("a.lock", "good", "1.9", 1), ["has CVE-1: scripts/lock --upgrade (fixed in 1.10)"]),
        (Pin("a.lock", "good", "1.10", 0), ["has no hash: run scripts/lock"]),
        (Pin("a.lock", "bad", "1", 1), ["has the licence GPL-3.0-only, which is not among"]),
        (Pin("a.lock", "new", "1", 1), ["is not in licences.json"]),
        (Pin("a.lock", "two", "99", 1), ["has CVE-2: there is no fix yet"]),
    ],
)
def test_what_is_wrong_is_named(pin: Pin, complaints: list[str]) -> None:
    found = list(problems([pin], LICENCES, ADVISORIES))
    assert len(found) == len(complaints)
    for one, complaint in zip(found, complaints, strict=True):
        assert one.startswith(f"a.lock: {pin.name} {pin.version} ")
        assert complaint in one


def test_a_lock_file_is_read_whole_or_not_at_all() -> None:
    text = (
        f"# by uv\nA_b.c==1.0 ; x == 'y' \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n    # via\n"
    )
    assert pins("x.lock", text) == [Pin("x.lock", "a-b-c", "1.0", 2)]
    with pytest.raises(ValueError, match="is no pinned version"):
        pins("x.lock", "requests>=2\n")


def test_licences_are_combined() -> None:
    allowed = frozenset({"MIT", "ISC"})
    cases = {"MIT": True, "GPL": False, "MIT AND GPL": False, "GPL OR MIT": True, "MIT AND ISC": True}
    assert {text: is_allowed(text, allowed) for text in cases} == cases


def test_what_pip_audit_says_becomes_a_snapshot() -> None:
    weakness = {"id": "PYSEC-1", "fix_versions": ["1.2", "1.10"]}
    report: dict[str, Any] = {"dependencies": [{"name": "A_b", "version": "1", "vulns": [weakness]}]}
    assert list(told(report)) == [{"package": "a-b", "id": "PYSEC-1", "fixed_in": "1.10"}]
    assert json.loads(written("2026-01-01", "me", list(told(report))))["advisories"] == list(told(report))
    with pytest.raises(ValueError, match="nothing is known about a-b"):
        list(told({"dependencies": [{"name": "a-b", "skip_reason": "not found"}]}))


def test_without_pip_audit_the_snapshot_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = locks.ADVISORIES.read_text()
    monkeypatch.setenv("PATH", "/nowhere")
    assert locks.main(["--refresh"]) == 3
    assert "the snapshot stays as it was" in capsys.readouterr().err
    assert locks.ADVISORIES.read_text() == before
