"""`kproxy version` and `kproxy completion`."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import yaml

from tests.fakes.program import run_here, run_program


def test_version_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "version").out.startswith("kproxy ")
    facts = json.loads(run_here(capsys, "version", "-o", "json").out)
    assert facts.keys() == {"kproxy", "python", "kernel"}
    assert yaml.safe_load(run_here(capsys, "version", "-o", "yaml").out) == facts


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    code, out, err = run_here(capsys, "completion", shell)
    assert (code, err) == (0, "")
    assert "_KPROXY_COMPLETE" in out


def test_the_bash_script_is_bash(capsys: pytest.CaptureFixture[str]) -> None:
    script = run_here(capsys, "completion", "bash").out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_completion_completes_commands_and_options() -> None:
    def complete(words: str, position: int) -> str:
        words_here = {"_KPROXY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        return run_program(env={**os.environ, **words_here}).out

    assert complete("kproxy expl", 1) == "plain,explain\n"
    assert complete("kproxy explain --fl", 2) == "plain,--flow\n"
    assert complete("kproxy render --family ipv", 3) == "plain,ipv4\nplain,ipv6\n"
    assert complete("kproxy render --backend ipt", 3) == "plain,iptables\n"


@pytest.mark.parametrize(
    ("words", "kind"), [("-f", "file"), ("-f a", "file"), ("--config", "file"), ("--source", "dir")]
)
def test_completion_leaves_names_of_files_to_the_shell(words: str, kind: str) -> None:
    line = f"kproxy services {words} ma"
    asked = {"_KPROXY_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    assert run_program(env={**os.environ, **asked}).out == f"{kind},ma\n"


def test_an_option_for_those_who_expect_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--version") == run_here(capsys, "version")
