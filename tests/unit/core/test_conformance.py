"""The plan means what kube-proxy does: every packet-flow case and every recorded pair of the lab, by `decide`."""

from __future__ import annotations

import pytest

from kproxy.core.decide import index_plan, judge
from kproxy.core.host import Host
from kproxy.core.plan import NodePlan
from kproxy.core.planner import Planned, plan_node
from tests import conformance
from tests.conformance import Case, cases, check_answer, check_pair, lab

BACKENDS = ("iptables", "nftables")
CASES = [(backend, case) for backend in BACKENDS for case in cases(backend)]
FOLLOWING = [(backend, case) for backend, case in CASES if case.follows]
COUNTS = {"iptables": (28, 90), "nftables": (23, 70)}


def names(values: list[tuple[str, Case]]) -> list[str]:
    return [case.id for _, case in values]


def plan(backend: str, case: Case, previous: Planned | None = None) -> Planned:
    traits = conformance.TRAITS[backend]
    return plan_node(case.snapshot, case.settings, case.host, traits, case.family, previous)


def check_flows(case: Case, node_plan: NodePlan, host: Host) -> None:
    index = index_plan(node_plan)
    for flow in case.flows:
        check_answer(judge(index, flow.packet, host).answer, flow.expect)


@pytest.mark.parametrize(("backend", "case"), CASES, ids=names(CASES))
def test_every_flow_is_answered_as_kube_proxy_does(backend: str, case: Case) -> None:
    check_flows(case, plan(backend, case).plan, case.host)


@pytest.mark.parametrize(("backend", "case"), FOLLOWING, ids=names(FOLLOWING))
def test_an_update_of_the_case_before_leads_to_the_same_plan(backend: str, case: Case) -> None:
    before = conformance.case_before(case, backend)
    assert before is not None
    updated = plan(backend, case, plan(backend, before))
    assert updated == plan(backend, case)
    check_flows(case, updated.plan, case.host)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_pair_of_the_lab_sees_what_it_saw_behind_kube_proxy(backend: str) -> None:
    stage = lab(backend)
    planned = plan_node(
        stage.snapshot, stage.settings, stage.host, conformance.TRAITS[backend], stage.family, previous=None
    )
    index = index_plan(planned.plan)
    for pair in stage.pairs:
        check_pair(judge(index, pair.packet, stage.host).answer, pair, stage, backend)
    assert len(stage.pairs) == 730


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_cases_are_all_there(backend: str) -> None:
    loaded = cases(backend)
    assert (len(loaded), sum(len(case.flows) for case in loaded)) == COUNTS[backend]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deliberate_difference_is_one(backend: str) -> None:
    stage = lab(backend)
    seen = {pair.key: pair.seen for pair in stage.pairs}
    for key, (wanted, reason) in conformance.DIFFERENCES[backend].items():
        assert seen[key] != wanted, f"no longer a difference: {key}"
        assert reason
