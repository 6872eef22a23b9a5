"""What IPVS cannot do is said, by compiling, by `render` and by the agent's log."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from backends.ipvs import BACKEND
from backends.ipvs.compile import LOOPBACK, UNLISTED
from kproxy.core.host import Settings
from kproxy.core.plan import NodePlan, Unlisted
from kproxy.core.values import Family
from tests.fakes.program import run_here
from tests.fakes.stage import Stage, endpoint_slice, service


def test_compiling_names_what_is_left_out_and_nothing_else() -> None:
    assert BACKEND.compile(NodePlan(Family.IPV4, {}, unlisted=Unlisted.REJECT), None).unsupported == ()
    asks = NodePlan(Family.IPV4, {}, loopback_node_ports=True, unlisted=Unlisted.PASS)
    assert BACKEND.compile(asks, None).unsupported == (LOOPBACK, UNLISTED)


def test_the_agent_warns_once() -> None:
    settings = Settings(node_port_addresses=(ipaddress.ip_network("127.0.0.0/8"),))
    stage = Stage(settings, BACKEND)
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    stage.hear()
    warnings = stage.log("this backend cannot do that")
    assert [(line["family"], line["what"]) for line in warnings] == [("IPv4", LOOPBACK.what)]


def test_render_says_it_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\nrejectUnlistedPorts: false\n")
    question = ("--backend", "ipvs", "-f", "examples/shop", "--node-name", "node-a", "--config", str(config))
    done = run_here(capsys, "render", *question)
    assert done.code == 0
    assert UNLISTED.instead in done.err
    assert "# ipset restore" in done.out
