"""`kproxy doctor` on machines of the laboratory: as they are made, with a rival, and for an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.agent import KPROXY
from lab.machine import Machine
from tests.fakes.program import AS_NOBODY, run_program

KUBE_RULES = """\
*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
COMMIT
"""
LISTEN = (
    "import socket,sys; s = socket.create_server(('127.0.0.1', 10249)); print('ready', flush=True); sys.stdin.read()"
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine("patient") as started:
        started.ip(["link set lo up"])
        started.sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
        yield started


def examined(machine: Machine, *options: str) -> dict[str, dict[str, Any]]:
    """The checks by name."""
    script = '"$@"; [ $? -le 1 ]'
    printed = machine.run("bash", "-c", script, "-", KPROXY, "doctor", "-o", "json", *options)
    return {one["check"]: one for one in json.loads(printed)["checks"]}


@pytest.mark.root
def test_a_machine_that_can(machine: Machine) -> None:
    checks = examined(machine)
    assert [one for one in checks.values() if one["status"] == "failure"] == []
    assert checks["backend/nftables/IPv4"]["status"] == checks["backend/iptables/IPv6"]["status"] == "ok"


@pytest.mark.root
def test_looking_changes_nothing(machine: Machine) -> None:
    before = machine.run("nft", "list", "ruleset"), machine.run("ip", "-o", "link")
    examined(machine)
    assert (machine.run("nft", "list", "ruleset"), machine.run("ip", "-o", "link")) == before


@contextlib.contextmanager
def waiting(machine: Machine, *command: str) -> Iterator[None]:
    """A program that has said its first line, and runs until the end of the block."""
    with subprocess.Popen(machine.command(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


@pytest.mark.root
def test_a_rival_is_named_with_what_it_left(machine: Machine, tmp_path: Path) -> None:
    machine.run("iptables-restore", "--noflush", stdin=KUBE_RULES)
    machine.ip(["link add kube-ipvs0 type veth"])
    program = tmp_path / "kube-proxy"
    program.write_text("#!/bin/sh\necho ready\nread -r _\n")
    program.chmod(0o755)
    with waiting(machine, str(program)):
        checks = examined(machine)
    assert checks["conflict/process/kube-proxy"]["status"] == "warning"
    assert "KUBE-SERVICES" in checks["conflict/rules/kube-proxy"]["found"]
    assert "kube-ipvs0" in checks["conflict/link"]["found"]


@pytest.mark.root
def test_a_port_that_is_taken_fails(machine: Machine) -> None:
    with waiting(machine, sys.executable, "-c", LISTEN):
        checks = examined(machine)
    assert checks["port/metrics"]["status"] == "failure"
    assert checks["port/healthz"]["status"] == "ok"


@pytest.mark.root
def test_an_ordinary_user_hears_what_was_not_looked_at(machine: Machine) -> None:
    printed = machine.run(*AS_NOBODY, KPROXY, "doctor")
    assert "run it as root to have everything looked at" in printed
    assert "Traceback" not in printed


def test_the_exit_code_and_the_forms(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mode: nonsense\n")
    options = ("doctor", "--config", str(tmp_path / "config.yaml"), "--node-name", "node-a")
    ran = run_program(*options, env={**os.environ, "COLUMNS": "80"})
    assert ran.code == 1
    assert "config.yaml" in ran.out
    assert "failure" in ran.err
