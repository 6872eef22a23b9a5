"""The counters that kube-proxy keeps in nfacct objects, scraped from a running agent after real packets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.topology import PODS
from tests.e2e.test_agent import LOOPBACK, NAME, objects
from tests.e2e.world import World, everywhere, fresh_vip, world

pytestmark = pytest.mark.root

IPV4 = 0
SCRAPE = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:10249/metrics', timeout=60).read().decode())"
RESETS = """
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
for port in range(40001, 40004):
    raw.sendto(struct.pack("!HHIIBBHHH", port, 8080, 1, 1, 5 << 4, 4, 0, 0, 0), (sys.argv[1], 0))
"""
"""Three resets that belong to no connection."""
INVALID = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"
ACCEPTED = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"


def scraped(node: World, name: str) -> float:
    text = node.lab.node.run(sys.executable, "-c", SCRAPE)
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


def test_invalid_packets_and_node_ports_by_loopback_are_counted(tmp_path: Path) -> None:
    vip = fresh_vip()
    with world("iptables", tmp_path) as node:
        node.put(NAME, IPV4, *objects(vip, *everywhere(IPV4)))
        assert (scraped(node, INVALID), scraped(node, ACCEPTED)) == (0, 0)
        node.lab.outside.run(sys.executable, "-c", RESETS, PODS["pod-here"][IPV4])
        node.ask("node", LOOPBACK[IPV4], vip.node_port, count=5)
        node.ask("node", LOOPBACK[IPV4], 9, count=2)
        assert (scraped(node, INVALID), scraped(node, ACCEPTED)) == (3, 5)
