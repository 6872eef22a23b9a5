"""Walks a Document as the kernel would walk its rules."""

from __future__ import annotations

from kproxy.core.document import Document
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import Host
from kproxy.core.values import Family


def trace(family: Family, document: Document, packet: Packet, host: Host) -> Trace:
    """Stub."""
    raise NotImplementedError
