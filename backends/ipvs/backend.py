"""The backend as the agent sees it: its traits, its pure half, and the way to its door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import Host, Traits
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family, Value
from kproxy.ports import Backend, Compiled, Kernel, Subject

TRAITS: Final = Traits(
    unlisted=Unlisted.REJECT,
    unallocated=Unallocated.PASS,
    accepts_health_checks=True,
    node_ports_default=(),
    loopback_needs_listing=True,
)


class IpvsBackend(Value, frozen=True):
    """See kproxy.ports.Backend; what is not used is not loaded."""

    name: str = "ipvs"
    traits: Traits = TRAITS

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        """The Document for a plan."""
        from backends.ipvs.compile import compile_plan  # noqa: PLC0415 - only what is used is loaded

        return compile_plan(plan, previous)

    def render(self, documents: Mapping[Family, Document]) -> str:
        """Input for ip, ipset, ipvsadm and iptables-restore."""
        from backends.ipvs.render import render  # noqa: PLC0415 - as above

        return render(documents)

    def render_change(self, family: Family, change: Change) -> str:
        """A change line by line."""
        from backends.ipvs.render import render_change  # noqa: PLC0415 - as above

        return render_change(family, change)

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:  # noqa: ARG002 - the id says all
        """By its type; a chain as the iptables backend has it."""
        from backends.ipvs.objects import subject_of  # noqa: PLC0415 - as above

        return Subject(*subject_of(key))

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:
        """Walk the rules, the sets and the virtual servers as the kernel would."""
        from backends.ipvs.trace import trace  # noqa: PLC0415 - as above

        return trace(family, document, packet, host)

    def open(self, family: Family) -> Kernel:
        """The door to this family; UnsupportedHost if this kernel cannot, or a program is missing."""
        from backends.ipvs.probe import open_kernel  # noqa: PLC0415 - as above

        return open_kernel(family)


BACKEND: Final[Backend] = IpvsBackend()
