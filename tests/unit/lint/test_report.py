"""What becomes of findings: configuration and files, annotations that silence, order, nodes, and exit by severity."""

from __future__ import annotations

from pathlib import Path

import pytest

from kproxy.errors import ConfigError
from kproxy.lint.catalogue import BY_CODE, CHECKS
from kproxy.lint.finding import Place, Severity
from kproxy.wiring.lint import lint_asked
from kproxy.wiring.question import Asked
from tests.unit.lint.manifests import GOOD, HTTP, balancer, endpoint, endpoint_slice, found_in, node, noted, service

CONFIG = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
IGNORE = "kproxy.io/lint-ignore"
NODE_PORT = {"type": "NodePort", "ports": [{**HTTP, "nodePort": 30080}]}


def config(directory: Path, text: str) -> str:
    path = directory / "config.txt"
    path.write_text(CONFIG + text)
    return str(path)


def codes(*objects: object, directory: Path, **asked: object) -> list[str]:
    return [one.code for one in found_in(directory, *objects, **asked)]  # type: ignore[arg-type]


def test_a_file_that_is_no_manifest_is_found_with_its_line(tmp_path: Path) -> None:
    found = found_in(tmp_path, service(), "a: [1", GOOD)
    assert [one.code for one in found if one.severity is Severity.ERROR] == ["KPX002"]
    assert found[0].place is not None
    assert found[0].place.line > 1


def test_a_second_object_of_one_name_is_found(tmp_path: Path) -> None:
    (found,) = [one for one in found_in(tmp_path, service(), service(), GOOD) if one.code == "KPX001"]
    assert "counts; remove one of them" in found.reason


def test_a_configuration_is_judged_only_if_one_is_given(tmp_path: Path) -> None:
    text = config(tmp_path, "mode: iptables\nclusterCIDR: 10.64.0.0/16\n")
    found = found_in(tmp_path, service(), GOOD, config=text)
    (one,) = [one for one in found if one.code == "KPX070"]
    assert (str(one.object), one.field, one.place) == ("KubeProxyConfiguration", "nodePortAddresses", Place(text))
    assert "KPX070" not in codes(service(), GOOD, directory=tmp_path)


@pytest.mark.parametrize(("backend", "expected"), [("iptables", {"KPX072"}), ("nftables", set())])
def test_localhost_node_ports_are_told_where_they_are_served(tmp_path: Path, backend: str, expected: set[str]) -> None:
    found = codes(service(**NODE_PORT), GOOD, directory=tmp_path, backend=backend)
    assert set(found) & {"KPX072"} == expected


def test_without_a_node_port_nothing_is_said_of_localhost(tmp_path: Path) -> None:
    assert "KPX072" not in codes(service(), GOOD, directory=tmp_path, backend="iptables")


def test_what_a_backend_cannot_do_is_told(tmp_path: Path) -> None:
    text = config(
        tmp_path,
        "mode: ipvs\nclusterCIDR: 10.64.0.0/16\n---\n"
        "apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\nrejectUnlistedPorts: false\n",
    )
    found = [one for one in found_in(tmp_path, service(), GOOD, config=text) if one.code == "KPX071"]
    assert any("rejectUnlistedPorts" in one.value for one in found)


def test_what_a_backend_cannot_do_for_a_service_is_told_of_that_service(tmp_path: Path) -> None:
    found = found_in(tmp_path, service(**NODE_PORT, sessionAffinity="ClientIP"), GOOD, backend="ipvs")
    (one,) = [one for one in found if one.code == "KPX071" and one.object.kind == "Service"]
    assert str(one.object) == "Service shop/cart"
    assert "affinity" in one.reason


@pytest.mark.parametrize("ignored", ["KPX014", "KPX001, KPX014", "KPX014 KPX001", "all"])
def test_an_annotation_silences_a_check_on_its_object_only(tmp_path: Path, ignored: str) -> None:
    quiet = service("quiet", meta=noted(IGNORE, ignored), externalIPs=["198.51.100.1"])
    loud = service("loud", clusterIP="10.96.0.2", externalIPs=["198.51.100.2"])
    found = found_in(tmp_path, {**quiet, "metadata": {**quiet["metadata"], "name": "quiet"}}, loud)
    assert [str(one.object) for one in found if one.code == "KPX014"] == ["Service shop/loud"]


