"""What an agent says in its log: every event once, every standing trouble once in a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kproxy.core.model import Flaws
from kproxy.core.node_facts import unknown_node
from kproxy.core.plan import Conflict, NodePlan
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family
from kproxy.core.waiting import Waiting
from kproxy.effects.logs import Logger, Recurrence
from kproxy.effects.network import Refused, Sysctl
from kproxy.errors import KernelError, ParseError, UnreadableFile
from kproxy.report.changes import services_of, summary
from kproxy.report.drift import Drift
from kproxy.sync import Pass

REMIND_S = 60.0
"""How often a trouble that goes on is told again."""

ROUTE_LOCALNET = Sysctl("net.ipv4.conf.all.route_localnet", "1")
BE_LIBERAL = Sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
CONSEQUENCES: Mapping[Sysctl, str] = {
    ROUTE_LOCALNET: "NodePorts do not answer on 127.0.0.1",
    BE_LIBERAL: "connection tracking still finds TCP packets outside the window invalid",
}


class Teller:
    """Remembers what it has said."""

    def __init__(self, log: Logger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._said = Recurrence()

    def cluster_known(self, services: int, node: str) -> None:
        """Services and EndpointSlices are complete for the first time."""
        self._log.info("cluster known", services=services, node=node)

    def trouble(self, error: Exception) -> None:
        """A source or a watch met an error: an object that is skipped is told once."""
        now = self._clock()
        if isinstance(error, ParseError):
            if self._said.is_due((error.what, error.field, error.reason), now):
                self._log.warning(
                    "object skipped",
                    object=error.what,
                    field=error.field,
                    reason=error.reason,
                    consequence="what was last known of it stays in force; after a start that is nothing",
                )
        elif not isinstance(error, UnreadableFile) and self._said.is_due(str(error), now, REMIND_S):
            self._log.warning("source in trouble, what is known stays in force", error=str(error))

    def flaws(self, before: Flaws, now: Flaws) -> None:
        """What of a source cannot be read is another than before; as UnreadableFile the same is not told."""
        for fault in now.faults:
            if fault in now.unknown and fault not in before.unknown:
                self._log.warning("source in trouble, what it hides is not known", error=fault)
            elif fault not in before.faults:
                self._log.warning("source in trouble, what is known stays in force", error=fault)
        if before.faults and not now.faults:
            self._log.info("source can be read again")

    def nodes(self, snapshot: Snapshot, node: str) -> None:
        """The Nodes are others than before."""
        remark = unknown_node(snapshot.nodes, node)
        if remark and self._said.is_due("unknown node", self._clock()):
            self._log.warning("node unknown", remark=remark)

    def refused_sysctl(self, refused: Refused) -> None:
        """A sysctl is not as it has to be."""
        self._log.warning(
            "sysctl cannot be set",
            sysctl=f"{refused.sysctl.name}={refused.sysctl.value}",
            found=refused.found,
            reason=refused.reason,
            consequence=CONSEQUENCES[refused.sysctl],
        )

    def plan(self, family: Family, plan: NodePlan) -> None:
        """What a user should know of a new plan."""
        for conflict in plan.conflicts:
            self._conflict(family, conflict)
        if plan.pods is None and self._said.is_due((family, "no detector"), self._clock()):
            self._log.warning(
                "no packet's source is known to be a pod",
                family=family.label,
                remedy="set clusterCIDR, or another detectLocalMode",
                consequence="sources outside the cluster keep their address on the way to ClusterIPs, and pods have no "
                "short cut to Services of external policy Local",
            )

        if plan.no_egress and self._said.is_due((family, plan.no_egress), self._clock()):
            self._log.warning("pods' connections are not masqueraded", family=family.label, reason=plan.no_egress)

    def _conflict(self, family: Family, conflict: Conflict) -> None:
        if self._said.is_due(conflict, self._clock()):
            loser, winner = str(conflict.loser), str(conflict.winner)
            self._log.warning("claim lost", family=family.label, claim=conflict.claim, loser=loser, winner=winner)

    def synced(self, family: Family, done: Pass, took_s: float, *, first: bool, healed: bool) -> None:
        """What a pass did; one that did nothing is told only if it is the `first`, or all is well again (`healed`)."""
        log = self._log.bind(family=family.label)
        now = self._clock()
        for left_out in done.world.compiled.unsupported if done.world.compiled else ():
            if self._said.is_due((family, left_out), now):
                log.warning("this backend cannot do that", what=left_out.what, instead=left_out.instead)
        if trouble := done.waiting or done.error:
            self._undone(log, family, trouble)
            return
        for refusal in done.outcome.refusals:
            if self._said.is_due((family, refusal), now, REMIND_S):
                log.error("refused by the kernel", owner=refusal.owner, object=refusal.what, reason=refusal.reason)
        for one in done.outcome.otherwise:
            if self._said.is_due((family, one), now):
                log.warning("done otherwise than asked", owner=one.owner, object=one.what, reason=one.reason)
        if first or healed or done.change:
            named = services_of(done.change)
            log.info(
                "synced for the first time" if first else "synced",
                objects=summary(done.change),
                took_ms=round(took_s * 1000, 1),
                **({"services": named} if named else {}),
            )

    def drifted(self, family: Family, drift: Drift, took_s: float, *, wait_s: float) -> None:
        """What others did to our rules was put right; `wait_s` is how long the next time will have to wait."""
        if not drift:
            return
        log = self._log.bind(family=family.label)
        log.warning(
            "rules were changed by others and are put right",
            what=drift.summary,
            objects=drift.examples,
            by=", ".join(drift.by) or "unknown",
            noticed=drift.noticed,
            took_ms=round(took_s * 1000, 1),
        )
        if wait_s and self._said.is_due((family, "fought"), self._clock(), REMIND_S):
            log.warning(
                "others keep changing our rules",
                by=", ".join(drift.by) or "unknown",
                consequence=f"they are put right every {wait_s:.1f} s only, to save processor time",
                remedy="find out what it wants, and let one program own these rules",
            )

    def _undone(self, log: Logger, family: Family, trouble: Waiting | KernelError) -> None:
        if self._said.is_due((family, str(trouble)), self._clock(), REMIND_S):
            if isinstance(trouble, Waiting):
                log.error("nothing is programmed", reason=str(trouble))
            else:
                log.error("sync failed, the rules are as they were", error=str(trouble))
