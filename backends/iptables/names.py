"""How our tables, chains and lists are called.

Every chain of ours begins with `KPROXY-`; nothing else is ever read as ours,
changed or removed. A chain name has at most 28 characters
(XT_EXTENSION_MAXNAMELEN less the kernel's own), so what does not fit is hashed.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from kproxy.core.chains import PREFIX, ChainId
from kproxy.core.values import ObjectKey, Protocol

NAT: Final = "nat"
FILTER: Final = "filter"


SERVICES: Final = ChainId(NAT, "KPROXY-SERVICES")
VIPS: Final = ChainId(NAT, "KPROXY-VIPS")
NODE_PORTS: Final = ChainId(NAT, "KPROXY-NODEPORTS")
POSTROUTING: Final = ChainId(NAT, "KPROXY-POSTROUTING")
MASQUERADE: Final = ChainId(NAT, "KPROXY-MASQUERADE")
HAIRPIN: Final = ChainId(NAT, "KPROXY-HAIRPIN")
INPUT: Final = ChainId(FILTER, "KPROXY-INPUT")
FORWARD: Final = ChainId(FILTER, "KPROXY-FORWARD")
OUTPUT: Final = ChainId(FILTER, "KPROXY-OUTPUT")
REFUSED: Final = ChainId(FILTER, "KPROXY-REFUSED")
REFUSED_NODE_PORTS: Final = ChainId(FILTER, "KPROXY-NODEPORTS")
UNSERVED: Final = ChainId(FILTER, "KPROXY-UNSERVED")
UNLISTED: Final = ChainId(FILTER, "KPROXY-UNLISTED")
HEALTH_CHECKS: Final = ChainId(FILTER, "KPROXY-HEALTH")

HOOKS: Final = {
    ChainId(NAT, "PREROUTING"): SERVICES,
    ChainId(NAT, "OUTPUT"): SERVICES,
    ChainId(NAT, "POSTROUTING"): POSTROUTING,
    ChainId(FILTER, "INPUT"): INPUT,
    ChainId(FILTER, "FORWARD"): FORWARD,
    ChainId(FILTER, "OUTPUT"): OUTPUT,
}
"""Which chain of ours a built-in chain jumps to."""

READABLE_TREE_BITS: Final = 50
"""An IPv4 address, protocol and port; longer prefixes (IPv6) are hashed."""


def digest(text: str) -> str:
    """16 characters that stand for a text: 80 bits of its SHA-256, in base32 as kube-proxy's are."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()


def port_digest(service: ObjectKey, port: str, protocol: Protocol) -> str:
    """The common part of the names of a Service port's chains."""
    return digest(f"{service.namespace}/{service.name}:{port}/{protocol}")


def port_chain(kind: str, of: str) -> str:
    """`KPROXY-SVC-…`: a chain of the Service port whose digest is `of`."""
    return f"{PREFIX}{kind}-{of}"


def tree_chain(letter: str, value: int, bits: int) -> str:
    """The chain of a tree for keys whose first `bits` bits are `value`: `KPROXY-V-0a6001-24` for 10.96.1.0/24."""
    padding = -bits % 4
    tail = f"{value << padding:0{(bits + padding) // 4}x}-{bits}"
    return f"{PREFIX}{letter}-{tail if bits <= READABLE_TREE_BITS else digest(tail)}"
