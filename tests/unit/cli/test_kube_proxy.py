from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kproxy.cli.kube_proxy import KubeProxyCommand, kube_proxy_flags, rewritten
from kproxy.cli.options import CONFIG, asked
from kproxy.cli.session import Session
from kproxy.cli.verbosity import verbose
from kproxy.config import read_config
from kproxy.wiring.question import Asked
from tests.fakes.program import run_here


def given(*arguments: str) -> tuple[Asked, int]:
    """What a command with kube-proxy's flags makes of arguments, and how talkative it is to be."""
    heard: list[Asked] = []

    @click.command(cls=KubeProxyCommand)
    @asked(CONFIG)
    @kube_proxy_flags
    @verbose
    def command(question: Asked, **_more: Any) -> None:
        heard.append(question)

    session = Session()
    done = CliRunner().invoke(command, list(arguments), obj=session)
    assert done.exit_code == 0, done.output
    return heard[0], session.verbosity


def test_a_daemon_sets_arguments_are_taken_as_they_stand() -> None:
    question, _ = given("--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node-a", "--v=2")
    assert question.config == "/var/lib/kube-proxy/config.conf"
    assert question.flags == {"hostname-override": "node-a", "v": "2"}


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--masquerade-all"], {"masquerade-all": "true"}),
        (["--masquerade-all=false"], {"masquerade-all": "false"}),
        (["--masquerade-all", "--proxy-mode", "ipvs"], {"masquerade-all": "true", "proxy-mode": "ipvs"}),
        (["--healthz-bind-address="], {"healthz-bind-address": ""}),
        ([], {}),
    ],
)
def test_what_was_given_is_told_and_nothing_else(arguments: list[str], flags: dict[str, str]) -> None:
    assert given(*arguments)[0].flags == flags


def test_the_master_is_no_part_of_the_configuration() -> None:
    question, _ = given("--master=https://192.0.2.1:6443")
    assert (question.master, question.flags) == ("https://192.0.2.1:6443", {})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-v=2"], ["--v=2"]),
        (["-v2"], ["--v=2"]),
        (["-v", "4", "--once"], ["--v=4", "--once"]),
        (["-v", "--once"], ["-v", "--once"]),
        (["-vv"], ["-vv"]),
        (["--config", "2"], ["--config", "2"]),
    ],
)
def test_verbosity_may_have_a_number(arguments: list[str], expected: list[str]) -> None:
    assert rewritten(arguments) == expected


def test_a_bare_v_is_ours() -> None:
    question, verbosity = given("-v", "-v")
    assert (question.flags, verbosity) == ({}, 2)


def test_the_configuration_may_be_written_instead(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "config"
    ran = run_here(capsys, "run", "--proxy-mode=nftables", "--metrics-port=0", f"--write-config-to={target}")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    config = read_config(target.read_text(), "written")
    assert (config.proxy.mode, config.own.metrics_bind_address) == ("nftables", "")
    assert run_here(capsys, "run", f"--write-config-to={tmp_path / 'no' / 'where'}").code == 2


def test_cleanup_is_the_command_of_that_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def nothing(*, kube_proxy: bool, **_more: Any) -> list[object]:
        asked.append(kube_proxy)
        return []

    monkeypatch.setattr("kproxy.cli.cleanup.all_remains", nothing)
    ran = run_here(capsys, "run", "--cleanup")
    assert (ran.code, asked) == (0, [True])
    assert "nothing is left to remove" in ran.err
