"""What lint reads of an object beside the model: fields that a service proxy ignores, and that people write anyway.

Rules kept: nothing is judged here; what does not fit these shapes is None, for then the model's parser has said why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kproxy.core.parse_service import FAMILIES
from kproxy.core.values import Family, Value

LINT_IGNORE_ANNOTATION = "kproxy.io/lint-ignore"
NO_ADDRESS = ("", None)


class Wire(Value, frozen=True, rename="camel"):
    """The base of the shapes; camelCase is the API's spelling."""


class Metadata(Wire, frozen=True):
    """`metadata`, with all labels and annotations."""

    labels: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None


class Spec(Wire, frozen=True):
    """`spec` of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    external_name: str | None = None
    external_ips: list[str] | None = msgspec.field(default=None, name="externalIPs")
    selector: dict[str, Any] | None = None
    publish_not_ready_addresses: bool | None = None
    traffic_distribution: str | None = None
    session_affinity: str | None = None
    session_affinity_config: dict[str, Any] | None = None
    load_balancer_source_ranges: list[str] | None = None


class Written(Wire, frozen=True):
    """An object as it is written; `spec` is read of Services only."""

    metadata: Metadata | None = None
    spec: Spec | None = None

    @property
    def annotations(self) -> Mapping[str, Any]:
        """Its annotations, as they are written."""
        return (self.metadata.annotations if self.metadata else None) or {}

    @property
    def labels(self) -> Mapping[str, Any]:
        """Its labels."""
        return (self.metadata.labels if self.metadata else None) or {}

    @property
    def ignored_codes(self) -> frozenset[str]:
        """The codes of checks that its author does not want to hear of."""
        return frozenset(str(self.annotations.get(LINT_IGNORE_ANNOTATION, "")).replace(",", " ").split())


class _Marked(Wire, frozen=True):
    metadata: Metadata | None = None


_SERVICE = msgspec.json.Decoder(Written)
_OTHER = msgspec.json.Decoder(_Marked)
STAND_INS: Mapping[Family, int] = {Family.IPV4: 0xF000_0000, Family.IPV6: 0x0100 << 112}
"""The bases of addresses that nobody has: class E, and the discard-only prefix 100::/64 (RFC 6666)."""


def read_written(raw: bytes | msgspec.Raw, *, is_service: bool) -> Written | None:
    """The object of some JSON; None if it has not this shape."""
    try:
        if is_service:
            return _SERVICE.decode(raw)
        return Written(_OTHER.decode(raw).metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_unassigned(written: Written) -> bool:
    """Whether a Service waits for the API server to give it a ClusterIP."""
    spec = written.spec
    if spec is None or spec.type == "ExternalName":
        return False
    return spec.cluster_ip in NO_ADDRESS and not spec.cluster_ips


def wanted_families(spec: Spec) -> tuple[Family, ...]:
    """The families that an unassigned Service will get, as far as it says; IPv4 where it leaves that to the cluster."""
    named = tuple(FAMILIES[text] for text in dict.fromkeys(spec.ip_families or ()) if text in FAMILIES)
    if spec.ip_family_policy in ("RequireDualStack", "PreferDualStack"):
        return tuple(dict.fromkeys((*named, *Family)))
    return named[:2] or (Family.IPV4,)


def with_addresses(raw: bytes | msgspec.Raw, addresses: Sequence[str]) -> bytes:
    """The JSON of an unassigned Service as if the API server had given it these ClusterIPs."""
    document = msgspec.json.decode(raw)
    document["spec"] = {
        **document["spec"],
        "clusterIP": addresses[0],
        "clusterIPs": list(addresses),
        "ipFamilies": ["IPv6" if ":" in one else "IPv4" for one in addresses],
    }
    return msgspec.json.encode(document)
