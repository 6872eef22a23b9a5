"""kube-proxy's flags as a table: which field of the configuration each one sets, and how its text is read.

Rules kept: names and meanings are those of `kube-proxy --help` of 1.36; a flag's value is judged by the very field that
it sets, so that file and flags cannot differ; what a flag cannot say is left at the field's default.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

import msgspec
import yaml

from kproxy.config.decode import decode
from kproxy.config.fields import KproxyConfiguration, KubeProxyConfiguration
from kproxy.config.load import Config, read_config
from kproxy.config.yamltree import read_documents
from kproxy.core.values import Value
from kproxy.errors import ConfigError

HEAD: Mapping[str, object] = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
OWN_HEAD: Mapping[str, object] = {"apiVersion": "kproxy.io/v1alpha1", "kind": "KproxyConfiguration"}
TRUE, FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


def _flag(text: str) -> object:
    word = text.lower()
    return True if word in TRUE else False if word in FALSE else text


def _whole(text: str) -> object:
    return int(text) if text.lstrip("-").isdecimal() else text


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _list(text: str) -> object:
    return [part.strip() for part in text.split(",")] if text else []


def _gates(text: str) -> object:
    return {name: _flag(value) for name, _, value in (part.partition("=") for part in text.split(",") if part)}


class Kind(enum.Enum):
    """How a flag's text is read; what is not of the kind stays text, for the field to refuse."""

    TEXT = enum.member(str)
    FLAG = enum.member(_flag)
    WHOLE = enum.member(_whole)
    NUMBER = enum.member(_number)
    LIST = enum.member(_list)
    GATES = enum.member(_gates)

    @property
    def read(self) -> Callable[[str], object]:
        """The reader."""
        reader: Callable[[str], object] = self.value
        return reader


class Flag(Value, frozen=True):
    """A flag and the fields that it sets; without fields it is accepted and does nothing."""

    name: str
    paths: tuple[str, ...]
    kind: Kind = Kind.TEXT
    beside_file: bool = False
    """Whether it counts although --config is given."""


def _of(name: str, *paths: str, kind: Kind = Kind.TEXT) -> Flag:
    return Flag(name, paths, kind)


FLAGS: Mapping[str, Flag] = {
    flag.name: flag
    for flag in (
        _of("feature-gates", "featureGates", kind=Kind.GATES),
        _of("kube-api-content-type", "clientConnection.contentType"),
        _of("kube-api-burst", "clientConnection.burst", kind=Kind.WHOLE),
        _of("kube-api-qps", "clientConnection.qps", kind=Kind.NUMBER),
        Flag("hostname-override", ("hostnameOverride",), beside_file=True),
        _of("bind-address", "bindAddress"),
        _of("healthz-bind-address"),
        _of("metrics-bind-address"),
        _of("healthz-port"),
        _of("metrics-port"),
        _of("bind-address-hard-fail", "bindAddressHardFail", kind=Kind.FLAG),
        _of("profiling", "enableProfiling", kind=Kind.FLAG),
        _of("show-hidden-metrics-for-version", "showHiddenMetricsForVersion"),
        _of("proxy-mode", "mode"),
        _of("iptables-masquerade-bit", "iptables.masqueradeBit", kind=Kind.WHOLE),
        _of("masquerade-all", "iptables.masqueradeAll", "nftables.masqueradeAll", kind=Kind.FLAG),
        _of("iptables-localhost-nodeports", "iptables.localhostNodePorts", kind=Kind.FLAG),
        _of("iptables-sync-period", "iptables.syncPeriod", "nftables.syncPeriod"),
        _of("iptables-min-sync-period", "iptables.minSyncPeriod", "nftables.minSyncPeriod"),
        _of("ipvs-sync-period", "ipvs.syncPeriod"),
        _of("ipvs-min-sync-period", "ipvs.minSyncPeriod"),
        _of("ipvs-scheduler", "ipvs.scheduler"),
        _of("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", kind=Kind.LIST),
        _of("ipvs-strict-arp", "ipvs.strictARP", kind=Kind.FLAG),
        _of("ipvs-tcp-timeout", "ipvs.tcpTimeout"),
        _of("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout"),
        _of("ipvs-udp-timeout", "ipvs.udpTimeout"),
        _of("detect-local-mode", "detectLocalMode"),
        _of("pod-bridge-interface", "detectLocal.bridgeInterface"),
        _of("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix"),
        _of("cluster-cidr", "clusterCIDR"),
        _of("nodeport-addresses", "nodePortAddresses", kind=Kind.LIST),
        _of("oom-score-adj", "oomScoreAdj", kind=Kind.WHOLE),
        _of("conntrack-max-per-core", "conntrack.maxPerCore", kind=Kind.WHOLE),
        _of("conntrack-min", "conntrack.min", kind=Kind.WHOLE),
        _of("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout"),
        _of("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout"),
        _of("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", kind=Kind.FLAG),
        _of("conntrack-udp-timeout", "conntrack.udpTimeout"),
        _of("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout"),
        _of("config-sync-period", "configSyncPeriod"),
        Flag("logging-format", ("logging.format",), beside_file=True),
        Flag("v", ("logging.verbosity",), Kind.WHOLE, beside_file=True),
        Flag("vmodule", (), beside_file=True),
        Flag("log-flush-frequency", (), beside_file=True),
    )
}
"""Every flag but those that are options of a command of ours: config, kubeconfig, master, cleanup, init-only, ...."""

