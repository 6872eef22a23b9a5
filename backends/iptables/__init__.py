"""The iptables backend: chains, written by iptables-restore.

`names`, `words`, `naming`, `tree`, `leaves`, `chains`, `base` and `compile` make the
Document; `render`, `parse`, `matches` and `trace` read and write it;
`kernel` is the door. Only the door starts programs, and it is
imported when it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import Host, Traits
from kproxy.core.instance import DEFAULT, Instance
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family
from kproxy.ports import Backend, Compiled, Kernel, Subject

if TYPE_CHECKING:
    from backends.iptables.naming import Naming


class IptablesBackend:
    """The verbs of `kproxy.ports.Backend` and `Instanced`, each in its own module."""

    name = "iptables"
    traits = Traits(
        unlisted=Unlisted.PASS,
        unallocated=Unallocated.PASS,
        accepts_health_checks=True,
        node_ports_default=(),
        loopback_needs_listing=False,
    )

    def __init__(self, instance: Instance = DEFAULT) -> None:
        self._prefix = instance.chain_prefix

    def of(self, instance: Instance) -> Backend:
        """With the instance's chains; see `naming`."""
        return IptablesBackend(instance)

    @property
    def _naming(self) -> Naming:
        from backends.iptables.naming import Naming  # noqa: PLC0415 - only what is used is loaded

        return Naming(self._prefix)

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        """The Document for a plan; see `compile`."""
        from backends.iptables.compile import compile_plan  # noqa: PLC0415 - only what is used is loaded

        return compile_plan(plan, previous)

    def render(self, documents: Mapping[Family, Document]) -> str:
        """Input for iptables-restore and ip6tables-restore; see `render`."""
        from backends.iptables.render import render  # noqa: PLC0415 - as above

        return self._naming.exchanged(render(documents))

    def render_change(self, family: Family, change: Change) -> str:  # noqa: ARG002 - rules name their own
        """A change, rule by rule; see `render`."""
        from backends.iptables.render import render_change  # noqa: PLC0415 - as above

        return self._naming.shown(render_change(change))

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:  # noqa: ARG002 - a chain's name says all
        """A chain of ours, or our jumps in a built-in one."""
        from kproxy.core.chains import subject_of  # noqa: PLC0415 - as above

        kind, name = subject_of(key)
        return Subject(kind, self._naming.shown(name))

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:  # noqa: ARG002 - as above
        """The packet's way through the rules; see `trace`."""
        from backends.iptables.trace import trace  # noqa: PLC0415 - as above

        return self._naming.shown_trace(trace(document, packet, host))

    def open(self, family: Family) -> Kernel:
        """The door to this kernel's tables; see `kernel`."""
        from backends.iptables.kernel import open_kernel  # noqa: PLC0415 - as above

        return open_kernel(family, naming=self._naming)


BACKEND: Backend = IptablesBackend()
