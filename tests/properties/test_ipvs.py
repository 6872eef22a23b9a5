"""What holds for the IPVS backend on every cluster."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from backends.ipvs import BACKEND
from backends.ipvs.objects import Member, Real, Vip
from kproxy.core.decide import decide
from kproxy.core.document import Document, diff, patch
from kproxy.core.flow import Answer, Choice, Packet, Verdict
from kproxy.core.host import Host
from kproxy.core.node_facts import is_loopback
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
    """With every address that takes NodePorts on the node: IPVS answers on addresses of the node only."""
    own = stage.host.addresses | (stage.plan.node_ports or frozenset())
    return Stage(stage.plan, Host(stage.host.node, stage.host.primary, own))


def vips(document: Document) -> set[str]:
    return {key.address for fragment in document.values() for key in fragment if isinstance(key, Vip)}


@quick
@given(st.data(), stages(BACKEND.traits).map(at_home))
def test_trace_says_what_decide_says(data: st.DataObject, stage: Stage) -> None:
    document = BACKEND.compile(stage.plan, None).document
    for packet in data.draw(st.lists(packets(stage), min_size=1, max_size=5)):
        traced = BACKEND.trace(stage.plan.family, document, packet, stage.host).answer
        planned = decide(stage.plan, packet, stage.host)
        if differs_on_purpose(document, packet, planned):
            continue
        assert rounded(traced) == rounded(planned)


def differs_on_purpose(document: Document, packet: Packet, planned: Answer) -> bool:
    """What IPVS cannot do, or what a VIP on a link of the node makes different; docs/backends/ipvs.md has the list."""
    held = vips(document)
    loopback = is_loopback(packet.destination)
    # The port is no frontend's, so that the VIP itself refuses, whatever else the address may be.
    unserved = packet.destination in held and not served(document, packet)
    return loopback or packet.source in held or (unserved and planned.verdict is not Verdict.REJECT)


def served(document: Document, packet: Packet) -> bool:
    """Whether a frontend has this address, port and protocol."""
    place = (packet.protocol, packet.destination, packet.port)
    return any(
        isinstance(key, Member) and key[1:4] == place and key.set.endswith("-ANY")
        for fragment in document.values()
        for key in fragment
    )


@quick
@given(st.data(), stages(BACKEND.traits))
def test_a_port_of_a_vip_that_nobody_serves_is_refused(data: st.DataObject, stage: Stage) -> None:
    document = BACKEND.compile(stage.plan, None).document
    held = sorted(vips(document))
    assume(held)
    packet = data.draw(packets(stage))
    to_vip = Packet(packet.source, data.draw(st.sampled_from(held)), 9, packet.protocol, packet.interface)
    assert BACKEND.trace(stage.plan.family, document, to_vip, stage.host).answer.verdict is Verdict.REJECT


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


@quick
@given(stages(BACKEND.traits))
def test_every_real_server_has_its_virtual_server_with_the_same_owner(stage: Stage) -> None:
    for fragment in BACKEND.compile(stage.plan, None).document.values():
        for key in fragment:
            assert not isinstance(key, Real) or key.server in fragment


@pytest.mark.parametrize("case", conformance.cases("iptables"), ids=lambda case: case.id)
def test_traces_answer_as_kube_proxys_iptables_mode(case: conformance.Case) -> None:
    scene = Scene(case.snapshot, case.settings, case.host, BACKEND.traits, case.family)
    document = BACKEND.compile(scene.plan().plan, None).document
    for flow in case.flows:
        if is_loopback(flow.packet.destination) or (
            flow.packet.destination in vips(document) and flow.expect.verdict is Verdict.PASS
        ):
            continue
        conformance.check_answer(BACKEND.trace(case.family, document, flow.packet, case.host).answer, flow.expect)
