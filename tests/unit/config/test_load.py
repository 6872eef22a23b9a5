"""A configuration file: what is read, refused and warned about."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.config import Config, Pacing, read_config
from kproxy.config.decode import slots_of
from kproxy.config.fields import KubeProxyConfiguration
from kproxy.core.host import LocalDetection, Settings
from kproxy.core.plan import Ipvs
from kproxy.core.values import Value
from kproxy.errors import ConfigError

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN = "---\napiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n"
DATA = Path(__file__).parents[2] / "data" / "config"


def read(body: str) -> Config:
    return read_config(HEAD + body, "c.yaml")


def refused(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(body)
    return str(caught.value)


def test_what_kubeadm_writes_is_the_defaults_with_its_cluster_cidr() -> None:
    config = read_config((DATA / "kubeadm.yaml").read_text(), "kubeadm.yaml")
    network = ipaddress.ip_network("10.244.0.0/16")
    assert config.warnings == ()
    assert config.settings_for("iptables") == Settings(cluster_cidrs=(network,))
    assert set(leaves(config.proxy)) ^ set(leaves(KubeProxyConfiguration())) == {
        (".clientConnection.kubeconfig", ""),
        (".clientConnection.kubeconfig", "/var/lib/kube-proxy/kubeconfig.conf"),
        (".clusterCIDR", ()),
        (".clusterCIDR", (network,)),
        (".logging.flushFrequency", 5.0),
        (".logging.flushFrequency", 0.0),
    }


def test_every_field_of_the_reference_is_accepted_and_read() -> None:
    config = read_config((DATA / "every-field.yaml").read_text(), "every-field.yaml")
    assert not [warning for warning in config.warnings if "unknown" in warning]
    defaults = KubeProxyConfiguration()
    same = [name for name, value in leaves(config.proxy) if dict(leaves(defaults))[name] == value]
    assert same == []


def leaves(value: Value, path: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for item in msgspec.structs.fields(type(value)):
        inner, name = getattr(value, item.name), f"{path}.{item.encode_name}"
        found += (
            leaves(inner, name)
            if isinstance(inner, Value)
            else [(name, inner or None if isinstance(inner, dict) else inner)]
        )
    return found


def test_sections_decide_for_their_own_backend() -> None:
    config = read("iptables: {masqueradeBit: 3, masqueradeAll: true, minSyncPeriod: 2s}\nnftables: {syncPeriod: 1m}\n")
    assert config.settings_for("iptables") == Settings(masquerade_bit=3, masquerade_all=True)
    assert config.settings_for("nftables") == Settings()
    assert config.settings_for("somebody-elses") == config.settings_for("iptables")
    assert config.pacing_for("iptables") == Pacing(2.0, 30.0)
    assert config.pacing_for("nftables") == Pacing(0.0, 60.0)
    assert config.pacing_for("ipvs") == Pacing(0.0, 30.0)


def test_settings_take_everything_that_decides_packets() -> None:
    config = read(
        "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}\n"
        "clusterCIDR: 10.0.0.0/8,fd00::/48\nnodePortAddresses: [primary, localhost]\n"
        "iptables: {localhostNodePorts: false}\nfeatureGates: {AllowServiceExternalIPs: false}\n"
        "conntrack: {tcpBeLiberal: true}\n" + OWN + "rejectUnlistedPorts: true\n"
    )
    assert config.settings_for("iptables") == Settings(
        local_detection=LocalDetection.INTERFACE_NAME_PREFIX,
        interface_prefix="veth",
        cluster_cidrs=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/48")),
        node_port_addresses=("primary", ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        localhost_node_ports=False,
        allow_external_ips=False,
        tcp_be_liberal=True,
        reject_unlisted=True,
    )


def test_the_ipvs_section_and_the_drain_time_reach_the_plan() -> None:
    section = "ipvs: {scheduler: lc, strictARP: true, tcpTimeout: 15m, tcpFinTimeout: 500ms, udpTimeout: 90s}\n"
    config = read("mode: ipvs\n" + section + OWN + "drainTimeout: 1m30s\n")
    assert config.settings_for("ipvs") == Settings(ipvs=Ipvs("lc", 90, strict_arp=True, timeouts_s=(900, 1, 90)))
    assert read("mode: ipvs\nipvs: {scheduler: rr}\n").settings_for("ipvs") == Settings()


def test_bind_address_is_the_primary_address_unless_it_means_all() -> None:
    assert read("bindAddress: 192.0.2.1\n").primary == ("192.0.2.1",)
    assert read("bindAddress: 2001:DB8::1\n").primary == ("2001:db8::1",)
    for unspecified in ('""', "0.0.0.0", '"::"', "null"):
        assert read(f"bindAddress: {unspecified}\n").primary == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("mode: foo\n", "c.yaml:3:7: mode: 'foo' is not allowed: it must be one of iptables, ipvs, nftables"),
        ("iptables: {masqueradeBit: 32}\n", "c.yaml:3:27: iptables.masqueradeBit: 32 is not allowed"),
        ("iptables: []\n", "c.yaml:3:11: iptables: a list is not allowed"),
        ("nodePortAddresses: [primary, 10.0.0.1]\n", "c.yaml:3:30: nodePortAddresses[1]: '10.0.0.1' is not allowed"),
        ("nodePortAddresses: primary\n", "nodePortAddresses: 'primary' is not allowed: it must be a list"),
        ("hostnameOverride: 17\n", "hostnameOverride: 17 is not allowed: it must be text (quote numbers"),
        ("featureGates: {A: 1}\n", "featureGates.A: 1 is not allowed: it must be true or false"),
        ("featureGates: 1\n", "featureGates: 1 is not allowed: it must be a mapping"),
        (
            "detectLocalMode: BridgeInterface\n",
            "c.yaml:3:18: detectLocal.bridgeInterface: detectLocalMode BridgeInterface",
        ),
        ("detectLocalMode: InterfaceNamePrefix\n", "detectLocal.interfaceNamePrefix: detectLocalMode"),
        ("iptables: {minSyncPeriod: 2m}\n", "c.yaml:3:27: iptables.minSyncPeriod: it must not exceed"),
        ("nftables: {minSyncPeriod: 5s, syncPeriod: 4s}\n", "nftables.minSyncPeriod: it must not exceed"),
        ("mode: ipvs\nipvs: {minSyncPeriod: 2m}\n", "ipvs.minSyncPeriod: it must not exceed"),
        ("mode: ipvs\nipvs: {scheduler: best}\n", "ipvs.scheduler: it must be one of rr, wrr"),
        ("mode: ipvs\nipvs: {excludeCIDRs: [x]}\n", "ipvs.excludeCIDRs[0]: 'x' is not allowed"),
        ("clientConnection: {burst: -1}\n", "clientConnection.burst: -1 is not allowed"),
        ("oomScoreAdj: -1001\n", "oomScoreAdj: -1001 is not allowed: it must be a whole number from -1000 to 1000"),
        ("configSyncPeriod: -1s\n", "configSyncPeriod: '-1s' is not allowed"),
        ("? [a]\n: 1\n", "the document: a field's name must be text"),
        ("---\n- x\n", "c.yaml:4:1: not a configuration: it must be apiVersion: kubeproxy.config.k8s.io/v1alpha1"),
        ("---\nkind: Pod\n", "c.yaml:4:1: apiVersion '', kind 'Pod' is not known"),
        ("---\n" + HEAD, "c.yaml:4:1: a second KubeProxyConfiguration: a file has one"),
    ],
)
def test_an_error_says_file_line_field_value_and_what_is_allowed(body: str, said: str) -> None:
    assert said in refused(body)


def test_all_errors_are_told_at_once_but_not_endlessly() -> None:
    text = refused("mode: foo\noomScoreAdj: x\n")
    assert [line.split(": ")[1] for line in text.splitlines()] == ["mode", "oomScoreAdj"]
    assert len(refused("nodePortAddresses: [" + "x, " * 5000 + "]\n").splitlines()) == 20


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_no_configuration(text: str) -> None:
    with pytest.raises(ConfigError, match="no configuration in it"):
        read_config(text, "c.yaml")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("mod: x\n", "c.yaml:3:1: unknown field mod is ignored (did you mean mode?)"),
        (
            "iptables: {MasqueradeBit: 1}\n",
            "unknown field iptables.MasqueradeBit is ignored (did you mean masqueradeBit?)",
        ),
        ("zzz: x\n", "c.yaml:3:1: unknown field zzz is ignored"),
        ('"a\\n: b": x\n', "unknown field 'a\\n: b' is ignored"),
        (
            "mode: iptables\nmode: nftables\n",
            "c.yaml:4:1: field mode is given twice (line 3 and here): the last one counts",
        ),
        ("featureGates: {Foo: true}\n", "featureGates: 'Foo' has no effect in kproxy"),
        (
            "iptables: {snatNodeInternalIP: true}\n",
            "c.yaml:3:32: iptables.snatNodeInternalIP: accepted, but this version does not act on it yet",
        ),
        ("ipvs: {excludeCIDRs: [x]}\n", "c.yaml:3:23: ipvs.excludeCIDRs[0]: 'x' is not allowed"),
    ],
)
def test_what_does_not_stop_the_agent_is_a_warning_with_its_place(body: str, said: str) -> None:
    assert [warning for warning in read(body).warnings if said in warning]


def test_the_last_of_two_counts_as_in_kube_proxy() -> None:
    assert read("mode: iptables\nmode: nftables\n").proxy.mode == "nftables"


@pytest.mark.parametrize(
    "body", ["oomScoreAdj: -999\n", "conntrack: {maxPerCore: 0}\n", "clientConnection: {qps: 50}\n", ""]
)
def test_defaults_and_compatibility_fields_are_silent(body: str) -> None:
    assert read(body).warnings == ()


def test_the_file_may_hold_our_own_document_alone() -> None:
    config = read_config(OWN + "rejectUnlistedPorts: false\n", "c.yaml")
    assert config.settings_for("nftables").reject_unlisted is False
    assert Config().settings_for("nftables").reject_unlisted is None


def test_egress_masquerade_is_off_and_its_networks_are_named_one_by_one() -> None:
    assert Config().settings_for("nftables").egress_masquerade is False
    config = read_config(
        f"{OWN}egressMasquerade: {{enabled: true, nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']}}\n", "c.yaml"
    )
    for backend in ("nftables", "iptables", "ipvs"):
        settings = config.settings_for(backend)
        assert settings.egress_masquerade is True
        assert [str(network) for network in settings.non_masquerade] == ["10.0.0.0/8", "fd00::/8"]
    empty = read_config(f"{OWN}egressMasquerade: {{enabled: true, nonMasqueradeCIDRs: null}}\n", "c.yaml")
    assert empty.settings_for("nftables").non_masquerade == ()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{nonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.1]}", "egressMasquerade.nonMasqueradeCIDRs[1]: '10.0.0.1' is not"),
        ("{nonMasqueradeCIDRs: 10.0.0.0/8}", "egressMasquerade.nonMasqueradeCIDRs: '10.0.0.0/8' is not allowed"),
        ("{enabled: 1}", "egressMasquerade.enabled: 1 is not allowed: it must be true or false"),
        ("true", "egressMasquerade: true is not allowed: it must be a mapping"),
    ],
)
def test_what_is_wrong_with_egress_masquerade_is_told(value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(f"{OWN}egressMasquerade: {value}\n", "c.yaml")
    assert said in str(caught.value)


NAMES = [*sorted(slots_of(KubeProxyConfiguration)), "masqueradeBit", "minSyncPeriod", "unknown", "bridgeInterface"]
PLAIN = st.sampled_from(
    ["", "5s", "-1s", "10.0.0.0/8", "primary", "ipvs", 0, 1, -1, 99, True, None, 1.5, "x"]
) | st.text(max_size=6)
BODIES = st.dictionaries(
    st.sampled_from(NAMES),
    st.recursive(
        PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=300)
@given(body=BODIES)
def test_anything_is_a_config_or_a_config_error_with_places(body: dict[str, object]) -> None:
    text = HEAD + (yaml.safe_dump(body, allow_unicode=True) if body else "")
    try:
        config = read_config(text, "c.yaml")
    except ConfigError as error:
        assert all(line.startswith("c.yaml:") for line in str(error).splitlines())  # noqa: PT017 - either outcome
    else:
        assert isinstance(config.settings_for(config.proxy.mode or "iptables"), Settings)
        assert config.pacing_for("iptables").min_gap_s >= 0
        assert config.primary in ((), (config.proxy.bind_address,))
