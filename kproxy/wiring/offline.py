"""What a node would do, from a snapshot alone: no root, no kernel, no cluster."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from kproxy.core.decide import Index, index_plan, is_pod, judge
from kproxy.core.document import Document
from kproxy.core.egress import exemption
from kproxy.core.flow import Answer, Choice, Packet, Trace, Verdict
from kproxy.core.host import Host, Settings
from kproxy.core.plan import NodePlan
from kproxy.core.planner import Planned, plan_node
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, ObjectKey, Value, family_of
from kproxy.errors import ConfigError
from kproxy.ports import Backend, Unsupported

PROBABILITY_STEP = 1e-6
"""Rules write probabilities as multiples of 2**-31."""
LOOPBACK = frozenset({"127.0.0.1", "::1"})


class Node(Value, frozen=True):
    """All that decides what this node's rules are."""

    snapshot: Snapshot
    settings: Settings
    host: Host


class Explained(Value, frozen=True):
    """A packet's way through the compiled rules, and what the plan says about the same packet."""

    packet: Packet
    trace: Trace
    planned: Answer
    kept: str = ""
    """Why a pod's connection is not masqueraded on its way out; empty where that was not the question."""

    @property
    def agree(self) -> bool:
        """Whether rules and plan give the same answer, to the precision with which rules write probabilities."""
        walked, planned = self.trace.answer, self.planned
        return (
            (walked.verdict, walked.accept, walked.egress) == (planned.verdict, planned.accept, planned.egress)
            and len(walked.choices) == len(planned.choices)
            and all(_alike(one, other) for one, other in zip(walked.choices, planned.choices, strict=True))
        )


def _alike(one: Choice, other: Choice) -> bool:
    return (one.address, one.port, one.masquerade) == (other.address, other.port, other.masquerade) and math.isclose(
        one.probability, other.probability, abs_tol=PROBABILITY_STEP
    )


def offline_host(name: str, node_ips: Iterable[str], snapshot: Snapshot) -> Host:
    """The host that manifests and options describe: its addresses are those given, the Node object's, and loopback."""
    nodes = {key.name: node for key, node in snapshot.nodes.items()}
    primary = tuple(node_ips)
    known = nodes[name].addresses if name in nodes else ()
    return Host(name, primary, LOOPBACK | {*primary, *known})


def plans_of(planned: Mapping[Family, Planned]) -> dict[Family, NodePlan]:
    """The plans alone."""
    return {family: one.plan for family, one in planned.items()}


def plan_families(node: Node, backend: Backend, families: Collection[Family]) -> dict[Family, Planned]:
    """The plans of these families, with what they came from."""
    return {
        family: plan_node(node.snapshot, node.settings, node.host, backend.traits, family, None) for family in families
    }


def compile_families(plans: Mapping[Family, NodePlan], backend: Backend) -> dict[Family, Document]:
    """The documents of the plans."""
    return {family: backend.compile(plan, None).document for family, plan in plans.items()}


def unsupported_by(
    plans: Mapping[Family, NodePlan], backend: Backend, only: ObjectKey | None = None
) -> dict[Family, tuple[Unsupported, ...]]:
    """What of the plans the backend cannot do; of `only` one Service, if that is named, and of the node."""
    return {
        family: tuple(
            one for one in backend.compile(plan, None).unsupported if only is None or one.service in (None, only)
        )
        for family, plan in plans.items()
    }


def explain(
    packets: Iterable[Packet],
    plans: Mapping[Family, NodePlan],
    documents: Mapping[Family, Document],
    backend: Backend,
    host: Host,
) -> list[Explained]:
    """Walk the documents with each packet, and ask the plan too; ConfigError for a family that is not there."""
    indices: dict[Family, Index] = {}
    explained = []
    for packet in packets:
        family = family_of(packet.destination)
        if family not in plans:
            raise ConfigError(f"{packet.destination}: {family.label} is not among the families asked for")
        if family not in indices:
            indices[family] = index_plan(plans[family])
        trace = backend.trace(family, documents[family], packet, host)
        answer = judge(indices[family], packet, host).answer
        explained.append(Explained(packet, trace, answer, _kept(plans[family], packet, answer, host)))
    return explained


def _kept(plan: NodePlan, packet: Packet, answer: Answer, host: Host) -> str:
    if plan.egress is None or answer.verdict is not Verdict.PASS or not is_pod(plan, packet):
        return ""
    return exemption(plan.egress, packet.destination, host)
