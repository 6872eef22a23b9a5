"""A Service: wire shape in, model value out, or None when no proxy serves it.

Defaults and refusals are the API server's (Kubernetes 1.36); which fields a
service proxy reads at all is kube-proxy's: `nodePort` counts whatever the
type, `ipMode: Proxy` gives no frontend.
"""

from __future__ import annotations

from collections.abc import Sequence

from kproxy.core import checks, schema
from kproxy.core.checks import HIGHEST_PORT, Invalid, address, chosen, each, quoted, reachable_address
from kproxy.core.model import IPVS_SCHEDULERS, Service, ServicePort, ServiceType, TrafficPolicy
from kproxy.core.values import Family, Network, ObjectKey, Protocol, family_of

HEADLESS = "None"
EXTERNAL_NAME = "ExternalName"
DEFAULT_AFFINITY_S = 10_800
LONGEST_AFFINITY_S = 86_400
LONGEST_DRAIN_DIGITS = 9
UNITS_S = {"s": 1, "m": 60, "h": 3600}

PROTOCOLS: dict[str | None, Protocol] = {None: Protocol.TCP, "": Protocol.TCP, **{str(p): p for p in Protocol}}
FAMILIES: dict[str | None, Family] = {family.label: family for family in Family}
_POLICIES: dict[str | None, TrafficPolicy] = {
    None: TrafficPolicy.CLUSTER,
    "": TrafficPolicy.CLUSTER,
    **{str(policy): policy for policy in TrafficPolicy},
}
_TYPES: dict[str | None, ServiceType | None] = {
    None: ServiceType.CLUSTER_IP,
    "": ServiceType.CLUSTER_IP,
    **{str(kind): kind for kind in ServiceType},
    EXTERNAL_NAME: None,
}
_AFFINITIES: dict[str | None, bool] = {None: False, "": False, "None": False, "ClientIP": True}
_IP_MODES: dict[str | None, bool] = {None: True, "": True, "VIP": True, "Proxy": False}

_NO_SPEC = schema.ServiceSpec()


def parse_service(key: ObjectKey, wire: schema.Service) -> Service | None:
    """The Service, whosever it is; None if it is headless or ExternalName; raises Invalid."""
    metadata = wire.metadata or schema.NO_METADATA
    annotations = metadata.annotations or schema.NO_ANNOTATIONS
    spec = wire.spec or _NO_SPEC
    kind = chosen(_TYPES, spec.type, "spec.type")
    if kind is None or _first_cluster_ip(spec) in ("", HEADLESS):
        return None
    return Service(
        key=key,
        created=checks.timestamp(metadata.creation_timestamp, "metadata.creationTimestamp"),
        type=kind,
        cluster_ips=_cluster_ips(spec),
        external_ips=tuple(dict.fromkeys(each(spec.external_ips, reachable_address, "spec.externalIPs"))),
        load_balancer_ips=_load_balancer_ips(wire.status),
        source_ranges=_source_ranges(spec.load_balancer_source_ranges),
        internal_policy=chosen(_POLICIES, spec.internal_traffic_policy, "spec.internalTrafficPolicy"),
        external_policy=chosen(_POLICIES, spec.external_traffic_policy, "spec.externalTrafficPolicy"),
        affinity_s=_affinity_s(spec),
        health_check_port=checks.optional_port(spec.health_check_node_port, "spec.healthCheckNodePort"),
        ports=_ports(spec.ports),
        tcp_drain_s=_seconds(annotations.tcp_drain),
        scheduler=str(annotations.scheduler) if annotations.scheduler in IPVS_SCHEDULERS else "",
        drain_s=_duration(annotations.drain_timeout),
    )


def _seconds(wish: str | int | None) -> int | None:
    """Whole seconds from 0; anything else is as good as absent: a wish beside the API must not cost the Service."""
    text = "" if wish is None else str(wish)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_DRAIN_DIGITS else None


def _duration(wish: str | int | None) -> int | None:
    """Seconds, as a number or with one unit: `300`, `90s`, `5m`, `1h`; anything else as above."""
    text = "" if wish is None else str(wish)
    number = _seconds(text[:-1] if text[-1:] in UNITS_S else text)
    return None if number is None else number * UNITS_S.get(text[-1:], 1)


def _first_cluster_ip(spec: schema.ServiceSpec) -> str:
    return spec.cluster_ip or (spec.cluster_ips[0] if spec.cluster_ips else "")


