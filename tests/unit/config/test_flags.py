from __future__ import annotations

import ipaddress

import pytest

from kproxy.config import read_config
from kproxy.config.decode import slots_of
from kproxy.config.fields import KubeProxyConfiguration
from kproxy.config.flags import FLAGS, LISTENERS, config_of_flags, ignored, over
from kproxy.config.listeners import healthz_listener, metrics_listener
from kproxy.errors import ConfigError

FILE = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


@pytest.mark.parametrize("flag", FLAGS.values(), ids=list(FLAGS))
def test_every_flag_sets_fields_that_there_are(flag: object) -> None:
    for path in flag.paths:  # type: ignore[attr-defined] # a Flag, whose repr is its id
        kind: type = KubeProxyConfiguration
        for name in path.split("."):
            slot = slots_of(kind)[name]
            kind = type(slot.default)


def test_the_flags_are_kube_proxys() -> None:
    flags = {
        "proxy-mode": "nftables",
        "cluster-cidr": "10.64.0.0/16,fd00:10:64::/48",
        "masquerade-all": "true",
        "iptables-min-sync-period": "1s",
        "nodeport-addresses": "192.0.2.0/24, 198.51.100.0/24",
        "feature-gates": "AllowServiceExternalIPs=false",
        "conntrack-max-per-core": "0",
        "kube-api-qps": "7.5",
        "iptables-localhost-nodeports": "F",
    }
    config = config_of_flags(flags)
    settings = config.settings_for("nftables")
    assert config.proxy.mode == "nftables"
    assert settings.masquerade_all
    assert not settings.allow_external_ips
    assert not settings.localhost_node_ports
    assert settings.node_port_addresses == tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24")))
    assert config.pacing_for("nftables").min_gap_s == config.pacing_for("iptables").min_gap_s == 1
    assert (config.proxy.conntrack.max_per_core, config.proxy.client_connection.qps) == (0, 7.5)


def test_without_flags_it_is_the_default() -> None:
    assert config_of_flags({}).proxy == KubeProxyConfiguration()


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("proxy-mode", "userspace", "one of iptables, ipvs, nftables"),
        ("iptables-masquerade-bit", "32", "from 0 to 31"),
        ("iptables-masquerade-bit", "x", "from 0 to 31"),
        ("masquerade-all", "maybe", "true or false"),
        ("iptables-sync-period", "5", "a duration"),
        ("cluster-cidr", "10.0.0.0/8,10.1.0.0/16", "one network, or one of each family"),
        ("metrics-bind-address", "localhost:1", "IP:port"),
        ("metrics-port", "70000", "IP:port"),
        ("oom-score-adj", "-1001", "from -1000 to 1000"),
        ("feature-gates", "AllowServiceExternalIPs=perhaps", "true or false"),
        ("kube-api-burst", "-1", "at least 0"),
    ],
)
def test_what_is_wrong_is_named_with_its_flag(name: str, text: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{name}={text}: .*it must be .*{allowed}"):
        config_of_flags({name: text})


def test_rules_between_flags_hold() -> None:
    with pytest.raises(ConfigError, match="detectLocalMode BridgeInterface needs it"):
        config_of_flags({"detect-local-mode": "BridgeInterface"})
    flags = {"detect-local-mode": "BridgeInterface", "pod-bridge-interface": "cbr0"}
    assert config_of_flags(flags).settings_for("iptables").bridge_interface == "cbr0"
    with pytest.raises(ConfigError, match="must not exceed"):
        config_of_flags({"iptables-sync-period": "1s", "iptables-min-sync-period": "2s"})


@pytest.mark.parametrize(
    ("flags", "healthz", "metrics"),
    [
        ({"healthz-bind-address": ""}, "None", "127.0.0.1:10249"),
        ({"metrics-bind-address": "", "healthz-bind-address": "192.0.2.1:1"}, "192.0.2.1:1", "None"),
        ({"healthz-port": "0", "metrics-port": "81"}, "None", "127.0.0.1:81"),
        ({"healthz-port": "80", "healthz-bind-address": "192.0.2.1:1"}, "192.0.2.1:1", "127.0.0.1:10249"),
        ({"bind-address": "::"}, "[::]:10256", "[::1]:10249"),
    ],
)
def test_a_listener_may_be_moved_and_disabled(flags: dict[str, str], healthz: str, metrics: str) -> None:
    config = config_of_flags(flags)
    assert (str(healthz_listener(config)), str(metrics_listener(config))) == (healthz, metrics)


def test_beside_a_file_only_the_name_and_the_log_count() -> None:
    config = read_config(f"{FILE}mode: iptables\nhostnameOverride: file\nlogging: {{verbosity: 1}}\n", "file")
    flags = {"proxy-mode": "nftables", "hostname-override": "flag", "logging-format": "json", "v": "4"}
    proxy = over(config, flags).proxy
    assert (proxy.mode, proxy.hostname_override) == ("iptables", "flag")
    assert (proxy.logging.format, proxy.logging.verbosity) == ("json", 4)
    assert ignored(flags) == ("proxy-mode",)


def test_a_file_stays_as_it_is_without_flags() -> None:
    config = read_config(f"{FILE}mode: iptables\n", "file")
    assert over(config, {}) == config


def test_listeners_are_set_in_our_own_document_alone() -> None:
    assert all(not FLAGS[name].paths for name in LISTENERS)
