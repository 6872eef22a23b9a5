"""KubeProxyConfiguration v1alpha1 and our KproxyConfiguration as types: each field's name, form, default and effect.

Source: k8s.io/kube-proxy/config/v1alpha1 and k8s.io/component-base of Kubernetes 1.36. The types are the table that
reading, error messages and documentation share. A field without an `Effect` is used; the others are accepted and
validated as kube-proxy does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, field

from kproxy.config import forms
from kproxy.core.host import LocalDetection
from kproxy.core.values import Network, Value


class Effect(enum.Enum):
    """What a field that is not used yet does, when it is set."""

    LATER = "accepted, but this version does not act on it yet"
    NONE = "accepted for compatibility; it has no meaning here"


def doc(text: str) -> Meta:
    """A field's description, for the documentation."""
    return Meta(description=text)


Flag = Annotated[bool, forms.FLAG]
MasqueradeBit = Annotated[int, forms.between(0, 31), doc("The bit of the packet mark that says: masquerade.")]
MasqueradeAll = Annotated[bool, forms.FLAG, doc("Masquerade all traffic to ClusterIPs.")]
SyncPeriod = Annotated[float, forms.PERIOD, doc("How often a failed or doubtful sync is tried again.")]
MinSyncPeriod = Annotated[float, forms.TIMEOUT, doc("The least time between two syncs; 0: none, the default here.")]

DEFAULT_SYNC_PERIOD_S = 30.0


class ClientConnection(Value, frozen=True):
    """`clientConnection`: how the API server is reached."""

    kubeconfig: Annotated[str, forms.TEXT, doc("Path of a kubeconfig; empty: in-cluster credentials.")] = ""
    accept_content_types: Annotated[str, forms.TEXT, Effect.NONE] = field(name="acceptContentTypes", default="")
    content_type: Annotated[str, forms.TEXT, Effect.NONE] = field(name="contentType", default="")
    qps: Annotated[float, forms.RATE, Effect.NONE] = 5.0
    burst: Annotated[int, forms.BURST, Effect.NONE] = 10


class TextLogging(Value, frozen=True):
    """`logging.options.text` and `logging.options.json`."""

    split_stream: Annotated[bool, forms.FLAG, Effect.NONE] = field(name="splitStream", default=False)
    info_buffer_size: Annotated[str, forms.QUANTITY, Effect.NONE] = field(name="infoBufferSize", default="0")


class LoggingOptions(Value, frozen=True):
    """`logging.options`."""

    text: TextLogging = TextLogging()
    json: TextLogging = TextLogging()


class VModule(Value, frozen=True):
    """An entry of `logging.vmodule`."""

    file_pattern: Annotated[str, forms.TEXT, Effect.NONE] = field(name="filePattern", default="")
    verbosity: Annotated[int, forms.at_least(0), Effect.NONE] = 0


class Logging(Value, frozen=True):
    """`logging`: the form and amount of the log."""

    format: Annotated[str, forms.one_of("text", "json"), doc("The form of log lines.")] = ""
    flush_frequency_s: Annotated[float, forms.FLUSH_FREQUENCY, Effect.NONE] = field(name="flushFrequency", default=5.0)
    verbosity: Annotated[int, forms.at_least(0), doc("0: events only; 1 and more: details of each sync.")] = 0
    vmodule: Annotated[tuple[VModule, ...], Effect.NONE] = ()
    options: LoggingOptions = LoggingOptions()


class IPTables(Value, frozen=True):
    """`iptables`: of the iptables backend."""

    masquerade_bit: MasqueradeBit = field(name="masqueradeBit", default=14)
    masquerade_all: MasqueradeAll = field(name="masqueradeAll", default=False)
    localhost_node_ports: Annotated[bool, forms.FLAG, doc("Serve NodePorts on IPv4 loopback addresses.")] = field(
        name="localhostNodePorts", default=True
    )
    snat_node_internal_ip: Annotated[bool, forms.FLAG, Effect.LATER] = field(name="snatNodeInternalIP", default=False)
    sync_period_s: SyncPeriod = field(name="syncPeriod", default=DEFAULT_SYNC_PERIOD_S)
    min_sync_period_s: MinSyncPeriod = field(name="minSyncPeriod", default=0.0)


Timeout = Annotated[float, forms.TIMEOUT, doc("0: as the kernel has it.")]


