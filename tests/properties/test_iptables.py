"""What holds for the iptables backend on every cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.iptables import BACKEND
from backends.iptables.names import NODE_PORTS, REFUSED_NODE_PORTS
from backends.iptables.parse import parse
from kproxy.core.chains import ChainId
from kproxy.core.decide import decide
from kproxy.core.document import Document, diff
from kproxy.core.flow import Answer, Choice
from kproxy.core.host import Traits
from kproxy.core.node_facts import is_local
from kproxy.core.plan import Unallocated, Unlisted
from tests import conformance
from tests.fakes.kernel import FakeKernel, objects
from tests.properties.strategies import Scene, Stage, histories, packets, stages

quick = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
ODD_TRAITS = Traits(
    Unlisted.REJECT, Unallocated.DROP, accepts_health_checks=True, node_ports_default=(), loopback_needs_listing=True
)
SPARING_TRAITS = Traits(
    Unlisted.PASS, Unallocated.DROP, accepts_health_checks=False, node_ports_default=(), loopback_needs_listing=False
)


def rounded(answer: Answer) -> Answer:
    """Probabilities to the 31 bits that the kernel has."""
    return Answer(
        answer.verdict,
        tuple(Choice(one.address, one.port, round(one.probability, 8), one.masquerade) for one in answer.choices),
        answer.accept,
    )


def chains_of(document: Document) -> Mapping[ChainId, tuple[str, ...]]:
    return cast("Mapping[ChainId, tuple[str, ...]]", objects(document))


@quick
@given(st.data(), st.sampled_from((BACKEND.traits, ODD_TRAITS, SPARING_TRAITS)).flatmap(stages))
def test_trace_says_what_decide_says(data: st.DataObject, stage: Stage) -> None:
    document = BACKEND.compile(stage.plan, None).document
    for packet in data.draw(st.lists(packets(stage), min_size=1, max_size=5)):
        if packet.destination in (stage.plan.node_ports or ()) and not is_local(packet.destination, stage.host):
            continue  # Named as the node's, but on none of its interfaces: forwarded, where NodePorts are not refused.
        traced = BACKEND.trace(stage.plan.family, document, packet, stage.host)
        decided = decide(stage.plan, packet, stage.host)
        assert rounded(traced.answer) == rounded(decided), traced.steps


@quick
@given(histories(BACKEND.traits))
def test_compiling_what_changed_is_compiling_everything(history: list[Scene]) -> None:
    planned = compiled = None
    for scene in history:
        planned = scene.plan(planned)
        compiled = BACKEND.compile(planned.plan, compiled)
        assert compiled.document == BACKEND.compile(planned.plan, None).document


@quick
@given(histories(BACKEND.traits))
def test_the_kernel_follows_by_changes_alone_and_a_second_change_is_none(history: list[Scene]) -> None:
    kernel, compiled = FakeKernel(), None
    for scene in history:
        compiled = BACKEND.compile(scene.plan().plan, compiled)
        kernel.apply(diff(kernel.observe(), compiled.document))
        assert not diff(kernel.observe(), compiled.document)
        ids = [key for fragment in compiled.document.values() for key in fragment]
        assert len(ids) == len(set(ids))


@quick
@given(stages(BACKEND.traits))
def test_what_is_rendered_reads_back(stage: Stage) -> None:
    document = BACKEND.compile(stage.plan, None).document
    text = BACKEND.render({stage.plan.family: document})
    assert objects(parse(text)) == objects(document)


@quick
@given(stages(BACKEND.traits))
def test_every_chain_is_led_to_and_every_lead_ends(stage: Stage) -> None:
    chains = chains_of(BACKEND.compile(stage.plan, None).document)
    led_to = {ChainId(key.table, target) for key, rules in chains.items() for target in targets(rules)}
    ours = {key for key in chains if key.chain.startswith("KPROXY-")}
    # Where no address takes NodePorts, nothing leads to their trees.
    assert sorted(ours - led_to) in ([], sorted([NODE_PORTS, REFUSED_NODE_PORTS]))
    assert led_to <= ours
    assert all(len(key.chain) <= 28 for key in ours)


def targets(rules: tuple[str, ...]) -> list[str]:
    """The chains that rules lead to."""
    return [target for rule in rules for target in re.findall(r"-[jg] (KPROXY-\S+)$", rule)]


@pytest.mark.parametrize("case", conformance.cases("iptables"), ids=lambda case: case.id)
def test_traces_answer_as_kube_proxy(case: conformance.Case) -> None:
    scene = Scene(case.snapshot, case.settings, case.host, BACKEND.traits, case.family)
    document = BACKEND.compile(scene.plan().plan, None).document
    for flow in case.flows:
        conformance.check_answer(BACKEND.trace(case.family, document, flow.packet, case.host).answer, flow.expect)


def test_traces_answer_as_real_packets_behind_kube_proxy() -> None:
    lab = conformance.lab("iptables")
    scene = Scene(lab.snapshot, lab.settings, lab.host, BACKEND.traits, lab.family)
    document = BACKEND.compile(scene.plan().plan, None).document
    for pair in lab.pairs:
        traced = BACKEND.trace(lab.family, document, pair.packet, lab.host)
        conformance.check_pair(traced.answer, pair, lab, "iptables")
