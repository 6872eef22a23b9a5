from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kproxy.config import Config, read_config
from kproxy.config.encode import duration, encode

DATA = sorted((Path(__file__).parents[2] / "data" / "config").rglob("*.yaml"))
FULL = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.64.0.0/16,fd00:10:64::/48
nodePortAddresses: [primary, 192.0.2.0/24]
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: veth}
featureGates: {AllowServiceExternalIPs: false}
iptables: {syncPeriod: 1m30s, minSyncPeriod: 100ms, masqueradeBit: 3}
conntrack: {tcpEstablishedTimeout: 24h, maxPerCore: 0}
clientConnection: {qps: 7.5, kubeconfig: /etc/kube}
---
apiVersion: kproxy.io/v1alpha1
kind: KproxyConfiguration
rejectUnlistedPorts: false
metricsBindAddress: ""
egressMasquerade: {enabled: true, nonMasqueradeCIDRs: [10.0.0.0/8, "fd00::/8"]}
"""


def again(config: Config) -> Config:
    text = yaml.safe_dump_all([encode(config.proxy), encode(config.own)])
    return read_config(text, "again")


@pytest.mark.parametrize("text", [FULL, *(path.read_text() for path in DATA)])
def test_what_is_written_reads_as_the_same_configuration(text: str) -> None:
    config = read_config(text, "once")
    read = again(config)
    assert (read.proxy, read.own) == (config.proxy, config.own)


def test_the_defaults_are_written_in_kube_proxys_words() -> None:
    written = encode(Config().proxy)
    assert written["apiVersion"] == "kubeproxy.config.k8s.io/v1alpha1"
    assert written["kind"] == "KubeProxyConfiguration"
    assert written["conntrack"]["tcpEstablishedTimeout"] == "24h0m0s"
    assert written["configSyncPeriod"] == "15m0s"
    assert written["iptables"]["masqueradeBit"] == 14
    assert written["clusterCIDR"] == ""
    assert written["nodePortAddresses"] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.1, "100ms"), (1, "1s"), (1.5, "1.5s"), (90, "1m30s"), (3600, "1h0m0s"), (86400, "24h0m0s")],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert duration(seconds) == text