def test_a_services_annotation_silences_its_slices_too(tmp_path: Path) -> None:
    leading = endpoint_slice(endpoint("192.0.2.11"))
    plain = codes(service(selector=None), leading, node(), directory=tmp_path)
    assert "KPX039" in plain
    assert "KPX039" not in codes(
        service(selector=None, meta=noted(IGNORE, "KPX039")), leading, node(), directory=tmp_path
    )


def test_what_is_silenced_is_counted(tmp_path: Path) -> None:
    found_in(tmp_path, service(meta=noted(IGNORE, "all"), externalIPs=["198.51.100.1"]))
    report, _ = lint_asked(Asked(files=(str(tmp_path),)), live=False)
    assert (report.findings, report.ignored) == ((), 1)


def test_the_worst_comes_first_and_decides(tmp_path: Path) -> None:
    found_in(tmp_path, service(externalIPs=["198.51.100.1"], publishNotReadyAddresses=True))
    report, _ = lint_asked(Asked(files=(str(tmp_path),)), live=False)
    assert [one.severity for one in report.findings] == [Severity.WARNING, Severity.INFO]
    fails = [report.fails_on(severity) for severity in (Severity.ERROR, Severity.WARNING, Severity.INFO, None)]
    assert fails == [False, True, True, False]


def test_only_the_named_node_counts(tmp_path: Path) -> None:
    local = service(internalTrafficPolicy="Local")
    other = node("node-b", "192.0.2.12", pods="10.64.2.0/24")
    (every,) = [one for one in found_in(tmp_path, local, GOOD, node(), other) if one.code == "KPX050"]
    assert every.reason.endswith("1 of 2 nodes have no IPv4 endpoint and drop what goes to the ClusterIP: node-b")
    assert "KPX050" not in codes(local, GOOD, node(), other, directory=tmp_path, node_name="node-a")
    assert "KPX050" in codes(local, GOOD, node(), other, directory=tmp_path, node_name="node-b")


def test_an_unknown_node_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    found_in(tmp_path, service(), GOOD, node())
    _, (remark,) = lint_asked(Asked(files=(str(tmp_path),), node_name="node-c"), live=False)
    assert "no Node object is named node-c" in remark
    assert "node-a" in remark


def test_a_service_without_an_address_is_checked_as_if_it_had_one(tmp_path: Path) -> None:
    waiting = balancer(clusterIP=None, externalIPs=["192.0.2.11"], ports=[{"port": 80}])
    found = found_in(tmp_path, waiting, node())
    assert {"KPX003", "KPX014", "KPX017"} <= {one.code for one in found}
    assert not [one for one in found if "240.0.0" in f"{one.reason}{one.value}"]


def test_a_service_without_an_address_is_still_judged_field_by_field(tmp_path: Path) -> None:
    found = found_in(tmp_path, service(clusterIP=None, ports=[{"port": 99999}]))
    (one,) = [one for one in found if one.code == "KPX001"]
    assert (one.field, str(one.object)) == ("spec.ports[0].port", "Service shop/cart")
    assert one.place is not None
    assert one.place.line > 1


def test_old_endpoints_serve_like_slices(tmp_path: Path) -> None:
    old = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "cart", "namespace": "shop"},
        "subsets": [{"addresses": [{"ip": "10.64.1.10"}], "ports": [{"name": "http", "port": 8080}]}],
    }
    assert codes(service(), old, directory=tmp_path) == []


def test_a_path_that_is_not_there_is_an_error_of_its_own() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        lint_asked(Asked(files=("/no/such/file",)), live=False)


def test_codes_are_unique_and_every_check_says_why_and_what_to_do() -> None:
    assert len(BY_CODE) == len(CHECKS)
    assert all(check.title and check.why and check.remedy for check in CHECKS)
    assert all(check.code.startswith("KPX") and len(check.code) == 6 for check in CHECKS)