LISTENERS = frozenset({"healthz-bind-address", "metrics-bind-address", "healthz-port", "metrics-port"})
"""Flags that can open none, which no field of kube-proxy's can: they set those of our own document."""


def config_of_flags(given: Mapping[str, str]) -> Config:
    """The configuration that flags make without a file; ConfigError names the flag that is wrong."""
    for name, text in given.items():
        _judge(name, text)
    main: dict[str, object] = dict(HEAD)
    for name, text in given.items():
        for path in FLAGS[name].paths:
            _set(main, path, FLAGS[name].kind.read(text))
    return read_config(yaml.safe_dump_all([main, {**OWN_HEAD, **_listeners(given)}]), "command line")


def over(config: Config, given: Mapping[str, str]) -> Config:
    """A file's configuration with the flags that count beside one: the node's name and the log (as kube-proxy)."""
    counting = {name: text for name, text in given.items() if FLAGS[name].beside_file}
    said = config_of_flags(counting).proxy
    logging = msgspec.structs.replace(
        config.proxy.logging,
        format=said.logging.format or config.proxy.logging.format,
        verbosity=max(said.logging.verbosity, config.proxy.logging.verbosity),
    )
    name = said.hostname_override or config.proxy.hostname_override
    proxy = msgspec.structs.replace(config.proxy, hostname_override=name, logging=logging)
    return msgspec.structs.replace(config, proxy=proxy)


def ignored(given: Mapping[str, str]) -> tuple[str, ...]:
    """The flags that count for nothing beside a file (as kube-proxy)."""
    return tuple(sorted(name for name in given if not FLAGS[name].beside_file))


def _judge(name: str, text: str) -> None:
    """Read a flag by itself, so that what is wrong with it is told in its own name; rules between fields come later."""
    alone: dict[str, object] = dict(_listeners({name: text}))
    for path in FLAGS[name].paths[:1]:
        _set(alone, path, FLAGS[name].kind.read(text))
    kind = KproxyConfiguration if name in LISTENERS else KubeProxyConfiguration
    (tree,) = read_documents(yaml.safe_dump(alone), name)
    for problem in decode(tree, kind).errors[:1]:
        raise ConfigError(f"--{name}={text[:80]}: {problem.text}")


def _listeners(given: Mapping[str, str]) -> Mapping[str, object]:
    """Where health and metrics are, in our own document's fields; the old port flags change the port alone."""
    found: dict[str, object] = {}
    for what, everywhere in (("healthz", "0.0.0.0"), ("metrics", "127.0.0.1")):  # noqa: S104 - kube-proxy's default
        place, port = given.get(f"{what}-bind-address"), given.get(f"{what}-port")
        if place is not None:
            found[f"{what}BindAddress"] = place
        elif port is not None:
            found[f"{what}BindAddress"] = "" if port == "0" else f"{everywhere}:{port}"
    return found


def _set(tree: dict[str, object], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})  # type: ignore[assignment] # what is there was put there by this
    tree[last] = value
