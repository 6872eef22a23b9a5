"""What IPVS cannot do is said, by compiling, by `render` and `plan`, by the agent's log and a metric."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from backends.ipvs import BACKEND
from backends.ipvs.compile import LOOPBACK, UNLISTED
from kproxy.core.host import Settings
from kproxy.core.plan import NodePlan, ServicePlan, Unlisted
from kproxy.core.values import Family, ObjectKey
from kproxy.wiring.views import gauges
from tests.fakes.program import run_here
from tests.fakes.stage import Stage, endpoint_slice, service
from tests.unit.backends.plans import cluster_ip, endpoints, node_port, plan, port
from tests.unit.backends.plans import service as service_plan


def test_compiling_names_what_is_left_out_and_nothing_else() -> None:
    assert BACKEND.compile(NodePlan(Family.IPV4, {}, unlisted=Unlisted.REJECT), None).unsupported == ()
    asks = NodePlan(Family.IPV4, {}, loopback_node_ports=True, unlisted=Unlisted.PASS)
    assert BACKEND.compile(asks, None).unsupported == (LOOPBACK, UNLISTED)


def test_affinity_with_a_time_is_named_for_the_services_that_have_it_where_it_cannot_be() -> None:
    front, pool = cluster_ip("10.96.0.10"), endpoints("10.64.1.1")
    kept = ServicePlan(ObjectKey("shop", "kept"), (port(front, node_port(30080), cluster=pool, affinity_s=60),))
    others = (
        service_plan("loose", port(front, node_port(30081), cluster=pool)),
        service_plan("inside", port(front, cluster=pool, affinity_s=60)),
    )
    found = BACKEND.compile(plan(kept, *others), None)
    assert [one.service for one in found.unsupported] == [kept.service]
    assert BACKEND.compile(plan(*others), found).unsupported == ()


def test_the_agent_warns_once_and_counts_it_in_a_metric() -> None:
    settings = Settings(node_port_addresses=(ipaddress.ip_network("127.0.0.0/8"),))
    stage = Stage(settings, BACKEND)
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    stage.hear()
    warnings = stage.log("this backend cannot do that")
    assert [(line["family"], line["what"]) for line in warnings] == [("IPv4", LOOPBACK.what)]
    counted = {one.labels: one.amount for one in gauges(stage.agent.state) if one.name == "kproxy_unsupported"}
    assert counted[("IPv4",)] == 1
    assert counted.get(("IPv6",), 0) == 0


@pytest.fixture
def question(tmp_path: Path) -> tuple[str, ...]:
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\nrejectUnlistedPorts: false\n")
    return ("--backend", "ipvs", "-f", "examples/shop", "--node-name", "node-a", "--config", str(config))


def test_render_says_it_on_standard_error(question: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, "render", *question)
    assert done.code == 0
    assert UNLISTED.instead in done.err
    assert "# ipset restore" in done.out


def test_plan_says_it_once_for_people_and_by_family_for_programs(
    question: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capsys, "plan", *question)
    assert done.code == 0
    assert done.out.count(f"not with this backend: {UNLISTED.what}: {UNLISTED.instead}\n") == 1
    families = json.loads(run_here(capsys, "plan", *question, "-o", "json").out)["families"]
    expected = {"service": None, "what": UNLISTED.what, "instead": UNLISTED.instead}
    assert [expected in family["unsupported"] for family in families] == [True, True]
