"""`kproxy lint` as its users call it: outputs, exit codes, errors, and a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.fakes.apiserver import ApiServer
from tests.fakes.program import run_here
from tests.unit.lint.manifests import GOOD, Json, endpoint, endpoint_slice, node, service

WARNED = service(externalIPs=["198.51.100.1"])


def manifest(directory: Path, *objects: Json) -> str:
    path = directory / "shop.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def test_what_is_found_goes_to_standard_output_and_its_sum_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run_here(capsys, "lint", "-f", manifest(tmp_path, WARNED, GOOD))
    assert code == 1
    assert "warning KPX014: Service shop/cart: spec.externalIPs\n" in out
    assert err == "kproxy: 0 errors, 1 warning, 0 notes\n"


def test_without_findings_nothing_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run_here(capsys, "lint", "-f", manifest(tmp_path, service(), GOOD))
    assert (code, out, err) == (0, "", "kproxy: 0 errors, 0 warnings, 0 notes\n")


@pytest.mark.parametrize(("fail_on", "expected"), [("error", 0), ("warning", 1), ("info", 1), ("never", 0)])
def test_the_exit_code_is_as_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, fail_on: str, expected: int
) -> None:
    assert run_here(capsys, "lint", "-f", manifest(tmp_path, WARNED), "--fail-on", fail_on).code == expected


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_programs_get_the_same_in_two_forms(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    out = run_here(capsys, "lint", "-f", manifest(tmp_path, WARNED, GOOD), "-o", form).out
    (found,) = (json.loads(out) if form == "json" else yaml.safe_load(out))["findings"]
    assert (found["code"], found["field"]) == ("KPX014", "spec.externalIPs")


def test_sarif_is_printed_even_if_nothing_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run_here(capsys, "lint", "-f", manifest(tmp_path, service(), GOOD), "-o", "sarif")
    assert (code, err) == (0, "")
    assert json.loads(out)["runs"][0]["results"] == []


def test_a_directory_is_read_with_its_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    manifest(tmp_path, service(), GOOD)
    config = tmp_path / "config.txt"
    config.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n")
    code, out, _ = run_here(capsys, "lint", "--source", str(tmp_path), "--config", str(config))
    assert code == 1
    assert f"{config}: warning KPX070: KubeProxyConfiguration: nodePortAddresses" in out


def test_a_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_here(capsys, "lint", "--explain", "kpx010")
    assert (code, out.splitlines()[0]) == (0, "KPX010 (error): source ranges of one family for addresses of both")
    assert max(map(len, out.splitlines())) <= 80


def test_every_code_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_here(capsys, "lint", "--explain", "all").out
    assert out.count("Remedy: ") == len([line for line in out.splitlines() if line.startswith("KPX")])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--explain", "KPX0100"), "did you mean KPX010?"),
        ((), "name manifests with -f FILE_OR_DIR or --source DIR, or read the cluster with --live"),
        (("--live", "-f", "x.yaml"), "take one of them, not both"),
        (("-f", "/dev/null", "--source", "/dev"), "-f and --source both say where Services come from: take one"),
        (("-f", "/no/such.yaml"), "/no/such.yaml: No such file or directory"),
        (("-f", "/dev/null", "--backend", "nftable"), "did you mean nftables?"),
        (("--live", "--kubeconfig", "/no/such"), "kubeconfig /no/such: there is no such file"),
    ],
)
def test_a_wrong_question_is_an_error_of_its_own(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = run_here(capsys, "lint", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def live(
    capsys: pytest.CaptureFixture[str], directory: Path, server: ApiServer, *arguments: str
) -> tuple[int, str, str]:
    path = directory / "kubeconfig"
    path.write_text(json.dumps(server.kubeconfig()))
    return run_here(capsys, "lint", "--live", "--kubeconfig", str(path), *arguments)


def test_a_cluster_is_read_page_by_page_and_every_node_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with ApiServer() as server:
        crowd = [
            service(f"svc-{number}", clusterIP=f"10.96.{number // 250}.{number % 250 + 1}") for number in range(501)
        ]
        supply = [endpoint_slice(endpoint("10.64.1.10"), of=one["metadata"]["name"]) for one in crowd]
        crowd[-1]["spec"]["internalTrafficPolicy"] = "Local"
        server.put(*crowd, *supply, node(), node("node-b", "192.0.2.12", pods="10.64.2.0/24"))
        code, out, err = live(capsys, tmp_path, server)
        pages = [request for request in server.requests if request.path.startswith("/api/v1/services")]
    assert len(pages) > 1
    assert (code, err) == (1, "kproxy: 0 errors, 1 warning, 0 notes\n")
    assert out.startswith("warning KPX050: Service shop/svc-500: spec.internalTrafficPolicy\n")


def test_a_cluster_that_refuses_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with ApiServer(tokens=["secret"]) as server:
        code, out, err = live(capsys, tmp_path, server)
    assert (code, out) == (4, "")
    assert "403 Forbidden" in err


def test_on_a_terminal_reasons_and_remedies_are_folded_to_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.cli.lint.width", lambda: 40)
    out = run_here(capsys, "lint", "-f", manifest(tmp_path, WARNED, GOOD)).out
    (first, *rest) = out.splitlines()
    assert first.endswith("warning KPX014: Service shop/cart: spec.externalIPs")
    assert max(map(len, rest)) <= 40
    assert rest[-1].startswith("      ")
