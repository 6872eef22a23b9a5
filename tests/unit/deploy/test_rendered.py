"""What kustomize and helm make of `deploy/` is what Kubernetes takes, and says what its overlay or value promises."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.cli.audit import audit
from kproxy.config import Config, read_config
from kproxy.config.listeners import healthz_listener, metrics_listener
from tests.unit.deploy.schema import DEPLOY, ROOT, problems

TOOLS = ROOT / ".venv" / "deploy-tools"
CHART = DEPLOY / "helm" / "kproxy"
API_SERVER = "https://192.0.2.1:6443"
BACKENDS = ("nftables", "iptables", "ipvs")
MONITORING = {
    "metrics": {
        "bindAddress": "[::]:10249",
        "annotations": True,
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    }
}
EVERYTHING = MONITORING | {
    "image": {"repository": "registry.example/kproxy", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "backend": "ipvs",
    "config": {"mode": "iptables", "clusterCIDR": "10.64.0.0/16", "detectLocalMode": "ClusterCIDR"},
    "ownConfig": {"drainTimeout": "5s"},
    "extraArgs": ["--log-format=json"],
    "resources": {"requests": {"cpu": 1, "memory": "192Mi"}, "limits": {"memory": "1Gi"}},
    "affinity": {"nodeAffinity": {}},
    "seccompProfile": {"type": "Localhost", "localhostProfile": "kproxy.json"},
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/c": "d"},
}

Documents = dict[str, dict[str, Any]]


def output(*command: str | Path, stdin: str | None = None) -> str:
    program = TOOLS / str(command[0])
    if not program.exists():
        pytest.skip(f"{program.relative_to(ROOT)} is missing: scripts/deploy-tools fetches it")
    done = subprocess.run(
        [program, *command[1:]], input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


def by_kind(text: str) -> Documents:
    documents = [document for document in yaml.safe_load_all(text) if document]
    kinds = [document["kind"] for document in documents]
    assert [problems(document) for document in documents] == [[] for _ in documents]
    return {f"{kind} {one['metadata']['name']}": one for kind, one in zip(kinds, documents, strict=True)}


def kustomize(path: Path) -> Documents:
    return by_kind(output("kubectl", "kustomize", path))


def helm(**values: Any) -> Documents:
    return by_kind(
        output(
            "helm", "template", "kproxy", CHART, "--namespace=kube-system", "--values=-",
            stdin=json.dumps({"apiServer": API_SERVER} | values),
        )
    )  # fmt: skip


def refusal(**values: Any) -> str:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        helm(**values)
    return str(caught.value.stderr)


def pod_of(documents: Documents) -> Any:
    return documents["DaemonSet kproxy"]["spec"]["template"]


def config_of(documents: Documents) -> Config:
    config = read_config(documents["ConfigMap kproxy"]["data"]["config.conf"], "config.conf")
    assert config.warnings == ()
    return config


def metrics_address(documents: Documents) -> str:
    return str(metrics_listener(config_of(documents)))


def commands(pod: Any) -> list[list[str]]:
    return [one["command"] for one in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overlay_names_its_backend_to_both_containers_and_changes_nothing_else(backend: str) -> None:
    plain, overlay = kustomize(DEPLOY), kustomize(DEPLOY / "overlays" / backend)
    assert commands(pod_of(overlay)) == [[*command, f"--backend={backend}"] for command in commands(pod_of(plain))]
    for document in plain, overlay:
        for container in (*pod_of(document)["spec"]["initContainers"], *pod_of(document)["spec"]["containers"]):
            del container["command"]
    assert plain == overlay


def test_every_overlay_is_tried_here() -> None:
    assert {path.name for path in (DEPLOY / "overlays").iterdir()} == {*BACKENDS, "audit", "instance"}


def test_the_instance_overlay_is_an_agent_beside_the_first() -> None:
    """It has nothing of the first one's but what that one keeps: account, rights, and the way to the API server."""
    documents, plain = kustomize(DEPLOY / "overlays" / "instance"), kustomize(DEPLOY)
    assert documents.keys() == {"DaemonSet kproxy-edge", "ConfigMap kproxy-edge"}
    whole, first = documents["DaemonSet kproxy-edge"]["spec"], plain["DaemonSet kproxy"]["spec"]
    assert whole["selector"]["matchLabels"] == whole["template"]["metadata"]["labels"] == {"k8s-app": "kproxy-edge"}
    assert whole["selector"] != first["selector"]
    assert commands(whole["template"]) == commands(first["template"])
    (container,) = whole["template"]["spec"]["containers"]
    (volume,) = (one["projected"]["sources"] for one in whole["template"]["spec"]["volumes"] if one["name"] == "config")
    files = {
        key: documents.get(f"ConfigMap {name}", plain["ConfigMap kproxy"])["data"][key]
        for source in volume
        for name in (source["configMap"]["name"],)
        for key in [one["key"] for one in source["configMap"].get("items", [])] or ["config.conf"]
    }
    config, others = (read_config(text, "it") for text in (files["config.conf"], first_config(plain)))
    assert (config.instance.name, config.warnings) == ("edge", ())
    assert files.keys() == {"config.conf", "kubeconfig.conf"}
    health = healthz_listener(config)
    assert health is not None
    assert [port["containerPort"] for port in container["ports"]] == [health.port]
    places = {one for it in (config, others) for one in (healthz_listener(it), metrics_listener(it))}
    assert len({place.port for place in places if place}) == len(places) == 4
    assert config.proxy.detect_local_mode == others.proxy.detect_local_mode


