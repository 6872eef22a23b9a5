"""The iptables backend: chains, written by iptables-restore.

`names`, `words`, `tree`, `leaves`, `chains`, `base` and `compile` make the
Document; `render`, `parse`, `matches` and `trace` read and write it;
`kernel` is the door. Only the door starts programs, and it is
imported when it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping

from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import Host, Traits
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family
from kproxy.ports import Backend, Compiled, Kernel, Subject


class IptablesBackend:
    """The verbs of `kproxy.ports.Backend`, each in its own module."""

    name = "iptables"
    traits = Traits(
        unlisted=Unlisted.PASS,
        unallocated=Unallocated.PASS,
        accepts_health_checks=True,
        node_ports_default=(),
        loopback_needs_listing=False,
    )

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        """The Document for a plan; see `compile`."""
        from backends.iptables.compile import compile_plan  # noqa: PLC0415 - only what is used is loaded

        return compile_plan(plan, previous)

    def render(self, documents: Mapping[Family, Document]) -> str:
        """Input for iptables-restore and ip6tables-restore; see `render`."""
        from backends.iptables.render import render  # noqa: PLC0415 - as above

        return render(documents)

    def render_change(self, family: Family, change: Change) -> str:  # noqa: ARG002 - rules name their own
        """A change, rule by rule; see `render`."""
        from backends.iptables.render import render_change  # noqa: PLC0415 - as above

        return render_change(change)

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:  # noqa: ARG002 - a chain's name says all
        """A chain of ours, or our jumps in a built-in one."""
        from kproxy.core.chains import subject_of  # noqa: PLC0415 - as above

        return Subject(*subject_of(key))

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:  # noqa: ARG002 - as above
        """The packet's way through the rules; see `trace`."""
        from backends.iptables.trace import trace  # noqa: PLC0415 - as above

        return trace(document, packet, host)

    def open(self, family: Family) -> Kernel:
        """The door to this kernel's tables; see `kernel`."""
        from backends.iptables.kernel import open_kernel  # noqa: PLC0415 - as above

        return open_kernel(family)


BACKEND: Backend = IptablesBackend()