def _cluster_ips(spec: schema.ServiceSpec) -> tuple[str, ...]:
    """At most one per family, in the object's order; the API keeps `clusterIPs[0]` equal to `clusterIP`."""
    field = "spec.clusterIPs" if spec.cluster_ips else "spec.clusterIP"
    if spec.cluster_ips:
        found = tuple(each(spec.cluster_ips, address, field))
    else:
        found = (address(_first_cluster_ip(spec), field),)
    if spec.cluster_ips and spec.cluster_ip not in (None, "", spec.cluster_ips[0]):
        raise Invalid(f"{field}[0]", f"{quoted(spec.cluster_ips[0])} must equal clusterIP {quoted(spec.cluster_ip)}")
    families = tuple(each(spec.ip_families, _family, "spec.ipFamilies")) or tuple(map(family_of, found))
    if len(set(families)) != len(families):
        raise Invalid("spec.ipFamilies" if spec.ip_families else field, "holds one family twice; one of each at most")
    if len(found) > len(families):
        raise Invalid(field, f"holds {len(found)} addresses for {len(families)} ipFamilies")
    for index, (ip, family) in enumerate(zip(found, families, strict=False)):
        checks.of_family(ip, family, f"{field}[{index}]" if spec.cluster_ips else field)
    return found


def _family(text: str) -> Family:
    return chosen(FAMILIES, text, "")


def _load_balancer_ips(status: schema.ServiceStatus | None) -> tuple[str, ...]:
    if status is None or status.load_balancer is None or not status.load_balancer.ingress:
        return ()
    return tuple(
        dict.fromkeys(ip for ip in each(status.load_balancer.ingress, _vip, "status.loadBalancer.ingress") if ip)
    )


def _vip(ingress: schema.Ingress) -> str:
    """The address that the node itself must answer for; empty for a host name or ipMode Proxy (KEP-1860)."""
    is_vip = chosen(_IP_MODES, ingress.ip_mode, "ipMode")
    return address(ingress.ip, "ip") if ingress.ip and is_vip else ""


def _source_ranges(texts: Sequence[str] | None) -> tuple[Network, ...] | None:
    """None for everybody: no list, or one that names everything in both families."""
    if not texts:
        return None
    ranges = tuple(dict.fromkeys(each(texts, checks.network, "spec.loadBalancerSourceRanges")))
    everything = {found.version for found in ranges if found.prefixlen == 0}
    if len(everything) == len(Family):
        return None
    return tuple(found for found in ranges if found.prefixlen == 0 or found.version not in everything)


def _affinity_s(spec: schema.ServiceSpec) -> int:
    if not chosen(_AFFINITIES, spec.session_affinity, "spec.sessionAffinity"):
        return 0
    config = spec.session_affinity_config
    client = config.client_ip if config is not None else None
    if client is None or client.timeout_seconds is None:
        return DEFAULT_AFFINITY_S
    field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    return checks.whole_number(client.timeout_seconds, field, 1, LONGEST_AFFINITY_S)


def _ports(wires: Sequence[schema.ServicePort] | None) -> tuple[ServicePort, ...]:
    """The ports; names, (protocol, port) and (protocol, nodePort) are each unique, and several ports all have names."""
    if not wires:
        raise Invalid("spec.ports", "is required: at least one port")
    ports = tuple(each(wires, _port, "spec.ports"))
    if len(ports) > 1:
        _refuse_ambiguous(ports)
    return ports


def _port(wire: schema.ServicePort) -> ServicePort:
    return ServicePort(
        name=checks.dns_label(wire.name, "name") if wire.name else "",
        protocol=chosen(PROTOCOLS, wire.protocol, "protocol"),
        port=checks.whole_number(wire.port, "port", 1, HIGHEST_PORT),
        node_port=checks.optional_port(wire.node_port, "nodePort"),
    )


def _refuse_ambiguous(ports: Sequence[ServicePort]) -> None:
    names: set[str] = set()
    claims: set[tuple[str, Protocol, int]] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        if not port.name:
            raise Invalid(f"{place}.name", "is required when a Service has several ports")
        if port.name in names:
            raise Invalid(f"{place}.name", f"{quoted(port.name)} names an earlier port too")
        names.add(port.name)
        for field, number in (("port", port.port), ("nodePort", port.node_port)):
            claim = (field, port.protocol, number)
            if number and claim in claims:
                raise Invalid(f"{place}.{field}", f"{number}/{port.protocol} is an earlier port's too")
            claims.add(claim)
