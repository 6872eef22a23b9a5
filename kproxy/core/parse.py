"""The only door from API objects to model values: JSON bytes or decoded shapes in, validated values out.

Three outcomes, and no fourth whatever comes in: a value; None for an object
that is deliberately not ours; ParseError, which names the object, the field
and the value met, so that the object is skipped and the rest keeps working.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from kproxy.core import checks, schema
from kproxy.core.checks import Invalid, each, quoted
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.model import NO_NAMESPACE, EndpointSlice, Kind, KubeObject, Node, ServiceCIDR
from kproxy.core.parse_service import parse_service
from kproxy.core.parse_slice import parse_slice, slices_from_endpoints
from kproxy.core.values import Network, ObjectKey
from kproxy.errors import ParseError

DEFAULT_NAMESPACE = "default"
ENDPOINTS = "Endpoints"
NAMESPACED = frozenset({str(Kind.SERVICE), str(Kind.ENDPOINT_SLICE), ENDPOINTS})

Shape = schema.Service | schema.EndpointSlice | schema.Node | schema.ServiceCIDR

SHAPES: Mapping[str, type[Shape | schema.Endpoints]] = {
    Kind.SERVICE: schema.Service,
    Kind.ENDPOINT_SLICE: schema.EndpointSlice,
    Kind.NODE: schema.Node,
    Kind.SERVICE_CIDR: schema.ServiceCIDR,
    ENDPOINTS: schema.Endpoints,
}
_DECODERS = {kind: msgspec.json.Decoder(shape) for kind, shape in SHAPES.items()}
_NAME_DECODER = msgspec.json.Decoder(schema.Named)
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_FAULT = re.compile(r"(?P<reason>.*?)(?: - at `(?P<key>key` in `)?\$\.?(?P<field>.*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<wanted>[a-z]+)")
_WORDS = {
    "int": "a whole number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of fields",
}


def decode_object(kind: Kind, raw: bytes | msgspec.Raw, instance: Instance = DEFAULT) -> KubeObject | None:
    """One object of the API's JSON; None if it is not this instance's to serve; raises ParseError."""
    return parse_object(kind, decode(kind, raw), instance)


def decode_key(kind: str, raw: bytes | msgspec.Raw) -> ObjectKey | None:
    """The key of an object that may be unreadable otherwise; None if not even its name can be read."""
    try:
        return _key(kind, _NAME_DECODER.decode(raw).metadata)
    except (Invalid, *_MALFORMED):
        return None


def parse_object(kind: Kind, wire: Shape, instance: Instance = DEFAULT) -> KubeObject | None:
    """The model value of a decoded shape; None if it is not this instance's to serve; raises ParseError."""
    try:
        key = _key(kind, wire.metadata)
        return _PARSERS[kind](key, wire) if kind is not Kind.SERVICE or _serves(instance, wire) else None
    except Invalid as error:
        raise ParseError(name_of(kind, wire.metadata), error.field, error.reason) from None


def _serves(instance: Instance, wire: Shape) -> bool:
    labels = (wire.metadata or schema.NO_METADATA).labels
    return instance.serves(labels.proxy_name if labels is not None else UNSET)


def parse_endpoints(wire: schema.Endpoints) -> tuple[EndpointSlice, ...]:
    """The slices that an old Endpoints object stands for; raises ParseError."""
    try:
        return slices_from_endpoints(_key(ENDPOINTS, wire.metadata), wire)
    except Invalid as error:
        raise ParseError(name_of(ENDPOINTS, wire.metadata), error.field, error.reason) from None


def decode(kind: str, raw: bytes | msgspec.Raw) -> Any:  # noqa: ANN401 - the shape of `kind`, see SHAPES
    """JSON to the shape of a kind; raises ParseError with the place and value of what does not fit."""
    try:
        return _DECODERS[kind].decode(raw)
    except _MALFORMED as error:
        fault = error
    try:
        document = msgspec.json.decode(raw)
    except _MALFORMED:
        raise ParseError(name_of(kind, None), "", f"is not readable as JSON: {fault}") from None
    raise misfit(kind, document, fault) from None


