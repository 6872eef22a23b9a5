"""An EndpointSlice, or an old Endpoints object: wire shape in, model values out.

As kube-proxy reads them: only an endpoint's first address counts, a port
without a number is skipped, absent conditions mean ready, serving and not
terminating (so the API's own text in Kubernetes 1.34).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from kproxy.core import checks, schema
from kproxy.core.checks import Invalid, chosen, each, quoted
from kproxy.core.model import EndpointSlice, SliceEndpoint, SlicePort
from kproxy.core.parse_service import FAMILIES, PROTOCOLS
from kproxy.core.values import Family, ObjectKey, family_of

_ADDRESS_TYPES: dict[str | None, Family | None] = {**FAMILIES, "FQDN": None}
_NO_CONDITIONS = schema.Conditions()


def parse_slice(key: ObjectKey, wire: schema.EndpointSlice) -> EndpointSlice | None:
    """The slice; None if it is headless, of type FQDN or no Service's; raises Invalid."""
    labels = wire.metadata.labels if wire.metadata is not None else None
    if labels is None or not labels.service_name or labels.headless is not UNSET:
        return None
    family = chosen(_ADDRESS_TYPES, wire.address_type, "addressType")
    if family is None:
        return None
    service = checks.dns_label(labels.service_name, f"metadata.labels[{schema.SERVICE_NAME_LABEL}]")
    return EndpointSlice(
        key=key,
        service=ObjectKey(key.namespace, service),
        family=family,
        ports=slice_ports(wire.ports),
        endpoints=tuple(each(wire.endpoints, _ENDPOINT_PARSERS[family], "endpoints")),
    )


def slice_ports(wires: Sequence[schema.Port] | None) -> tuple[SlicePort, ...]:
    """The ports with a number; raises Invalid at `ports[…]` when two have one name."""
    ports = tuple(port for port in each(wires, _port, "ports") if port is not None)
    names = [port.name for port in ports]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid("ports", f"two ports are named {quoted(twice)}; names must differ")
    return ports


def _port(wire: schema.Port) -> SlicePort | None:
    if not wire.port:
        return None
    return SlicePort(
        name=checks.dns_label(wire.name, "name") if wire.name else "",
        protocol=chosen(PROTOCOLS, wire.protocol, "protocol"),
        port=checks.optional_port(wire.port, "port"),
    )


def _endpoint_ipv4(wire: schema.SliceEndpoint) -> SliceEndpoint:
    return _endpoint(wire, Family.IPV4)


def _endpoint_ipv6(wire: schema.SliceEndpoint) -> SliceEndpoint:
    return _endpoint(wire, Family.IPV6)


_ENDPOINT_PARSERS = {Family.IPV4: _endpoint_ipv4, Family.IPV6: _endpoint_ipv6}


def _endpoint(wire: schema.SliceEndpoint, family: Family) -> SliceEndpoint:
    if not wire.addresses:
        raise Invalid("addresses", "is required: at least one address")
    address = checks.reachable_address(wire.addresses[0], "addresses[0]")
    conditions = wire.conditions or _NO_CONDITIONS
    hints = wire.hints
    return SliceEndpoint(
        address=checks.of_family(address, family, "addresses[0]"),
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        node=checks.node_name(wire.node_name, "nodeName") if wire.node_name else "",
        zone_hints=tuple(each(hints.for_zones, _zone_hint, "hints.forZones")) if hints is not None else (),
        node_hints=tuple(each(hints.for_nodes, _node_hint, "hints.forNodes")) if hints is not None else (),
    )


def _zone_hint(wire: schema.Hint) -> str:
    return checks.label_value(wire.name or "", "name")


def _node_hint(wire: schema.Hint) -> str:
    return checks.node_name(wire.name or "", "name")


def slices_from_endpoints(key: ObjectKey, wire: schema.Endpoints) -> tuple[EndpointSlice, ...]:
    """The slices that an old Endpoints object stands for: one per subset and family; raises Invalid.

    Addresses that are not ready neither serve nor terminate. Headless ones give none.
    """
    labels = wire.metadata.labels if wire.metadata is not None else None
    if labels is not None and labels.headless is not UNSET:
        return ()
    found: list[EndpointSlice] = []
    for index, subset in enumerate(wire.subsets or ()):
        try:
            found.extend(_subset(key, index, subset))
        except Invalid as error:
            raise error.within(f"subsets[{index}]") from None
    return tuple(found)


def _subset(service: ObjectKey, index: int, subset: schema.Subset) -> tuple[EndpointSlice, ...]:
    ports = slice_ports(subset.ports)
    endpoints = (
        *each(subset.addresses, _ready_address, "addresses"),
        *each(subset.not_ready_addresses, _unready_address, "notReadyAddresses"),
    )
    members = {family: tuple(e for e in endpoints if family_of(e.address) is family) for family in Family}
    return tuple(
        EndpointSlice(
            key=ObjectKey(service.namespace, f"{service.name}-endpoints-{index}-{family.label.lower()}"),
            service=service,
            family=family,
            ports=ports,
            endpoints=of_family,
        )
        for family, of_family in members.items()
        if of_family
    )


def _ready_address(wire: schema.SubsetAddress) -> SliceEndpoint:
    return _subset_endpoint(wire, ready=True)


def _unready_address(wire: schema.SubsetAddress) -> SliceEndpoint:
    return _subset_endpoint(wire, ready=False)


def _subset_endpoint(wire: schema.SubsetAddress, *, ready: bool) -> SliceEndpoint:
    return SliceEndpoint(
        address=checks.reachable_address(wire.ip or "", "ip"),
        ready=ready,
        serving=ready,
        terminating=False,
        node=checks.node_name(wire.node_name, "nodeName") if wire.node_name else "",
        zone_hints=(),
        node_hints=(),
    )
