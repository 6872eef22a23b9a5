"""`kproxy run --init-only`: what a privileged init container does, and nothing beyond."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import Ran, run_program

pytestmark = pytest.mark.root

TIMEOUTS = Path("/proc/sys/net/netfilter")
ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


def settings() -> dict[str, str]:
    """Those that each namespace has of its own."""
    names = ("tcp_timeout_established", "tcp_timeout_close_wait", "udp_timeout")
    own = {name: (TIMEOUTS / f"nf_conntrack_{name}").read_text().strip() for name in names}
    return own | {"route_localnet": ROUTE_LOCALNET.read_text().strip()}


def chains() -> str:
    return subprocess.run(["nft", "list", "chains"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("backend", "localnet"), [("nftables", "0"), ("iptables", "1")])
def test_parameters_are_set_and_no_rule_is_written(backend: str, localnet: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": backend}
    config.write_text(json.dumps(head | {"conntrack": {"tcpCloseWaitTimeout": "0s", "udpTimeout": "45s"}}))

    def body() -> tuple[dict[str, str], Ran, dict[str, str], str]:
        before = settings()
        return before, run_program("run", "--init-only", "--config", str(config)), settings(), chains()

    before, ran, after, rules = in_new_namespace(body)
    assert ran.code == 0, ran.err
    expected = {"tcp_timeout_established": "86400", "udp_timeout": "45", "route_localnet": localnet}
    assert after == before | expected
    assert "kproxy" not in rules.lower()
