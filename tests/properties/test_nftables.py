"""What holds for the nftables backend on every cluster."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.nftables import BACKEND
from kproxy.core.decide import decide
from kproxy.core.document import diff, patch
from kproxy.core.flow import Answer, Choice
from kproxy.core.host import Host
from tests import conformance
from tests.properties.strategies import Scene, Stage, histories, packets, stages

quick = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def rounded(answer: Answer) -> Answer:
    return Answer(
        answer.verdict,
        tuple(Choice(one.address, one.port, round(one.probability, 9), one.masquerade) for one in answer.choices),
        answer.accept,
    )


def at_home(stage: Stage) -> Stage:
    """With every address that takes NodePorts on the node: they are refused in `input`, where no other comes."""
    own = stage.host.addresses | (stage.plan.node_ports or frozenset())
    return Stage(stage.plan, Host(stage.host.node, stage.host.primary, own))


@quick
@given(st.data(), stages(BACKEND.traits).map(at_home))
def test_trace_says_what_decide_says(data: st.DataObject, stage: Stage) -> None:
    document = BACKEND.compile(stage.plan, None).document
    for packet in data.draw(st.lists(packets(stage), min_size=1, max_size=5)):
        traced = BACKEND.trace(stage.plan.family, document, packet, stage.host).answer
        assert rounded(traced) == rounded(decide(stage.plan, packet, stage.host))


@quick
@given(histories(BACKEND.traits))
def test_compiling_what_changed_is_compiling_everything(history: list[Scene]) -> None:
    compiled = None
    for scene in history:
        plan = scene.plan().plan
        compiled = BACKEND.compile(plan, compiled)
        assert compiled.document == BACKEND.compile(plan, None).document


@quick
@given(histories(BACKEND.traits))
def test_unchanged_services_keep_their_fragments_and_diffs_lead_there(history: list[Scene]) -> None:
    planned = compiled = None
    have: dict[str, dict[object, object]] = {}
    for scene in history:
        planned = scene.plan(planned)
        before, compiled = compiled, BACKEND.compile(planned.plan, compiled)
        if before is not None:
            for owner, fragment in compiled.document.items():
                assert before.document.get(owner) is fragment or before.document.get(owner) != fragment
        have = patch(have, diff(have, compiled.document))
        assert not diff(have, compiled.document)
        ids = [key for fragment in compiled.document.values() for key in fragment]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("case", conformance.cases("nftables"), ids=lambda case: case.id)
def test_traces_answer_as_kube_proxy(case: conformance.Case) -> None:
    scene = Scene(case.snapshot, case.settings, case.host, BACKEND.traits, case.family)
    document = BACKEND.compile(scene.plan().plan, None).document
    for flow in case.flows:
        conformance.check_answer(BACKEND.trace(case.family, document, flow.packet, case.host).answer, flow.expect)
