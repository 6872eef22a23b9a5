"""`kproxy version` and `kproxy completion`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.fakes.program import run_here, run_program

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
"""


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


@pytest.mark.parametrize(
    ("wrong", "right"), [(("service",), "services"), (("cleanpu", "--plan"), "cleanup"), (("conntrack", "lst"), "list")]
)
def test_an_unknown_command_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...], right: str
) -> None:
    ran = run_here(capsys, *wrong)
    assert (ran.code, ran.out) == (2, "")
    assert f"No such command '{wrong[-1 if right == 'list' else 0]}'; did you mean {right}?" in ran.err


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "0"])
def test_an_interval_that_never_ends_or_begins_is_refused(capsys: pytest.CaptureFixture[str], number: str) -> None:
    ran = run_here(capsys, "conntrack", "top", f"--interval={number}", "--count", "1")
    assert (ran.code, ran.out) == (2, "")
    assert "--interval" in ran.err


@pytest.mark.parametrize("command", ["render", "explain", "services", "plan", "lint"])
def test_every_backend_is_in_the_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "nftables, iptables or ipvs" in " ".join(run_here(capsys, command, "--help").out.split())


def test_a_file_that_is_named_twice_is_read_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SERVICE)
    once = run_here(capsys, "services", "-f", str(file), "--node-name", "n")
    other = tmp_path / "." / "b.yaml"
    other.symlink_to(file)
    twice = run_here(capsys, "services", "-f", str(file), str(file), "-f", str(other), "--node-name", "n")
    assert twice == once
    assert "shop" in once.out


def test_two_sources_are_one_too_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ran = run_here(capsys, "services", "-f", "/dev/null", "--source", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert "take one of them" in ran.err
