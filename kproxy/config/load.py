"""A configuration file's text becomes a Config: kinds, rules across fields, and what the rest of the agent asks for."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping

import msgspec

from kproxy.config.decode import Decoded, Problem, decode
from kproxy.config.fields import IPVS, KINDS, IPTables, KproxyConfiguration, KubeProxyConfiguration, NFTables
from kproxy.config.yamltree import Mapping as TreeMapping
from kproxy.config.yamltree import Position, Scalar, Tree, read_documents
from kproxy.core.host import LocalDetection, Settings
from kproxy.core.instance import Instance
from kproxy.core.plan import Ipvs
from kproxy.core.values import Value
from kproxy.errors import ConfigError

IPVS_SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf")
EXTERNAL_IPS_GATE = "AllowServiceExternalIPs"
MAX_ERRORS = 20


class Pacing(Value, frozen=True):
    """How syncs follow one another, in seconds."""

    min_gap_s: float
    """The least time between two syncs; 0: none."""
    sync_period_s: float
    """After how long a failed sync is tried again."""


class Config(Value, frozen=True):
    """A configuration that was read and found valid, or the defaults."""

    proxy: KubeProxyConfiguration = KubeProxyConfiguration()
    own: KproxyConfiguration = KproxyConfiguration()
    warnings: tuple[str, ...] = ()
    """What the file's author should know, each with its place."""

    @property
    def instance(self) -> Instance:
        """Which of several agents on the node this is."""
        return Instance(self.own.instance)

    def as_instance(self, instance: Instance) -> Config:
        """As this instance, or as it is if that is the default one."""
        return msgspec.structs.replace(
            self, own=msgspec.structs.replace(self.own, instance=instance.name or self.own.instance)
        )

    def settings_for(self, backend: str) -> Settings:
        """The part that decides packets, for the backend of this name."""
        section = self._section(backend)
        proxy, iptables = self.proxy, self.proxy.iptables
        bits = section if isinstance(section, NFTables) else iptables
        return Settings(
            local_detection=LocalDetection(proxy.detect_local_mode),
            cluster_cidrs=proxy.cluster_cidr,
            bridge_interface=proxy.detect_local.bridge_interface,
            interface_prefix=proxy.detect_local.interface_name_prefix,
            masquerade_all=bits.masquerade_all,
            masquerade_bit=bits.masquerade_bit,
            node_port_addresses=tuple(one for entry in proxy.node_port_addresses for one in entry) or None,
            localhost_node_ports=iptables.localhost_node_ports,
            allow_external_ips=proxy.feature_gates.get(EXTERNAL_IPS_GATE, True),
            reject_unlisted=self.own.reject_unlisted_ports,
            tcp_be_liberal=proxy.conntrack.tcp_be_liberal,
            ipvs=self._ipvs,
            egress_masquerade=self.own.egress_masquerade.enabled,
            non_masquerade=self.own.egress_masquerade.non_masquerade_cidrs,
        )

    @property
    def _ipvs(self) -> Ipvs:
        section = self.proxy.ipvs
        timeouts_s = section.tcp_timeout_s, section.tcp_fin_timeout_s, section.udp_timeout_s
        tcp_s, tcp_fin_s, udp_s = map(math.ceil, timeouts_s)
        return Ipvs(
            section.scheduler or Ipvs().scheduler,
            math.ceil(self.own.drain_timeout_s),
            section.strict_arp,
            (tcp_s, tcp_fin_s, udp_s),
        )

    def pacing_for(self, backend: str) -> Pacing:
        """The sync periods for the backend of this name."""
        section = self._section(backend)
        return Pacing(section.min_sync_period_s, section.sync_period_s)

    @property
    def primary(self) -> tuple[str, ...]:
        """bindAddress, where it is an address and not "all addresses"."""
        address = self.proxy.bind_address
        return () if ipaddress.ip_address(address).is_unspecified else (address,)

    def _section(self, backend: str) -> IPTables | IPVS | NFTables:
        sections: Mapping[str, IPTables | IPVS | NFTables] = {"ipvs": self.proxy.ipvs, "nftables": self.proxy.nftables}
        return sections.get(backend, self.proxy.iptables)


