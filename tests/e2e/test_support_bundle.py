"""`kproxy support-bundle`: without a cluster, without root, beside an agent, and never with a secret in it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.cli import support_bundle
from lab.agent import KPROXY, agent
from lab.machine import ROOT, Machine
from tests.fakes.program import AS_NOBODY, COMMAND, TIMEOUT_S, Ran, run_here, run_program
from tests.unit.report.test_bundle import unpacked

SECRET = "pl4nted"
"""Stands, in some form or other, in everything that a bundle is made from."""
SHOP = ROOT / "examples" / "shop"
CONFIG = """\
# password: pl4nted
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection:
  kubeconfig: {kubeconfig}
  token: pl4nted
clusterCIDR: 10.64.0.0/16
"""
KUBECONFIG: dict[str, Any] = {
    "clusters": [
        {"name": "c", "cluster": {"server": "https://me:pl4nted@127.0.0.1:1", "certificate-authority-data": "pl4nted"}}
    ],
    "users": [
        {"name": "pl4nted", "user": {"token": "pl4nted", "client-key-data": "pl4nted", "exec": {"command": "pl4nted"}}}
    ],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "pl4nted"}}],
    "current-context": "x",
}


@pytest.fixture
def planted(tmp_path: Path) -> list[str]:
    """Options that name a configuration, a kubeconfig and manifests, all of them with secrets."""
    kubeconfig, config, manifests = tmp_path / "kubeconfig", tmp_path / "config.yaml", tmp_path / "manifests"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    config.write_text(CONFIG.format(kubeconfig=kubeconfig))
    shutil.copytree(SHOP, manifests)
    with_annotations(manifests / "web.yaml")
    return ["-f", str(manifests), "--config", str(config), "--node-name", "node-a"]


def with_annotations(path: Path) -> None:
    """Put secrets into what users and kubectl write beside an object."""
    objects = [one for one in yaml.safe_load_all(path.read_text()) if one]
    for one in objects:
        one["metadata"]["annotations"] = {
            "kubectl.kubernetes.io/last-applied-configuration": '{"data":{"token":"pl4nted"}}',
            "kproxy.io/drain-timeout": "Bearer pl4ntedpl4nted",
            "corp.example/db": "pl4nted",
        }
        one["metadata"]["managedFields"] = [{"manager": "pl4nted"}]
    path.write_text(yaml.safe_dump_all(objects))


def bundle(path: Path, *options: str, env: dict[str, str] | None = None) -> tuple[Ran, dict[str, bytes]]:
    ran = run_program("support-bundle", "--output", str(path), *options, env=env)
    return ran, unpacked(path.read_bytes()) if path.exists() else {}


def states(files: dict[str, bytes]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in json.loads(files["MANIFEST.json"])["files"]}


def test_without_a_cluster_and_without_anything(tmp_path: Path) -> None:
    ran, files = bundle(tmp_path / "b.tar.gz", env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert ran.code == 0
    assert states(files)["plan.json"] == states(files)["kubeconfig.json"] == "missing"
    assert {"versions.json", "doctor.json", "config.json", "sysctls.txt", "findings.json"} <= files.keys()
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    assert "are missing, MANIFEST.json says why" in ran.err


def test_no_secret_is_in_it(planted: list[str]) -> None:
    done = subprocess.run([*COMMAND, "support-bundle", "--output", "-", *planted], capture_output=True, check=True)
    files = unpacked(done.stdout)
    assert states(files)["plan.json"] == states(files)["kubeconfig.json"] == "included"
    assert [name for name, data in files.items() if SECRET.encode() in data or SECRET in name] == []
    assert SECRET.encode() not in gzip.decompress(done.stdout) + done.stderr
    assert json.loads(files["plan.json"])["node"] == "node-a"
    assert "KPX" in files["lint.json"].decode()
    assert json.loads(files["config.json"])["documents"][0]["clusterCIDR"] == "10.64.0.0/16"
    assert json.loads(files["kubeconfig.json"])["credentialKinds"] == [["client-key-data", "exec", "token"]]
    assert files["rules/rendered.txt"].decode() == run_program("render", *planted).out


def test_no_secret_of_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mode: nonsense\npassword: pl4nted\ntoken: Bearer pl4ntedpl4nted\n")
    ran, files = bundle(tmp_path / "b.tar.gz", "--config", str(tmp_path / "config.yaml"))
    assert ran.code == 0
    assert states(files)["config.json"] == "missing"
    assert [name for name, data in files.items() if SECRET.encode() in data] == []


def test_where_it_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "support-bundle", "--output", str(tmp_path / "no" / "b.tgz"), "-f", str(SHOP))
    assert ran.code == 2
    assert "No such file or directory" in ran.err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("option", ["-f", "--source", "--config"])
def test_what_is_named_and_not_there_is_refused_at_once(capsys: pytest.CaptureFixture[str], option: str) -> None:
    ran = run_here(capsys, "support-bundle", "--output", "-", option, "/no/such")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("kproxy: /no/such: No such file or directory")


def test_nothing_is_gathered_for_a_place_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "support-bundle", "--output", "/proc/b.tgz", "-f", str(SHOP))
    assert ran.code == 2
    assert "--output /proc/b.tgz" in ran.err


def test_what_takes_long_says_what_it_is_doing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support_bundle, "QUIET_S", 0.0)
    begin = support_bundle.Begin()
    begin("plan.json")
    assert capsys.readouterr().err == ""
    begin.watch()
    begin("rules.txt")
    assert re.findall(r"gathering (\S+)", capsys.readouterr().err) == ["plan.json", "rules.txt"]


def test_what_is_done_at_once_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    begin = support_bundle.Begin()
    begin("plan.json")
    begin.over.set()
    begin.watch()
    assert capsys.readouterr().err == ""


@pytest.mark.root
def test_beside_an_agent_its_own_pages_are_in_it(tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    shutil.copytree(SHOP, manifests)
    with_annotations(manifests / "web.yaml")
    with Machine("helped") as machine:
        machine.ip(["link set lo up"])
        with agent(machine, manifests):
            path = tmp_path / "b.tar.gz"
            machine.run(KPROXY, "support-bundle", "--output", str(path), "--node-name", "node-a")
    files = unpacked(path.read_bytes())
    there = {name for name, state in states(files).items() if state == "included"}
    assert {"agent/status.json", "agent/plan.json", "agent/rules.txt", "rules/observed.txt", "conntrack.json"} <= there
    assert json.loads(files["agent/status.json"])["ready"]
    assert files["agent/rules.txt"] == files["rules/observed.txt"]
    assert [name for name, data in files.items() if SECRET.encode() in data] == []


@pytest.mark.root
def test_an_ordinary_user_gets_one_too() -> None:
    with Machine("ordinary") as machine:
        command = [*machine.command(AS_NOBODY), KPROXY, "support-bundle", "--output", "-", "-f", "-"]
        shop = b"\n---\n".join(one.read_bytes() for one in SHOP.iterdir())
        done = subprocess.run(command, input=shop, capture_output=True, check=True, timeout=TIMEOUT_S)
    found = states(unpacked(done.stdout))
    assert found["plan.json"] == found["doctor.json"] == "included"
    assert found["conntrack.json"] == "missing"
