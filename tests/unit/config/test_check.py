from __future__ import annotations

import pytest

from kproxy.config import read_config
from kproxy.config.check import findings

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
GOOD = {"nodePortAddresses": "[primary]", "clusterCIDR": '"10.64.0.0/16,fd00::/48"'}
BOTH = '"10.64.0.0/16,fd00::/48"'


def found(**fields: str) -> list[tuple[str, str]]:
    text = HEAD + "".join(f"{name}: {value}\n" for name, value in {**GOOD, **fields}.items() if value)
    return [(one.field, one.text) for one in findings(read_config(text, "file"))]


def test_a_good_configuration_needs_no_word() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"nodePortAddresses": ""}, "nodePortAddresses", "every address of the node"),
        ({"nodePortAddresses": "[192.0.2.0/24]"}, "nodePortAddresses", "on every IPv6 address"),
        ({"nodePortAddresses": '["2001:db8::/64"]'}, "nodePortAddresses", "on every IPv4 address"),
        ({"nodePortAddresses": "[primary, 0.0.0.0/0]"}, "nodePortAddresses", "makes primary pointless"),
        ({"clusterCIDR": ""}, "clusterCIDR", "no pod can be told"),
        (
            {"clusterCIDR": "10.64.0.0/16", "nodePortAddresses": '["192.0.2.0/24", "2001:db8::/64"]'},
            "clusterCIDR",
            "no IPv6 network",
        ),
        ({"bindAddress": "192.0.2.1", "healthzBindAddress": '"[2001:db8::1]:1"'}, "healthzBindAddress", "is not IPv4"),
        ({"metricsBindAddress": "192.0.2.1", "enableProfiling": "true"}, "enableProfiling", "/debug is served"),
        ({"metricsBindAddress": "127.0.0.1:10256"}, "metricsBindAddress", "is taken by"),
        ({"nftables": "{minSyncPeriod: 1s}", "mode": "nftables"}, "nftables.minSyncPeriod", "may wait 1 s"),
    ],
)
def test_what_is_found(fields: dict[str, str], field: str, words: str) -> None:
    ((name, text),) = found(**fields)
    assert name == field
    assert words in text


@pytest.mark.parametrize(
    "fields",
    [
        {"nodePortAddresses": "", "mode": "nftables"},
        {"nodePortAddresses": "[192.0.2.0/24]", "clusterCIDR": "10.64.0.0/16"},
        {"clusterCIDR": "", "detectLocalMode": "NodeCIDR"},
        {"clusterCIDR": "10.64.0.0/16"},
        {"metricsBindAddress": "192.0.2.1"},
        {"enableProfiling": "true"},
        {"bindAddress": "192.0.2.1", "healthzBindAddress": '"[::]:10256"'},
        {"metricsBindAddress": "192.0.2.1:10256", "healthzBindAddress": "192.0.2.2:10256"},
        {"iptables": "{minSyncPeriod: 1s}", "mode": "nftables"},
    ],
)
def test_what_is_as_it_should_be(fields: dict[str, str]) -> None:
    assert found(**fields) == []


def test_each_has_a_remedy_and_reads_as_a_sentence() -> None:
    (finding,) = findings(read_config(f"{HEAD}clusterCIDR: {BOTH}\n", "file"))
    assert str(finding) == (
        "nodePortAddresses: unset, so NodePorts answer on every address of the node; "
        "set it to [primary], or to the networks that clients come through"
    )


OWN = "---\napiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n"


def egress(value: str, **fields: str) -> list[tuple[str, str]]:
    text = HEAD + "".join(f"{name}: {one}\n" for name, one in {**GOOD, **fields}.items() if one)
    found = findings(read_config(f"{text}{OWN}egressMasquerade: {value}\n", "file"))
    return [(one.field, one.text) for one in found if one.field.startswith("egressMasquerade")]


@pytest.mark.parametrize(
    ("value", "fields", "field", "words"),
    [
        ("{nonMasqueradeCIDRs: [10.0.0.0/8]}", {}, "nonMasqueradeCIDRs", "without effect"),
        ("{enabled: true}", {"clusterCIDR": ""}, "enabled", "no pod can be told"),
        ("{enabled: true, nonMasqueradeCIDRs: [192.0.2.0/24]}", {}, "nonMasqueradeCIDRs", "10.64.0.0/16 is not in it"),
        ('{enabled: true, nonMasqueradeCIDRs: ["::/0"]}', {}, "nonMasqueradeCIDRs", "::/0 exempts every destination"),
        (
            "{enabled: true, nonMasqueradeCIDRs: [10.0.0.0/8]}",
            {
                "clusterCIDR": "",
                "detectLocalMode": "NodeCIDR",
                "nodePortAddresses": '["192.0.2.0/24", "2001:db8::/64"]',
            },
            "nonMasqueradeCIDRs",
            "no IPv6 network",
        ),
    ],
)
def test_egress_masquerade_that_would_surprise(value: str, fields: dict[str, str], field: str, words: str) -> None:
    ((name, text),) = egress(value, **fields)
    assert name == f"egressMasquerade.{field}"
    assert words in text


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("{enabled: false}", {"clusterCIDR": ""}),
        ("{enabled: true}", {}),
        ("{enabled: true, nonMasqueradeCIDRs: [10.0.0.0/8]}", {"clusterCIDR": "10.64.0.0/16"}),
        ('{enabled: true, nonMasqueradeCIDRs: [10.0.0.0/8, "fc00::/7"]}', {"detectLocalMode": "NodeCIDR"}),
    ],
)
def test_egress_masquerade_as_it_should_be(value: str, fields: dict[str, str]) -> None:
    assert egress(value, **fields) == []


def test_without_any_network_each_family_is_told() -> None:
    fields = {"clusterCIDR": "", "detectLocalMode": "NodeCIDR"}
    assert [text.split(",")[0] for _, text in egress("{enabled: true}", **fields)] == [
        "no IPv4 network",
        "no IPv6 network",
    ]
