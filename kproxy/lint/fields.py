"""Fields that an object is written with and that its API does not have: nobody reads them, and a default counts.

Rules kept: only the parts that a proxy reads are judged (Service v1, EndpointSlice v1); metadata is left to others.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from kproxy.core.checks import quoted
from kproxy.core.model import Kind
from kproxy.lint.finding import Check, Found, Severity
from kproxy.lint.subject import Subject

_OBJECT: Final = "apiVersion kind metadata"
KNOWN: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    kind: {place: frozenset(names.split()) for place, names in places.items()}
    for kind, places in {
        Kind.SERVICE: {
            "": f"{_OBJECT} spec status",
            "spec": "allocateLoadBalancerNodePorts clusterIP clusterIPs externalIPs externalName externalTrafficPolicy"
            " healthCheckNodePort internalTrafficPolicy ipFamilies ipFamilyPolicy loadBalancerClass loadBalancerIP"
            " loadBalancerSourceRanges ports publishNotReadyAddresses selector sessionAffinity sessionAffinityConfig"
            " trafficDistribution type",
            "spec.ports[]": "appProtocol name nodePort port protocol targetPort",
            "spec.sessionAffinityConfig": "clientIP",
            "spec.sessionAffinityConfig.clientIP": "timeoutSeconds",
        },
        Kind.ENDPOINT_SLICE: {
            "": f"{_OBJECT} addressType endpoints ports",
            "ports[]": "appProtocol name port protocol",
            "endpoints[]": "addresses conditions deprecatedTopology hints hostname nodeName targetRef zone",
            "endpoints[].conditions": "ready serving terminating",
            "endpoints[].hints": "forNodes forZones",
        },
    }.items()
}
"""By kind and place, what the API of Kubernetes 1.36 has there."""
ITEM: Final = re.compile(r"\[\d+\]")


def unknown_fields(kind: str, raw: bytes | msgspec.Raw) -> tuple[tuple[str, str], ...]:
    """The place and name of every field of an object's JSON that its kind has not; none where it cannot be read."""
    places = KNOWN.get(kind)
    if places is None:
        return ()
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(_unknown(document, "", "", places))


def _unknown(value: Any, place: str, path: str, places: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    """`place` is as the table has it, `path` with the numbers of items."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            if not isinstance(item, list):
                yield from _unknown(item, f"{place}[]", f"{path}[{index}]", places)
    elif isinstance(value, dict) and place in places:
        for name, part in value.items():
            if name not in places[place]:
                yield path, name
            else:
                yield from _unknown(part, f"{place}.{name}".lstrip("."), f"{path}.{name}".lstrip("."), places)


def _misspelt(subject: Subject) -> Iterator[Found]:
    for ref, fields in subject.unknown_fields.items():
        for path, name in fields:
            known = KNOWN[ref.kind][ITEM.sub("[]", path)]
            near = difflib.get_close_matches(name, known, n=1)
            field = f"{path}.{name}".lstrip(".")
            hint = f"write {near[0]}" if near else ""
            asked = f"; did you mean {near[0]}?" if near else ""
            yield Found(ref, field, "", f"{quoted(name)} is no field of {ref.kind}{asked}", hint)


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX080",
        Severity.WARNING,
        "unknown field",
        "Nothing reads a field that the API does not have, and what it was to say is left at its default: an"
        " externalTrafficPolicy with a letter too few is Cluster. An API server drops such a field, with a warning at"
        " most.",
        "correct or remove the field",
        _misspelt,
    ),
)
