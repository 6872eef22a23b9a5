"""The backend as the agent sees it: its traits, its pure half, and the way to its door."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Final

from backends.nftables.compile import compile_plan
from backends.nftables.encode import SUBSYSTEM, addressed, requests
from backends.nftables.kernel import NftablesKernel, reason
from backends.nftables.objects import TABLE_ID, TABLE_NAME
from backends.nftables.probe import probe_changes
from backends.nftables.render import describe, render, render_change
from backends.nftables.trace import trace
from kproxy.core.document import Change, Content, Document, ObjectId
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import PRIMARY, Host, Traits
from kproxy.core.instance import Instance
from kproxy.core.plan import NodePlan, Unallocated, Unlisted
from kproxy.core.values import Family, Value
from kproxy.effects import only_reading
from kproxy.effects.netlink import NetlinkSocket
from kproxy.errors import UnsupportedHost
from kproxy.ports import Compiled, Subject

TRAITS: Final = Traits(
    unlisted=Unlisted.REJECT,
    unallocated=Unallocated.DROP,
    accepts_health_checks=False,
    node_ports_default=(PRIMARY,),
    loopback_needs_listing=True,
)


class NftablesBackend(Value, frozen=True):
    """See kproxy.ports.Backend, and Instanced."""

    name: str = "nftables"
    traits: Traits = TRAITS
    table: str = TABLE_NAME

    def of(self, instance: Instance) -> NftablesBackend:
        """With the instance's table; Documents are the same for all of them."""
        return NftablesBackend(self.name, self.traits, instance.table)

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        """The Document for a plan."""
        return compile_plan(plan, previous)

    def render(self, documents: Mapping[Family, Document]) -> str:
        """Input for `nft -f -`."""
        return render(documents, self.table)

    def render_change(self, family: Family, change: Change) -> str:
        """A change line by line."""
        return render_change(family, change, self.table)

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:
        """Of an element also what it leads to."""
        if isinstance(key, bytes):
            return Subject("element", describe(family, key, content)[0].removeprefix("element "))
        kind, _, name = str(key).partition(" ")
        return Subject(kind, self.table if key == TABLE_ID else name)

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:
        """Walk the Document's rules as the kernel would."""
        return trace(family, document, packet, host, self.table)

    def open(self, family: Family) -> NftablesKernel:
        """The door to this family's table; UnsupportedHost if this kernel cannot hold it, unless one only reads."""
        if not only_reading.is_held() and (problem := self.probe(family)):
            raise UnsupportedHost(problem)
        return NftablesKernel(family, NetlinkSocket(), self.table)

    def probe(self, family: Family) -> str:
        """What keeps this kernel from running us, in words; empty if nothing does.

        A batch with everything that we use is validated by the kernel and never
        committed; nothing is looked up by version.
        """
        try:
            with NetlinkSocket() as socket:
                trial = [one for change in probe_changes(family) for one in requests(family, change)]
                batch = addressed(trial, self.table)
                failures = socket.batch(SUBSYSTEM, [request[:3] for request in batch], commit=False)
        except OSError as error:
            return f"netfilter's netlink cannot be opened: {error}; load the module nfnetlink"
        if not failures:
            return ""
        remedy = REMEDIES.get(
            failures[0].error,
            "a kernel of 5.13 or later with nf_tables, nft_nat, nft_masq, nft_fib, nft_numgen and nft_reject is needed",
        )
        return f"nf_tables refuses a trial batch: {reason(failures[0])}; {remedy}"


REMEDIES: Final[Mapping[int, str]] = {
    errno.EPERM: "run as root with CAP_NET_ADMIN (a container: capabilities.add: [NET_ADMIN])",
    errno.EOPNOTSUPP: "load the module nf_tables",
}

BACKEND: Final = NftablesBackend()
