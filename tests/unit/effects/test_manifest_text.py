"""Text to documents: every form of YAML and JSON that people write, and every way to get it wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kproxy.effects import manifest_text
from kproxy.effects.manifest_text import Problem, read_text
from kproxy.errors import ConfigError, ParseError


def documents(content: str | bytes) -> list[Any]:
    text = read_text("f", content.encode() if isinstance(content, str) else content)
    assert text.problems == ()
    return [json.loads(document.raw) for document in text.documents]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", []),
        ("# only a comment\n---\n~\n---\n", []),
        ("a: 1\n---\nb: [x, null, true, 1.5]\n", [{"a": 1}, {"b": ["x", None, True, 1.5]}]),
        ('{"a": {"b": [1]}}', [{"a": {"b": [1]}}]),
        ('\n {"a": 1}\n', [{"a": 1}]),
        ("{a: 1}", [{"a": 1}]),
        (b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", [{"a": 1, "b": 2}]),
        (b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
        ("at: 2026-11-22T11:26:24Z\nday: 2026-11-22\n", [{"at": "2026-11-22T11:26:24Z", "day": "2026-11-22"}]),
        ("ip: 2001:10:20:30:40:50:1:2\nmac: 10:20\n", [{"ip": "2001:10:20:30:40:50:1:2", "mac": "10:20"}]),
        ("1: a\ntrue: b\n", [{"1": "a", "true": "b"}]),
        ("ip: None\nn: null\n", [{"ip": "None", "n": None}]),
        ("a: &x {k: v}\nb: *x\n", [{"a": {"k": "v"}, "b": {"k": "v"}}]),
        ("a: &x {k: v, l: 1}\nb: {<<: *x, k: w}\n", [{"a": {"k": "v", "l": 1}, "b": {"k": "w", "l": 1}}]),
        ("<<: [{k: 1}, {k: 2, l: 3}]\n", [{"k": 1, "l": 3}]),
    ],
)
def test_documents(content: str | bytes, expected: list[Any]) -> None:
    assert documents(content) == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: \xff\n", "f:2: byte 0xff is not UTF-8 text"),
        ("a: [1\nb: 2\n", "f:2: not YAML"),
        ('{"a": 1\n"b": 2}', "f:2: not YAML"),
        ("a: *nobody\n", "f:1: *nobody names no anchor"),
        ("a: 1\n\x01\n", "f: not YAML"),
        ("[" * 5000, "f:1: nested deeper"),
        ('{"a":' * 5000, "f:1: nested deeper"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(content: str | bytes, said: str) -> None:
    text = read_text("f", content.encode() if isinstance(content, str) else content)
    assert text.documents == ()
    (problem,) = text.problems
    assert str(problem).startswith(said)
    assert isinstance(problem.error, ConfigError)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("a: 1\na: 2\n", "f:4: field 'a' stands here a second time"),
        ("? [x]\n: 1\n", "f:3: a field's name must be text"),
        ("<<: 1\n", "f:3: << takes a mapping"),
    ],
)
def test_a_document_that_cannot_be_read_costs_only_itself(second: str, said: str) -> None:
    text = read_text("f", f"a: 1\n---\n{second}---\nb: 2\n".encode())
    assert [document.raw for document in text.documents] == [b'{"a":1}', b'{"b":2}']
    (problem,) = text.problems
    assert str(problem).startswith(said)


def test_aliases_do_not_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (problem,) = read_text("f", "\n".join(lines).encode()).problems
    assert str(problem) == "f:1: its aliases make more than 1,000,000 values of this document"


def test_a_file_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_text, "MAX_BYTES", 10)
    (problem,) = read_text("f", b"a: 12345678").problems
    assert str(problem) == "f: 11 bytes are more than the 10 that are read"


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("", 1),
        ("spec", 2),
        ("spec.ports", 3),
        ("spec.ports[1]", 5),
        ("spec.ports[1].port", 6),
        ("spec.ports[1].name", 5),
        ("spec.ports[7].port", 3),
        ("spec.absent.deeper", 2),
        ("metadata.labels[kubernetes.io/service-name]", 1),
    ],
)
def test_a_field_knows_its_line(field: str, line: int) -> None:
    yaml = "kind: Service\nspec:\n  ports:\n    - port: 1\n    - name: x\n      port: 2\n"
    (document,) = read_text("f", yaml.encode()).documents
    assert document.line(field) == document.line_if_known(field) == line


def test_json_knows_its_lines_when_asked() -> None:
    (document,) = read_text("f", b'{"a": 1,\n\t"b": [1,\n2]}').documents
    assert document.line_if_known("b[1]") == 0
    assert document.line("b[1]") == 3
    assert document.line("") == 1


def test_json_that_is_not_yaml_has_no_lines() -> None:
    (document,) = read_text("f", b'{"a": "\\ud83d\\ude00"}').documents
    assert json.loads(document.raw) == {"a": "\U0001f600"}
    assert document.line("a") == 0


@pytest.mark.parametrize(
    ("problem", "text", "kind"),
    [
        (Problem("f", 3, "", "", "r"), "f:3: r", ConfigError),
        (Problem("f", 0, "", "", "r"), "f: r", ConfigError),
        (Problem("f", 3, "Service a/b", "spec", "r"), "f:3: Service a/b: spec: r", ParseError),
        (Problem("f", 3, "Service a/b", "", "r"), "f:3: Service a/b: r", ParseError),
    ],
)
def test_a_problem_reads_the_same_as_text_and_as_an_error(problem: Problem, text: str, kind: type[Exception]) -> None:
    assert str(problem) == str(problem.error) == text
    assert isinstance(problem.error, kind)
