"""What the wiring makes of an instance: its backends, addresses, Services, and what it left."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from kproxy.cli.session import start
from kproxy.config import read_config
from kproxy.config.check import findings
from kproxy.config.listeners import healthz_listener, metrics_listener, without_address
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.values import Family
from kproxy.errors import ConfigError
from kproxy.wiring.backends import backend_names, backends_of, find_backend, finder
from kproxy.wiring.cleanup import all_remains
from kproxy.wiring.cluster import instance_of
from kproxy.wiring.predecessors import carriers, predecessors
from kproxy.wiring.question import Asked
from tests.fakes.namespace import in_new_namespace

EDGE = Instance("edge")
HEAD = "apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n"
PROXY = "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def test_a_backend_is_that_of_the_instance_or_refused() -> None:
    nftables = finder(EDGE)("nftables")
    assert nftables.render({Family.IPV4: {}}) == "table ip kproxy-edge {}\ndelete table ip kproxy-edge\n"
    assert find_backend("nftables", DEFAULT) is find_backend("nftables")
    with pytest.raises(ConfigError, match=r"'ipvs' cannot be that of instance edge.*use nftables or iptables"):
        find_backend("ipvs", EDGE)
    assert [one.name for one in backends_of(EDGE)] == ["nftables", "iptables"]
    assert tuple(one.name for one in backends_of(DEFAULT)) == backend_names()


def test_a_backend_of_somebody_else_without_instances_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "backends.ipvs:BACKEND", "kproxy.backends")
    monkeypatch.setattr("kproxy.wiring.backends._others", lambda: {"theirs": entry})
    with pytest.raises(ConfigError, match="backend 'theirs' cannot be that of instance edge"):
        find_backend("theirs", EDGE)
    assert [one.name for one in backends_of(EDGE)] == ["nftables", "iptables"]


def test_the_option_goes_before_the_configuration() -> None:
    config = read_config(f"{HEAD}instance: edge\n", "file")
    assert instance_of(Asked(), config) == EDGE
    assert instance_of(Asked(instance="other"), config) == Instance("other")
    assert config.as_instance(Instance("other")).instance == Instance("other")
    assert config.as_instance(DEFAULT).instance == EDGE
    with pytest.raises(ConfigError, match="--instance 'o ther': it must be a label value"):
        instance_of(Asked(instance="o ther"), config)
    with pytest.raises(ConfigError, match=r"file:3:11: instance: 'e dge' is not allowed"):
        read_config(f'{HEAD}instance: "e dge"\n', "file")


@pytest.mark.parametrize(
    ("own", "proxy", "healthz", "metrics", "missing"),
    [
        ("", "", "None", "None", ("healthzBindAddress", "metricsBindAddress")),
        ('healthzBindAddress: ""\nmetricsBindAddress: ""\n', "", "None", "None", ()),
        ("metricsBindAddress: 127.0.0.1:10259\n", "", "None", "127.0.0.1:10259", ("healthzBindAddress",)),
        ("", "healthzBindAddress: 0.0.0.0:10266\n", "0.0.0.0:10266", "None", ("metricsBindAddress",)),
    ],
)
def test_an_instance_listens_where_it_is_told_to(
    own: str, proxy: str, healthz: str, metrics: str, missing: tuple[str, ...]
) -> None:
    config = read_config(f"{HEAD}instance: edge\n{own}{PROXY}{proxy}", "file")
    assert (str(healthz_listener(config)), str(metrics_listener(config))) == (healthz, metrics)
    assert without_address(config) == missing
    told = [one.field for one in findings(config) if "instance edge" in one.text]
    assert told == list(missing)
    plain = read_config(f"{HEAD}{own}{PROXY}{proxy}", "file")
    assert without_address(plain) == ()


def test_an_instance_with_ipvs_is_told_before_it_runs() -> None:
    text = f"{HEAD}instance: edge\n{PROXY}mode: ipvs\n"
    assert [one.remedy for one in findings(read_config(text, "file")) if one.field == "mode"] == [
        "use nftables or iptables"
    ]


SERVICES = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "labels": {"service.kubernetes.io/service-proxy-name": name} if name != "plain" else {},
        },
        "spec": {"clusterIP": f"10.96.0.{number}", "ports": [{"port": 80}]},
    }
    for number, name in enumerate(("plain", "edge", "other"), start=1)
]


@pytest.mark.parametrize(("options", "seen"), [((), "plain"), (("--instance", "edge"), "edge")])
def test_a_command_sees_the_instances_services(
    options: tuple[str, ...], seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "services.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": SERVICES}))
    assert start(["services", "-f", str(path), "--node-name", "node-a", "-o", "json", *options]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [one["service"] for one in found] == [f"default/{seen}"]


def found(remains: Any) -> set[str]:
    return {line for one in remains for line in one.find()}


@pytest.mark.root
def test_what_an_instance_left_is_found_by_itself_alone() -> None:
    def body() -> None:
        for name in ("kproxy", "kproxy-edge"):
            subprocess.run(["nft", "add", "table", "ip", name], check=True)
        for prefix in ("KPROXY-", "KPEDGE-", "KPED-"):
            subprocess.run(["iptables-nft", "-t", "nat", "-N", f"{prefix}SERVICES"], check=True)
        for instance, own, others in ((DEFAULT, "kproxy", "KPEDGE"), (EDGE, "kproxy-edge", "KPROXY")):
            lines = found(all_remains(ours=True, kube_proxy=False, instance=instance))
            assert f"nft delete table ip {own}" in lines
            assert {line for line in lines if others in line or "KPED-" in line} == set()
            assert any(instance.chain_prefix in line for line in lines)
            assert found(predecessors("iptables", instance, (Family.IPV4,))) == {f"nft delete table ip {own}"}
            chains = found(predecessors("nftables", instance, (Family.IPV4,)))
            assert chains
            assert all(instance.chain_prefix in line for line in chains)
        assert not list(carriers("nftables", EDGE))

    in_new_namespace(body)