def first_config(plain: Documents) -> str:
    text: str = plain["ConfigMap kproxy"]["data"]["config.conf"]
    return text


def test_the_audit_overlay_only_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs beside kube-proxy, with its configuration, under another name, and its probe is a command that exists."""
    documents, plain = kustomize(DEPLOY / "overlays" / "audit"), kustomize(DEPLOY)
    assert documents.keys() == plain.keys() - {"DaemonSet kproxy", "ConfigMap kproxy"} | {"DaemonSet kproxy-audit"}
    whole = documents["DaemonSet kproxy-audit"]["spec"]
    pod = whole["template"]
    assert whole["selector"]["matchLabels"] == pod["metadata"]["labels"] == {"k8s-app": "kproxy-audit"}
    (container,) = pod["spec"]["containers"]
    assert container.keys().isdisjoint({"ports", "livenessProbe", "startupProbe"})
    assert "initContainers" not in pod["spec"]
    assert container["image"] == pod_of(plain)["spec"]["containers"][0]["image"]
    assert container["securityContext"] == pod_of(plain)["spec"]["containers"][0]["securityContext"]
    (config,) = (volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume)
    (mount,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "config")
    assert (config, mount) == ("kube-proxy", "/var/lib/kube-proxy")

    compile(container["command"][2], "command", "exec")
    started: list[list[str]] = []
    monkeypatch.setenv("NODE_NAME", "node-a")
    monkeypatch.setattr(os, "execvp", lambda _program, arguments: started.append(arguments))
    exec(container["readinessProbe"]["exec"]["command"][2], {})  # noqa: S102 - it is our own
    ((program, command, *arguments),) = started
    assert (program, command) == ("kproxy", "audit")
    given = audit.make_context("audit", arguments).params
    assert (given["proxy"], given["node_name"], given["config"]) == ("kube-proxy", "node-a", f"{mount}/config.conf")


def test_the_prometheus_component_opens_what_it_announces(tmp_path: Path) -> None:
    names = {"resources": ["deploy/overlays/nftables"], "components": ["deploy/components/prometheus"]}
    names["components"].append("deploy/components/podmonitor")
    (tmp_path / "deploy").symlink_to(DEPLOY)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(names))
    documents = kustomize(tmp_path)
    assert metrics_address(kustomize(DEPLOY)) == "127.0.0.1:10249"
    assert metrics_address(documents) == "0.0.0.0:10249"
    check_monitoring(documents, "10249")


def test_the_seccomp_component_names_our_profile_and_changes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(DEPLOY)
    names = {"resources": ["deploy/base"], "components": ["deploy/components/seccomp"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(names))
    documents, plain = kustomize(tmp_path), kustomize(DEPLOY / "base")
    profile = pod_of(documents)["spec"]["securityContext"].pop("seccompProfile")
    assert profile == {"type": "Localhost", "localhostProfile": "kproxy.json"}
    assert (DEPLOY / "seccomp" / profile["localhostProfile"]).exists()
    assert pod_of(plain)["spec"]["securityContext"].pop("seccompProfile") == {"type": "RuntimeDefault"}
    assert documents == plain


def check_monitoring(documents: Documents, port: str) -> None:
    """A pod says where its metrics are, and a PodMonitor finds the pods and the port by name."""
    pod, monitor = pod_of(documents), documents["PodMonitor kproxy"]["spec"]
    annotations = pod["metadata"]["annotations"]
    wanted = {"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics"}
    assert wanted.items() <= annotations.items()
    (container,) = pod["spec"]["containers"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert {"name": endpoint["port"], "containerPort": int(port)} in container["ports"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor["namespaceSelector"]["matchNames"] == [documents["DaemonSet kproxy"]["metadata"]["namespace"]]


def test_the_chart_by_default_is_what_kustomize_applies() -> None:
    chart, base = helm(), kustomize(DEPLOY)
    assert chart.keys() == base.keys()
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for documents, image in (chart, f"kproxy:{version}"), (base, "kproxy:latest"):
        spec = documents["DaemonSet kproxy"]["spec"]
        pod = spec["template"]
        del pod["metadata"]["labels"], spec["selector"]
        for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
            assert container.pop("image") == image
            container.pop("imagePullPolicy", None)
        pod["spec"]["containers"][0]["ports"] = [
            port for port in pod["spec"]["containers"][0]["ports"] if port["name"] != "metrics"
        ]
    assert chart["DaemonSet kproxy"]["spec"] == base["DaemonSet kproxy"]["spec"]
    assert chart["ClusterRole kproxy"]["rules"] == base["ClusterRole kproxy"]["rules"]
    for part in "roleRef", "subjects":
        assert chart["ClusterRoleBinding kproxy"][part] == base["ClusterRoleBinding kproxy"][part]
    assert config_of(chart) == config_of(base)
    ours, theirs = (yaml.safe_load(one["ConfigMap kproxy"]["data"]["kubeconfig.conf"]) for one in (chart, base))
    assert ours["clusters"][0]["cluster"].pop("server") == API_SERVER
    del theirs["clusters"][0]["cluster"]["server"]
    assert ours == theirs


def test_the_charts_values_arrive() -> None:
    documents = helm(**EVERYTHING)
    pod, config = pod_of(documents), config_of(documents)
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert container["image"] == "registry.example/kproxy@sha256:" + "0" * 64
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert [command[-1] for command in commands(pod)] == ["--backend=ipvs", "--log-format=json"]
    assert container["resources"] == EVERYTHING["resources"]
    assert spec["securityContext"]["seccompProfile"] == EVERYTHING["seccompProfile"]
    assert (spec["affinity"], pod["metadata"]["labels"]["example.com/c"]) == ({"nodeAffinity": {}}, "d")
    assert pod["metadata"]["annotations"]["example.com/a"] == "b"
    assert (config.proxy.mode, config.proxy.detect_local_mode) == ("iptables", "ClusterCIDR")
    assert config.own.drain_timeout_s == 5.0
    assert config.proxy.client_connection.kubeconfig == "/var/lib/kproxy/kubeconfig.conf"


def test_the_charts_monitoring_fits_together() -> None:
    documents = helm(**MONITORING)
    check_monitoring(documents, "10249")
    assert metrics_address(documents) == "[::]:10249"
    rules = documents["PrometheusRule kproxy"]
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert rules["metadata"]["labels"]["release"] == "prometheus"
    dashboard = documents["ConfigMap kproxy-dashboard"]
    assert json.loads(dashboard["data"]["kproxy.json"]) == json.loads((CHART / "files/dashboard.json").read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_two_releases_do_not_meet() -> None:
    """All that is theirs has their names, cluster-wide objects above all."""
    text = output("helm", "template", "other", CHART, f"--set=apiServer={API_SERVER},serviceAccount.name=other")
    assert {name.partition(" ")[2] for name in by_kind(text)} == {"other"}


def test_the_accounts_rights_can_be_somebody_elses() -> None:
    documents = helm(serviceAccount={"create": False, "name": "kube-proxy"})
    assert documents.keys() == {"ConfigMap kproxy", "DaemonSet kproxy"}
    assert pod_of(documents)["spec"]["serviceAccountName"] == "kube-proxy"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"apiServer": ""}, "apiServer is required"),
        ({"apiServer": "10.96.0.1"}, "apiServer"),
        ({"backend": "userspace"}, "backend"),
        ({"bakend": "ipvs"}, "bakend"),
        ({"config": {"metricsBindAddress": "0.0.0.0"}}, "metricsBindAddress"),
        ({"metrics": {"annotations": True}}, "cannot reach: set it to 0.0.0.0:10249"),
        ({"metrics": {"podMonitor": {"enabled": True}}}, "cannot reach"),
        ({"metrics": {"bindAddress": "10249"}}, "bindAddress"),
    ],
)
def test_the_chart_refuses(values: dict[str, Any], complaint: str) -> None:
    assert complaint in refusal(**values)


def test_helm_finds_nothing_to_say() -> None:
    assert "0 chart(s) failed" in output("helm", "lint", CHART, "--strict", f"--set=apiServer={API_SERVER}")


def test_every_value_is_in_the_schema_and_has_its_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values.keys() == schema["properties"].keys() - {"global"}
    for name in ("image", "metrics", "serviceAccount"):
        assert values[name].keys() == schema["properties"][name]["properties"].keys()


def test_requests_follow_what_was_measured() -> None:
    """A request below what an agent with 1,000 Services takes would have the kernel choose it first."""
    text = (ROOT / "docs" / "performance.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| resident memory, 5 s later |"))
    small = int(line.split("|")[2].split()[0])
    request = yaml.safe_load((CHART / "values.yaml").read_text())["resources"]["requests"]["memory"]
    assert small * 1.25 <= int(request.removesuffix("Mi")) * 1.048576 <= small * 2