def read_config(text: str, name: str) -> Config:
    """The configuration in a file's text; ConfigError lists everything that is wrong, `name` being the file's."""
    found: dict[type[Value], Decoded] = {}
    errors: list[Problem] = []
    for tree in read_documents(text, name):
        kind = _kind(tree)
        if isinstance(kind, Problem):
            errors.append(kind)
        elif kind in found:
            errors.append(Problem(tree.at, "", f"a second {kind.__name__}: a file has one"))
        else:
            found[kind] = _sorted_out(decode(tree, kind)) if kind is KubeProxyConfiguration else decode(tree, kind)
    for decoded in found.values():
        errors += decoded.errors
    if not found and not errors:
        raise ConfigError(f"{name}: no configuration in it: {_expected()}")
    main = found.get(KubeProxyConfiguration)
    if main is not None and not main.errors:
        errors += _broken_rules(main)
    if errors:
        raise ConfigError("\n".join(_placed(name, problem) for problem in errors[:MAX_ERRORS]))
    warnings = [problem for decoded in found.values() for problem in decoded.warnings] + _unknown_gates(main)
    values = {kind: decoded.value for kind, decoded in found.items()}
    return Config(
        values.get(KubeProxyConfiguration, KubeProxyConfiguration()),
        values.get(KproxyConfiguration, KproxyConfiguration()),
        tuple(_placed(name, problem) for problem in warnings),
    )


def _placed(name: str, problem: Problem) -> str:
    return f"{name}:{problem.at.line}:{problem.at.column}: {problem.text}"


def _expected() -> str:
    return "it must be " + " or ".join(f"apiVersion: {version}, kind: {kind}" for version, kind in KINDS)


def _kind(tree: Tree) -> type[KubeProxyConfiguration | KproxyConfiguration] | Problem:
    if not isinstance(tree, TreeMapping):
        return Problem(tree.at, "", f"not a configuration: {_expected()}")
    given = {key.text: value for key, value in tree.entries if isinstance(key, Scalar)}
    version, kind = (_text(given.get(name)) for name in ("apiVersion", "kind"))
    known = KINDS.get((version, kind))
    if known is None:
        return Problem(tree.at, "", f"apiVersion {version[:80]!r}, kind {kind[:80]!r} is not known: {_expected()}")
    return known


def _text(tree: Tree | None) -> str:
    return tree.text if isinstance(tree, Scalar) else ""


Rule = tuple[str, Callable[[KubeProxyConfiguration], bool], str]
"""A field's path, when it is wrong, and the reason."""

RULES: tuple[Rule, ...] = (
    ("iptables.minSyncPeriod", lambda c: _gap_too_long(c.iptables), "it must not exceed iptables.syncPeriod"),
    ("nftables.minSyncPeriod", lambda c: _gap_too_long(c.nftables), "it must not exceed nftables.syncPeriod"),
    (
        "ipvs.minSyncPeriod",
        lambda c: c.mode == "ipvs" and _gap_too_long(c.ipvs),
        "it must not exceed ipvs.syncPeriod",
    ),
    (
        "ipvs.scheduler",
        lambda c: c.mode == "ipvs" and c.ipvs.scheduler not in IPVS_SCHEDULERS,
        f"it must be one of {', '.join(IPVS_SCHEDULERS)}",
    ),
    (
        "detectLocal.bridgeInterface",
        lambda c: c.detect_local_mode == LocalDetection.BRIDGE_INTERFACE and not c.detect_local.bridge_interface,
        "detectLocalMode BridgeInterface needs it: the bridge that this node's pods hang on",
    ),
    (
        "detectLocal.interfaceNamePrefix",
        lambda c: (
            c.detect_local_mode == LocalDetection.INTERFACE_NAME_PREFIX and not c.detect_local.interface_name_prefix
        ),
        "detectLocalMode InterfaceNamePrefix needs it: how the names of local pods' interfaces begin",
    ),
)
"""kube-proxy's rules between fields (pkg/proxy/apis/config/validation)."""


def _gap_too_long(section: IPTables | IPVS | NFTables) -> bool:
    return section.min_sync_period_s > section.sync_period_s


def _broken_rules(main: Decoded) -> list[Problem]:
    """The rules that a document breaks, each placed at its field, or at the mode that needs the field."""
    fallback = main.places.get("detectLocalMode", Position(1, 1))
    return [
        Problem(main.places.get(path, fallback), path, f"{path}: {reason}")
        for path, is_broken, reason in RULES
        if is_broken(main.value)
    ]


def _unknown_gates(main: Decoded | None) -> list[Problem]:
    gates = main.value.feature_gates if main else ()
    return [
        Problem(main.places["featureGates"], gate, f"featureGates: {gate[:80]!r} has no effect in kproxy")
        for gate in gates
        if main and gate != EXTERNAL_IPS_GATE
    ]


def _sorted_out(main: Decoded) -> Decoded:
    """The ipvs section counts in ipvs mode only, as in kube-proxy: otherwise what is wrong in it is a warning."""
    mild = tuple(problem for problem in main.errors if problem.path.startswith("ipvs.") and main.value.mode != "ipvs")
    errors = tuple(problem for problem in main.errors if problem not in mild)
    return Decoded(main.value, errors, main.warnings + mild, main.places)
