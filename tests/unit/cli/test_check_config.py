from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.program import run_here, run_program

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.64.0.0/16\n"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("nodePortAddresses: [primary]\n", 0, ""),
        ("", 1, "nodePortAddresses: unset"),
        ("nodePortAddresses: [primary]\nclusterCidr: x\n", 1, "did you mean clusterCIDR?"),
        ("mode: userspace\n", 2, ""),
    ],
)
def test_exit_code_and_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, code: int, words: str
) -> None:
    path = tmp_path / "config"
    path.write_text(HEAD + text)
    ran = run_here(capsys, "check-config", str(path))
    assert ran.code == code
    assert words in ran.out
    assert bool(ran.out) is (code == 1)


def test_for_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(HEAD)
    ran = run_here(capsys, "check-config", str(path), "-o", "json")
    (finding,) = json.loads(ran.out)
    assert (finding["field"], bool(finding["remedy"])) == ("nodePortAddresses", True)


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), (b"\xff", "byte 0 is not UTF-8")])
def test_a_file_that_cannot_be_read_is_called_by_its_name_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_bytes(content)
    ran = run_here(capsys, "check-config", str(path))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"kproxy: {path}: {words}")


def test_standard_input_is_a_file_too() -> None:
    ran = run_program("check-config", "-", stdin=HEAD)
    assert ran.code == 1
    assert "standard input: nodePortAddresses: unset" in ran.out