class IPVS(Value, frozen=True):
    """`ipvs`: of the IPVS backend."""

    sync_period_s: SyncPeriod = field(name="syncPeriod", default=DEFAULT_SYNC_PERIOD_S)
    min_sync_period_s: MinSyncPeriod = field(name="minSyncPeriod", default=0.0)
    scheduler: Annotated[
        str, forms.NAME, doc("How virtual servers choose; per Service by annotation kproxy.io/ipvs-scheduler.")
    ] = "rr"
    exclude_cidrs: Annotated[tuple[Annotated[Network, forms.NETWORK], ...], Effect.NONE] = field(
        name="excludeCIDRs", default=()
    )
    strict_arp: Annotated[bool, forms.FLAG, doc("Do not answer ARP for addresses of kproxy-ipvs0.")] = field(
        name="strictARP", default=False
    )
    tcp_timeout_s: Timeout = field(name="tcpTimeout", default=0.0)
    tcp_fin_timeout_s: Timeout = field(name="tcpFinTimeout", default=0.0)
    udp_timeout_s: Timeout = field(name="udpTimeout", default=0.0)


class NFTables(Value, frozen=True):
    """`nftables`: of the nftables backend."""

    masquerade_bit: MasqueradeBit = field(name="masqueradeBit", default=14)
    masquerade_all: MasqueradeAll = field(name="masqueradeAll", default=False)
    sync_period_s: SyncPeriod = field(name="syncPeriod", default=DEFAULT_SYNC_PERIOD_S)
    min_sync_period_s: MinSyncPeriod = field(name="minSyncPeriod", default=0.0)


class Winkernel(Value, frozen=True):
    """`winkernel`: Windows only."""

    network_name: Annotated[str, forms.TEXT, Effect.NONE] = field(name="networkName", default="")
    source_vip: Annotated[str, forms.TEXT, Effect.NONE] = field(name="sourceVip", default="")
    enable_dsr: Annotated[bool, forms.FLAG, Effect.NONE] = field(name="enableDSR", default=False)
    root_hns_endpoint_name: Annotated[str, forms.TEXT, Effect.NONE] = field(name="rootHnsEndpointName", default="")
    forward_health_check_vip: Annotated[bool, forms.FLAG, Effect.NONE] = field(
        name="forwardHealthCheckVip", default=False
    )


class DetectLocal(Value, frozen=True):
    """`detectLocal`: names for the two modes that look at interfaces."""

    bridge_interface: Annotated[str, forms.INTERFACE, doc("The bridge that local pods hang on.")] = field(
        name="bridgeInterface", default=""
    )
    interface_name_prefix: Annotated[str, forms.INTERFACE_PREFIX, doc("How local pods' interfaces begin.")] = field(
        name="interfaceNamePrefix", default=""
    )


class Conntrack(Value, frozen=True):
    """`conntrack`: limits and time-outs of connection tracking."""

    max_per_core: Annotated[
        int, forms.at_least(0), doc("nf_conntrack_max for each processor; 0: as the kernel has it.")
    ] = field(name="maxPerCore", default=32768)
    min: Annotated[int, forms.at_least(0), doc("The least nf_conntrack_max, unless maxPerCore is 0.")] = 131072
    tcp_established_timeout_s: Timeout = field(name="tcpEstablishedTimeout", default=86400.0)
    tcp_close_wait_timeout_s: Timeout = field(name="tcpCloseWaitTimeout", default=3600.0)
    tcp_be_liberal: Annotated[bool, forms.FLAG, doc("Do not drop TCP packets outside the window.")] = field(
        name="tcpBeLiberal", default=False
    )
    udp_timeout_s: Timeout = field(name="udpTimeout", default=0.0)
    udp_stream_timeout_s: Timeout = field(name="udpStreamTimeout", default=0.0)


MODES = ("iptables", "ipvs", "nftables")


