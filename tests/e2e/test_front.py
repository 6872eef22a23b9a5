"""The program as the outside sees it: metrics, health, health checks, status, reloads, and that it is alone."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.core.metrics import COUNTED_BY_RULES, KUBE_PROXY, MetricKind
from tests.e2e.pages import HEALTHZ_PORT, METRICS_PORT, PATIENCE_S, get, is_ready, scraped, status, until
from tests.fakes.apiserver import ApiServer
from tests.fakes.namespace import in_new_namespace, ip
from tests.fakes.program import run_program, running

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
SHOP = MANIFESTS / "shop"
NAME = ("--node-name", "node-a")

# Section 3.1 of the reference, written down anew: name, type, labels.
EXPECTED = """
kubeproxy_sync_proxy_rules_duration_seconds histogram ip_family
kubeproxy_sync_full_proxy_rules_duration_seconds histogram ip_family
kubeproxy_sync_partial_proxy_rules_duration_seconds histogram ip_family
kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge ip_family
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge ip_family
kubeproxy_network_programming_duration_seconds histogram ip_family
kubeproxy_sync_proxy_rules_endpoint_changes_pending gauge
kubeproxy_sync_proxy_rules_endpoint_changes_total counter
kubeproxy_sync_proxy_rules_service_changes_pending gauge
kubeproxy_sync_proxy_rules_service_changes_total counter
kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge traffic_policy,ip_family
kubeproxy_sync_proxy_rules_iptables_total gauge table,ip_family
kubeproxy_sync_proxy_rules_iptables_last gauge table,ip_family
kubeproxy_sync_proxy_rules_iptables_restore_failures_total counter ip_family
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter ip_family
kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter ip_family
kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total counter ip_family
kubeproxy_conntrack_reconciler_sync_duration_seconds histogram ip_family
kubeproxy_conntrack_reconciler_deleted_entries_total counter ip_family
kubeproxy_proxy_healthz_total counter code
kubeproxy_proxy_livez_total counter code
kubeproxy_iptables_ct_state_invalid_dropped_packets_total counter
kubeproxy_iptables_localhost_nodeports_accepted_packets_total counter
kubernetes_feature_enabled gauge name,stage
"""
ALL_MODES = frozenset({"iptables", "nftables"})
THEIRS = {metric.name: metric for metric in (*KUBE_PROXY, *COUNTED_BY_RULES)}


@pytest.mark.parametrize("backend", sorted(ALL_MODES))
def test_every_metric_of_kube_proxy_is_there_by_name_type_labels_and_buckets(backend: str) -> None:
    def life() -> tuple[dict[str, Any], Any]:
        with running("run", "--backend", backend, "--source", str(SHOP), "--config", str(CONFIG), *NAME):
            until(is_ready)
            get(HEALTHZ_PORT, "/healthz")
            get(HEALTHZ_PORT, "/livez")
            until(lambda: "IPv6" in get(METRICS_PORT, "/metrics")[2].decode())
            return scraped(), json.loads(get(METRICS_PORT, "/configz")[2])

    found, configz = in_new_namespace(life)
    for line in EXPECTED.split("\n")[1:-1]:
        name, kind, *labels = line.split(" ")
        metric = THEIRS[name]
        assert (metric.kind, ",".join(metric.labels)) == (MetricKind(kind), "".join(labels)), name
        family = found.get(name.removesuffix("_total") if kind == "counter" else name)
        if backend not in (metric.modes or ALL_MODES):
            assert family is None, name
            continue
        assert family is not None, name
        assert family.type == kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), name
        bounds = {sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")}
        assert len(bounds) in (0, len(metric.buckets) + 1)
    assert THEIRS.keys() == {line.split()[0] for line in EXPECTED.split("\n")[1:-1]}
    assert not [name for name in found if name.endswith("_created")]
    assert configz["kubeproxy.config.k8s.io"]["kind"] == "KubeProxyConfiguration"


CONFIG = MANIFESTS / "config.yaml"


def test_a_health_check_port_follows_endpoints_and_addresses(tmp_path: Path) -> None:
    text = (SHOP / "shop.yaml").read_text()
    (tmp_path / "shop.yaml").write_text(text)

    def weight() -> str:
        return get(32010, "/", "192.0.2.11")[1]["X-Load-Balancing-Endpoint-Weight"]

    def is_refused() -> bool:
        try:
            weight()
        except OSError:
            return True
        return False

    def life() -> tuple[int, Mapping[str, str], bytes]:
        with running("run", "--backend", "nftables", "--source", str(tmp_path), "--config", str(CONFIG), *NAME):
            until(is_ready)
            assert is_refused()
            ip("address", "add", "192.0.2.11/24", "dev", "lo")
            until(lambda: weight() == "1")
            answer = get(32010, "/any", "192.0.2.11")
            (tmp_path / "shop.yaml").write_text(text.replace("nodeName: node-a", "nodeName: node-z"))
            until(lambda: weight() == "0")
            (tmp_path / "shop.yaml").write_text(text.replace("healthCheckNodePort: 32010", ""))
            until(is_refused)
            return answer

    status_code, headers, body = in_new_namespace(life)
    assert status_code == 200
    assert headers["Content-Type"] == "application/json"
    assert body == (
        b'{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "cart"\n\t},\n'
        b'\t"localEndpoints": 1,\n\t"serviceProxyHealthy": true\n}'
    )


def test_a_changed_configuration_is_in_force_and_an_invalid_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "config"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    path.write_text(head)

    def life() -> tuple[Any, Any, Any]:
        with running("run", "--backend", "nftables", "--source", str(SHOP), "--config", str(path), *NAME) as process:
            until(is_ready)
            path.write_text(f"{head}clusterCIDR: 10.64.0.0/16\n")
            until(lambda: b"10.64.0.0/16" in get(METRICS_PORT, "/debug/plan")[2])
            valid = status()["config"]
            path.write_text(f"{head}clusterCIDR: nonsense\n")
            until(lambda: status()["config"]["invalid"] == 1)
            assert b"10.64.0.0/16" in get(METRICS_PORT, "/debug/plan")[2]
            invalid, reloads = status()["config"], scraped()["kproxy_config_reloads"]
            path.write_text(f"{head}metricsBindAddress: 127.0.0.1:10300\n")
            until(lambda: get(10300, "/proxyMode")[2] == b"nftables")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            return valid, invalid, {one.labels["result"]: one.value for one in reloads.samples}

    valid, invalid, reloads = in_new_namespace(life)
    assert (valid["reloads"], valid["error"]) == (1, None)
    assert "nonsense" in invalid["error"]
    assert reloads == {"applied": 1, "invalid": 1}


@pytest.mark.parametrize(("before", "after"), [("nftables", "iptables"), ("iptables", "nftables")])
def test_another_backend_takes_over_and_then_the_first_ones_rules_go(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "config"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    path.write_text(f"{head}mode: {before}\n")

    def stands(backend: str) -> bool:
        listing = {"iptables": ["iptables-save", "-t", "nat"], "nftables": ["nft", "list", "tables"]}[backend]
        text = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
        return {"iptables": "KPROXY-", "nftables": "table ip kproxy"}[backend] in text

    def life() -> None:
        with running("run", "--source", str(SHOP), "--config", str(path), *NAME):
            until(lambda: get(METRICS_PORT, "/proxyMode")[2] == before.encode() and is_ready())
            assert stands(before)
            path.write_text(f"{head}mode: {after}\n")
            until(lambda: get(METRICS_PORT, "/proxyMode")[2] == after.encode() and is_ready())
            assert stands(after)
            until(lambda: not stands(before))

    in_new_namespace(life)


def test_one_agent_and_its_status() -> None:
    def life() -> tuple[Any, ...]:
        options = ("run", "--backend", "nftables", "--source", str(SHOP), "--config", str(CONFIG), *NAME)
        nobody = run_program("status")
        with running(*options) as process:
            until(is_ready)
            second = run_program(*options)
            return nobody, process.pid, second, run_program("status"), run_program("status", "-o", "json")

    nobody, pid, second, text, found = in_new_namespace(life)
    assert (nobody.code, nobody.err) == (
        1,
        "kproxy: no agent runs in this network namespace; start one with kproxy run\n",
    )
    assert (second.code, second.err) == (1, f"kproxy: another agent runs on this node (process {pid}): end it first\n")
    assert text.code == found.code == 0
    assert text.out.startswith("Node node-a, backend nftables: ready, healthy\n")
    said = json.loads(found.out)
    assert (said["pid"], said["backend"], said["ready"]) == (pid, "nftables", True)
    assert said["families"]["IPv4"]["services"] == 2


def test_an_address_in_use_holds_up_nothing_else_or_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddressHardFail: true\n"
    )

    def life() -> tuple[int, str, int]:
        with socket.create_server(("127.0.0.1", METRICS_PORT)):
            hard = run_program("run", "--backend", "nftables", "--source", str(SHOP), "--config", str(path), *NAME)
            with running("run", "--backend", "nftables", "--source", str(SHOP), *NAME):
                until(is_ready)
                return hard.code, hard.err, get(HEALTHZ_PORT, "/livez")[0]

    code, err, livez = in_new_namespace(life)
    assert (code, livez) == (2, 200)
    assert "bindAddressHardFail: cannot serve metrics on 127.0.0.1:10249" in err


def test_events_are_left_at_the_api_server(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"

    def life() -> list[Any]:
        with ApiServer() as server, socket.create_server(("127.0.0.1", METRICS_PORT)):
            server.put(*yaml.safe_load_all((SHOP / "shop.yaml").read_text()))
            kubeconfig.write_text(json.dumps(server.kubeconfig()))
            options = ("--kubeconfig", str(kubeconfig), "--config", str(CONFIG), *NAME)
            with running("run", "--backend", "nftables", *options):
                until(lambda: len(server.posts) == 2)
            return server.posts

    posts = in_new_namespace(life)
    assert [(path, event["reason"], event["type"]) for path, event in posts] == [
        ("/apis/events.k8s.io/v1/namespaces/default/events", "FailedToStartMetricServer", "Warning"),
        ("/apis/events.k8s.io/v1/namespaces/default/events", "Starting", "Normal"),
    ]
    assert posts[1][1]["regarding"] == {"kind": "Node", "name": "node-a", "uid": "node-a"}


def test_systemd_hears_of_readiness_life_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")

    def life() -> list[bytes]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(address)
            receiver.settimeout(PATIENCE_S)
            heard: list[bytes] = []
            with running("run", "--backend", "nftables", "--source", str(SHOP), *NAME) as process:
                while b"READY=1" not in heard or heard.count(b"WATCHDOG=1") < 3:
                    heard.append(receiver.recv(200).split(b"\n")[0])
                process.send_signal(signal.SIGTERM)
                while heard[-1] != b"STOPPING=1":
                    heard.append(receiver.recv(200).split(b"\n")[0])
            return heard

    heard = in_new_namespace(life)
    assert heard.count(b"READY=1") == heard.count(b"STOPPING=1") == 1


def test_a_daemon_sets_command_line_is_taken_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "config.conf"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    path.write_text(f"{head}mode: iptables\nhostnameOverride: x\n")
    flags = (f"--config={path}", "--hostname-override=node-a", "--proxy-mode=nftables", "-v=2")

    def life() -> tuple[Any, str]:
        with running("run", "--source", str(SHOP), *flags) as process:
            until(is_ready)
            found = status()
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            return found, process.stderr.read()

    found, log = in_new_namespace(life)
    assert (found["node"], found["backend"]) == ("node-a", "iptables")
    assert "--proxy-mode: not used, because --config is given" in log