def convert(kind: str, document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the shape of `kind`, see SHAPES
    """A decoded document (of YAML, say) to the shape of a kind; raises ParseError like `decode`."""
    try:
        return msgspec.convert(document, SHAPES[kind])
    except (msgspec.ValidationError, RecursionError) as error:
        raise misfit(kind, document, error) from None


def misfit(kind: str, document: object, fault: Exception) -> ParseError:
    """Why a document does not have a kind's shape, from msgspec's message and the value at its place."""
    match = _FAULT.fullmatch(str(fault))
    reason, field = (match["reason"], match["field"] or "") if match else (str(fault), "")
    expected = _EXPECTED.match(reason)
    if match and match["key"]:
        reason = "has a field name that is not text"
    elif expected and expected["wanted"] in _WORDS:
        value = _value_at(document, field)
        remedy = "; put it in quotes" if expected["wanted"] == "str" and isinstance(value, int | float) else ""
        reason = f"{quoted(value)} is not {_WORDS[expected['wanted']]}{remedy}"
    return ParseError(_name_in(kind, document), field, reason)


def _value_at(document: object, field: str) -> object:
    value = document
    for name, index in re.findall(r"([^.\[\]]+)|\[([0-9]+)\]", field):
        try:
            value = value[int(index)] if index else value[name]  # type: ignore[index]  # the path comes from msgspec
        except (TypeError, LookupError):
            return None
    return value


def _name_in(kind: str, document: object) -> str:
    """The name of an object of the wrong shape, as far as it has one."""
    found = document.get("metadata") if isinstance(document, dict) else None
    texts = {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
    return name_of(kind, schema.Metadata(name=texts.get("name"), namespace=texts.get("namespace")))


def name_of(kind: str, metadata: schema.Metadata | None) -> str:
    """What messages call an object: `Service shop/cart`; a hostile name is quoted."""
    metadata = metadata or schema.NO_METADATA
    if not metadata.name:
        return f"{kind} (unnamed)"
    try:
        key = _key(kind, metadata)
    except Invalid:
        return f"{kind} {quoted(metadata.name)}"
    return f"{kind} {key}" if key.namespace else f"{kind} {key.name}"


def _key(kind: str, metadata: schema.Metadata | None) -> ObjectKey:
    metadata = metadata or schema.NO_METADATA
    if not metadata.name:
        raise Invalid("metadata.name", "is required")
    if kind not in NAMESPACED:
        return ObjectKey(NO_NAMESPACE, checks.dns_subdomain(metadata.name, "metadata.name"))
    is_service = kind in (Kind.SERVICE, ENDPOINTS)
    check = checks.dns_label if is_service else checks.dns_subdomain
    namespace = metadata.namespace or DEFAULT_NAMESPACE
    return ObjectKey(checks.namespace(namespace, "metadata.namespace"), check(metadata.name, "metadata.name"))


def _parse_node(key: ObjectKey, wire: schema.Node) -> Node:
    metadata = wire.metadata or schema.NO_METADATA
    zone = metadata.labels.zone if metadata.labels is not None else None
    addresses = each(wire.status.addresses if wire.status is not None else None, _node_address, "status.addresses")
    by_type = [found for found in addresses if found[0] in _NODE_ADDRESS_TYPES]
    by_type.sort(key=lambda found: _NODE_ADDRESS_TYPES.index(found[0]))
    return Node(
        name=key.name,
        addresses=tuple(dict.fromkeys(ip for _, ip in by_type)),
        pod_cidrs=_pod_cidrs(wire.spec) if wire.spec is not None else (),
        zone=checks.label_value(zone, f"metadata.labels[{schema.ZONE_LABEL}]") if zone else "",
        leaving=bool(metadata.deletion_timestamp) or _is_tainted(wire.spec),
    )


def _is_tainted(spec: schema.NodeSpec | None) -> bool:
    """Whether the cluster autoscaler has announced to take the node away."""
    return any(taint.key == schema.AUTOSCALER_TAINT for taint in (spec.taints if spec else None) or ())


def _pod_cidrs(spec: schema.NodeSpec) -> tuple[Network, ...]:
    """`podCIDRs`, or the older `podCIDR` alone."""
    if spec.pod_cidrs:
        return tuple(each(spec.pod_cidrs, checks.network, "spec.podCIDRs"))
    return (checks.network(spec.pod_cidr, "spec.podCIDR"),) if spec.pod_cidr else ()


_NODE_ADDRESS_TYPES = ("InternalIP", "ExternalIP")


def _node_address(wire: schema.NodeAddress) -> tuple[str, str]:
    kind, text = wire.type or "", wire.address or ""
    return kind, checks.address(text, "address") if kind in _NODE_ADDRESS_TYPES else text


def _parse_service_cidr(key: ObjectKey, wire: schema.ServiceCIDR) -> ServiceCIDR:
    cidrs = wire.spec.cidrs if wire.spec is not None else None
    if not cidrs:
        raise Invalid("spec.cidrs", "is required: at least one CIDR")
    return ServiceCIDR(name=key.name, cidrs=tuple(each(cidrs, checks.network, "spec.cidrs")))


_PARSERS: Mapping[Kind, Callable[[ObjectKey, Any], KubeObject | None]] = {
    Kind.SERVICE: parse_service,
    Kind.ENDPOINT_SLICE: parse_slice,
    Kind.NODE: _parse_node,
    Kind.SERVICE_CIDR: _parse_service_cidr,
}