class KubeProxyConfiguration(Value, frozen=True):
    """kubeproxy.config.k8s.io/v1alpha1, as kube-proxy reads it on Linux."""

    feature_gates: Annotated[Mapping[str, Flag], doc("AllowServiceExternalIPs is the one that is known.")] = field(
        name="featureGates", default={}
    )
    client_connection: ClientConnection = field(name="clientConnection", default=ClientConnection())
    logging: Logging = Logging()
    hostname_override: Annotated[str, forms.TEXT, doc("This node's name; empty: the machine's hostname.")] = field(
        name="hostnameOverride", default=""
    )
    bind_address: Annotated[str, forms.ADDRESS, doc("This node's primary address, if not 0.0.0.0 or ::.")] = field(
        name="bindAddress",
        default="0.0.0.0",  # noqa: S104 - kube-proxy's default; nothing is bound
    )
    healthz_bind_address: Annotated[
        str, forms.LISTENER, doc("Where /healthz, /livez and /readyz are; empty: port 10256 of every address.")
    ] = field(name="healthzBindAddress", default="")
    metrics_bind_address: Annotated[
        str, forms.LISTENER, doc("Where /metrics is; empty: port 10249 of the loopback address.")
    ] = field(name="metricsBindAddress", default="")
    bind_address_hard_fail: Annotated[
        bool, forms.FLAG, doc("End if an address cannot be bound, instead of trying again every 5 s.")
    ] = field(name="bindAddressHardFail", default=False)
    enable_profiling: Annotated[
        bool, forms.FLAG, doc("Serve /debug on the metrics address even if it is not a loopback one.")
    ] = field(name="enableProfiling", default=False)
    show_hidden_metrics_for_version: Annotated[str, forms.VERSION, Effect.NONE] = field(
        name="showHiddenMetricsForVersion", default=""
    )
    mode: Annotated[str, forms.one_of(*MODES), doc("The backend; empty: the best that this kernel can.")] = ""
    iptables: IPTables = IPTables()
    ipvs: IPVS = IPVS()
    nftables: NFTables = NFTables()
    winkernel: Winkernel = Winkernel()
    detect_local_mode: Annotated[
        str, forms.one_of(*LocalDetection), doc("How a packet's source is known to be a pod.")
    ] = field(name="detectLocalMode", default=LocalDetection.CLUSTER_CIDR.value)
    detect_local: DetectLocal = field(name="detectLocal", default=DetectLocal())
    cluster_cidr: Annotated[tuple[Network, ...], forms.CLUSTER_CIDR, doc("Where pods' addresses come from.")] = field(
        name="clusterCIDR", default=()
    )
    node_port_addresses: Annotated[
        tuple[Annotated[tuple[Network | str, ...], forms.NODE_PORT_ADDRESS], ...],
        doc("Which node addresses take NodePorts; empty: every one (nftables: the primary one)."),
    ] = field(name="nodePortAddresses", default=())
    oom_score_adj: Annotated[
        int, forms.between(-1000, 1000), doc("How soon the kernel ends the agent when memory runs out.")
    ] = field(name="oomScoreAdj", default=-999)
    conntrack: Conntrack = Conntrack()
    config_sync_period_s: Annotated[float, forms.PERIOD, Effect.NONE] = field(name="configSyncPeriod", default=900.0)
    port_range: Annotated[str, forms.PORT_RANGE, Effect.NONE] = field(name="portRange", default="")
    windows_run_as_service: Annotated[bool, forms.FLAG, Effect.NONE] = field(name="windowsRunAsService", default=False)


class EgressMasquerade(Value, frozen=True):
    """`egressMasquerade`: the job of ip-masq-agent."""

    enabled: Annotated[
        bool, forms.FLAG, doc("Connections of pods to the outside leave with the node's address and a random port.")
    ] = False
    non_masquerade_cidrs: Annotated[
        tuple[Annotated[Network, forms.NETWORK], ...],
        doc(
            "Destinations that see the pod's own address, both families. A family of which none is named has the "
            "default: clusterCIDR, the cluster's ServiceCIDRs, and link-local."
        ),
    ] = field(name="nonMasqueradeCIDRs", default=())


class KproxyConfiguration(Value, frozen=True):
    """kproxy.io/v1alpha1: what kube-proxy has no field for; a second document of the same file."""

    reject_unlisted_ports: Annotated[
        bool | None,
        forms.FLAG,
        doc("Reject unlisted ports of ClusterIPs in every backend; left out: as kube-proxy's mode does."),
    ] = field(name="rejectUnlistedPorts", default=None)
    drain_timeout_s: Annotated[
        float,
        forms.TIMEOUT,
        doc("IPVS: how long a leaving TCP endpoint may finish its connections; annotation kproxy.io/drain-timeout."),
    ] = field(name="drainTimeout", default=300.0)
    healthz_bind_address: Annotated[
        str | None, forms.OWN_LISTENER, doc("Overrides healthzBindAddress; empty text opens none.")
    ] = field(name="healthzBindAddress", default=None)
    metrics_bind_address: Annotated[
        str | None, forms.OWN_LISTENER, doc("Overrides metricsBindAddress; empty text opens none.")
    ] = field(name="metricsBindAddress", default=None)
    instance: Annotated[
        str,
        forms.INSTANCE,
        doc("Serve the Services whose label service-proxy-name is this, beside the agents of other names on the node."),
    ] = ""
    egress_masquerade: EgressMasquerade = field(name="egressMasquerade", default=EgressMasquerade())


KINDS: Mapping[tuple[str, str], type[KubeProxyConfiguration | KproxyConfiguration]] = {
    ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"): KubeProxyConfiguration,
    ("kproxy.io/v1alpha1", "KproxyConfiguration"): KproxyConfiguration,
}
