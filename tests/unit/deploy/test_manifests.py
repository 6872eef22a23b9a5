"""`deploy/base` is what Kubernetes takes by its own schema, fits together, and its configuration is understood."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from kproxy.config import read_config
from kproxy.core.host import LocalDetection
from tests.unit.deploy.schema import DEPLOY, ROOT, problems

BASE = DEPLOY / "base"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text())
FILES = [path.name for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"]


def load(name: str) -> Any:
    return yaml.safe_load((BASE / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_kubernetes_takes_it(name: str) -> None:
    assert problems(load(name)) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("spec", "template", "spec", "hostNetwrk"), True, "hostNetwrk"),
        (("spec", "template", "spec", "hostNetwork"), "yes", "'yes' is not of type"),
        (
            ("spec", "template", "spec", "containers", 0, "securityContext", "runAsUser"),
            "root",
            "'root' is not of type",
        ),
        (("spec", "template", "spec", "containers", 0, "name"), None, ""),
    ],
)
def test_the_check_finds_what_is_wrong(path: tuple[Any, ...], value: Any, complaint: str) -> None:
    document = load("daemonset.yaml")
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert any(complaint in problem for problem in problems(document))


def test_every_file_is_applied() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == FILES


def test_names_fit_together() -> None:
    daemonset, binding = load("daemonset.yaml"), load("clusterrolebinding.yaml")
    pod = daemonset["spec"]["template"]
    account, namespace = load("serviceaccount.yaml")["metadata"]["name"], KUSTOMIZATION["namespace"]
    assert daemonset["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["serviceAccountName"] == account
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    assert binding["roleRef"]["name"] == load("clusterrole.yaml")["metadata"]["name"]
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert container["image"] == KUSTOMIZATION["images"][0]["name"]
    (config,) = (volume["configMap"] for volume in pod["spec"]["volumes"] if "configMap" in volume)
    assert config["name"] == load("configmap.yaml")["metadata"]["name"]


def test_the_agent_has_two_capabilities_and_no_way_to_more() -> None:
    (container,) = load("daemonset.yaml")["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    assert "privileged" not in context


def test_the_role_only_reads_what_decides_rules_and_leaves_events() -> None:
    granted = {
        resource: set(rule["verbs"]) for rule in load("clusterrole.yaml")["rules"] for resource in rule["resources"]
    }
    reading = {"list", "watch"}
    assert granted == dict.fromkeys(("services", "nodes", "endpointslices", "servicecidrs"), reading) | {
        "events": {"create"}
    }


def test_the_configuration_is_understood_without_a_remark() -> None:
    config = read_config(load("configmap.yaml")["data"]["config.conf"], "config.conf")
    assert config.warnings == ()
    assert config.proxy.detect_local_mode == LocalDetection.NODE_CIDR.value
    egress = config.own.egress_masquerade
    assert egress.enabled
    # NodeCIDR tells nothing of pods elsewhere: without a list for each family, nothing would be masqueraded.
    assert {network.version for network in egress.non_masquerade_cidrs} == {4, 6}
    mounted = {"config.conf", "kubeconfig.conf"}
    assert load("configmap.yaml")["data"].keys() == mounted
    assert config.proxy.client_connection.kubeconfig.rpartition("/")[2] in mounted


def test_the_kubeconfig_names_a_server_and_reads_the_accounts_token() -> None:
    kubeconfig = yaml.safe_load(load("configmap.yaml")["data"]["kubeconfig.conf"])
    assert kubeconfig["clusters"][0]["cluster"]["server"].startswith("https://")
    assert kubeconfig["users"][0]["user"]["tokenFile"].startswith("/var/run/secrets/kubernetes.io/serviceaccount/")


def test_the_image_holds_what_is_there_and_no_compiler() -> None:
    text = (ROOT / "Dockerfile").read_text()
    build, _, final = text.rpartition("\nFROM ")
    copied = [word for line in build.splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert {"kproxy", "backends", "conntrack", "requirements-runtime.lock"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{path}" for path in copied} <= set(allowed)
    assert not any(word in final for word in ("gcc", "build-essential", "requirements-runtime.lock"))


def test_both_ways_to_the_image_give_it_the_same_start() -> None:
    docker, script = (ROOT / "Dockerfile").read_text(), (ROOT / "scripts" / "image").read_text()
    (env,) = (line.split()[1:] for line in docker.splitlines() if line.startswith("ENV "))
    assert 'ENTRYPOINT ["kproxy"]\nCMD ["run"]' in docker
    assert "--entrypoint '[\"kproxy\"]' --cmd run " in script
    for setting in env:
        assert f"--env {setting.split(':$')[0]}" in script
    (version,) = set(re.findall(r"library/python:([\d.]+)-", docker))
    assert f"python={version}\n" in script
    assert f"python={version} " in (ROOT / "scripts" / "kproxy-venv").read_text()
