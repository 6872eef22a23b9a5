"""What other programs do to the rules of a running agent is put right, at once where the kernel tells of it.

The agent looks by itself once an hour here, so that whatever is put right was noticed.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kproxy.core.vigil import BURST, REFILL_S
from lab.agent import KPROXY, Entry
from tests.e2e.pages import until
from tests.e2e.world import FAMILIES, World, endpoint, endpoint_slice, everywhere, fresh_vip, service, world

pytestmark = pytest.mark.root

RARELY = {"syncPeriod": "1h", "minSyncPeriod": "0s"}
PUT_RIGHT = "rules were changed by others"
FOREIGN_CHANGES = 100
FIGHT_S = 4.0
PATIENCE_S = 240.0
"""Looks are rationed by the time that they take, which is long on a machine with other things to do."""
GET_METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:10249/metrics').read().decode())"

FIREWALLD = """\
table inet firewalld
flush table inet firewalld
table inet firewalld { chain nat_PREROUTING { type nat hook prerouting priority -90; }; }
"""
RESTORED = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FIREWALL - [0:0]
-A PREROUTING -j FIREWALL
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp(request.param)
    with world(request.param, folder, iptables=RARELY, nftables=RARELY) as built:
        fill(built)
        yield built


def fill(built: World) -> None:
    """A Service in each family."""
    for family, label in enumerate(FAMILIES):
        vip, name = fresh_vip(), f"svc-{label.lower()}"
        ends = [endpoint(address) for address in everywhere(family)]
        built.put(name, family, service(name, vip, family), endpoint_slice(name, family, *ends))


def rules(built: World) -> list[str]:
    """Our rules of both families as their own tools show them, without what differs from load to load."""
    run = built.lab.node.run
    if built.backend == "nftables":
        listed = [json.loads(run("nft", "-j", "list", "table", name, "kproxy"))["nftables"] for name in ("ip", "ip6")]
        return sorted(text for one in listed for item in one if "metainfo" not in item for text in _plain(item))
    saved = run("iptables-save") + run("ip6tables-save")
    return sorted(line for line in re.sub(r" ?\[\d+:\d+\]", "", saved).splitlines() if "KPROXY-" in line)


def _plain(item: dict[str, dict[str, object]]) -> Iterator[str]:
    ((kind, fields),) = item.items()
    elements = fields.pop("elem", [])
    fields.pop("handle", None)
    yield json.dumps({kind: fields}, sort_keys=True)
    for element in elements if isinstance(elements, list) else ():
        yield json.dumps([fields["name"], element], sort_keys=True)


def put_right(built: World, since: int, *families: str, what: str = "", by: str = "") -> list[Entry]:
    """What the agent says of its repairs, once it has repaired this in these families after this program."""

    def told(heard: Sequence[Entry]) -> list[Entry]:
        repairs = [one for one in heard if one["event"].startswith(PUT_RIGHT)]
        return [one for one in repairs if what in one["what"] and one["by"].startswith(by)]

    def is_done(heard: Sequence[Entry]) -> bool:
        return set(families) <= {one["family"] for one in told(heard)}

    return told(built.agent.wait(is_done, f"{PUT_RIGHT}, {what} by {by} in {families}", since, PATIENCE_S))


def full_syncs(built: World, family: str = "IPv4") -> float:
    """How often the kernel was looked at."""
    page = built.lab.node.run(sys.executable, "-c", GET_METRICS)
    (metric,) = [one for one in text_string_to_metric_families(page) if one.name == "kproxy_syncs"]
    return sum(
        sample.value
        for sample in metric.samples
        if sample.labels["kind"] == "full" and sample.labels["ip_family"] == family and sample.name.endswith("_total")
    )


def repairs_of(built: World, family: str = "IPv4") -> int:
    """How often drift was put right, as the agent counts."""
    found = json.loads(built.lab.node.run(KPROXY, "status", "-o", "json"))
    repairs: int = found["families"][family]["drift"]["repairs"]
    return repairs


TAMPERINGS = {
    "nftables": {
        "all rules flushed": (["nft", "flush", "ruleset"], "IPv4 IPv6", "1 table removed"),
        "a table deleted": (["nft", "delete", "table", "ip6", "kproxy"], "IPv6", "1 table removed"),
        "a chain flushed": (["nft", "flush", "chain", "ip", "kproxy", "dispatch"], "IPv4", "1 chain changed"),
        "a rule added": (["nft", "insert", "rule", "ip", "kproxy", "prerouting", "accept"], "IPv4", "1 chain"),
        "a rule changed": (
            ["nft", "replace", "rule", "ip", "kproxy", "prerouting", "handle", "{handle}", "accept"],
            "IPv4",
            "1 chain changed",
        ),
        "a set emptied": (["nft", "flush", "set", "ip", "kproxy", "cluster-ips"], "IPv4", "element"),
        "a chain added": (["nft", "add", "chain", "ip", "kproxy", "theirs"], "IPv4", "1 chain added"),
    },
    "iptables": {
        "a table flushed": (["iptables", "-t", "nat", "-F"], "IPv4", "changed"),
        "filter flushed": (["iptables", "-F"], "IPv4", "changed"),
        "a rule deleted": (
            ["iptables", "-t", "nat", "-D", "PREROUTING", "-j", "KPROXY-SERVICES"],
            "IPv4",
            "1 jump removed",
        ),
        "a rule added": (["ip6tables", "-A", "KPROXY-FORWARD", "-j", "ACCEPT"], "IPv6", "1 chain changed"),
        "a rule changed": (
            ["iptables", "-t", "nat", "-R", "KPROXY-MASQUERADE", "1", "-j", "MASQUERADE"],
            "IPv4",
            "1 chain changed",
        ),
        "tables restored": (["iptables-restore"], "IPv4", "removed"),
        "all rules flushed": (["nft", "flush", "ruleset"], "IPv4 IPv6", "removed"),
    },
}


def test_whatever_is_tampered_with_is_put_right_and_named(node: World) -> None:
    for what, (command, families, differed) in TAMPERINGS[node.backend].items():
        before, since = rules(node), len(node.agent.entries)
        handle = rule_handle(node) if "{handle}" in command else ""
        node.lab.node.run(*(handle if word == "{handle}" else word for word in command), stdin=RESTORED)
        told = put_right(node, since, *families.split(), what=differed, by=f"{command[0][:15]} (process ")
        assert {one["noticed"] for one in told} == {"notification"}
        node.agent.wait(lambda _, before=before: rules(node) == before, f"that {what} is put right", since, PATIENCE_S)


def rule_handle(node: World) -> str:
    """The number of the first rule of a base chain of ours."""
    listed = node.lab.node.run("nft", "-a", "list", "chain", "ip", "kproxy", "prerouting")
    found = re.search(r"goto dispatch # handle (\d+)", listed)
    assert found is not None
    return found[1]


def test_packets_find_their_service_again(node: World) -> None:
    vip = json.loads((node.folder / "svc-ipv4.json").read_text())["items"][0]["spec"]["clusterIP"]
    since = len(node.agent.entries)
    node.lab.node.run("nft", "flush", "ruleset")
    put_right(node, since, *FAMILIES)
    seen = {answer.partition(":")[0] for answer in node.ask("pod", vip)}
    assert seen <= set(everywhere(0))
    assert seen


def test_our_own_writes_are_neither_drift_nor_looked_at(node: World) -> None:
    """However often they change: notifications of them come too, from sockets and programs of ours."""
    repairs, looks = repairs_of(node), full_syncs(node)
    vip = fresh_vip()
    for number in range(10):
        ends = [endpoint(address) for address in everywhere(0)[: number % 3 + 1]]
        node.put("busy", 0, service("busy", vip, 0), endpoint_slice("busy", 0, *ends))
    node.remove("busy", 0)
    tamper_once(node)
    until(lambda: (repairs_of(node), full_syncs(node)) == (repairs + 1, looks + 1))


def tamper_once(node: World) -> None:
    """One change of ours by others, put right: all that was told before it has been heard then."""
    since = len(node.agent.entries)
    if node.backend == "nftables":
        node.lab.node.run("nft", "flush", "chain", "ip", "kproxy", "dispatch")
    else:
        node.lab.node.run("iptables", "-t", "nat", "-F", "KPROXY-MASQUERADE")
    put_right(node, since, "IPv4")


def test_what_others_do_to_their_own_rules_costs_no_look(node: World) -> None:
    looks = full_syncs(node)
    for number in range(FOREIGN_CHANGES // 2):
        if node.backend == "nftables":
            node.lab.node.run("nft", "-f", "-", stdin=FIREWALLD)
            node.lab.node.run("nft", "add", "set", "inet", "firewalld", f"s{number}", "{ type ipv4_addr; }")
        else:
            node.lab.node.run("iptables", "-t", "nat", "-N", f"THEIRS-{number}")
            node.lab.node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", f"THEIRS-{number}")
    tamper_once(node)
    until(lambda: full_syncs(node) == looks + 1)


def test_a_neighbour_who_fights_is_answered_now_and_then_and_loses_in_the_end(node: World) -> None:
    before, repairs, since = rules(node), repairs_of(node), len(node.agent.entries)
    began, attacks = time.monotonic(), 0
    while time.monotonic() < began + FIGHT_S:
        if node.backend == "nftables":
            node.lab.node.run("nft", "flush", "chain", "ip", "kproxy", "dispatch")
        else:
            node.lab.node.run("iptables", "-t", "nat", "-F", "KPROXY-MASQUERADE")
        attacks += 1
    node.agent.wait(lambda _: rules(node) == before, "that the rules stand again", since, PATIENCE_S)
    answered = repairs_of(node) - repairs
    assert 1 <= answered <= min(attacks, BURST + 1 + (time.monotonic() - began) / REFILL_S)


@pytest.fixture(scope="module", params=[pytest.param(one, marks=pytest.mark.ipvs) for one in ("ipvs", "iptables")])
def untold(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node with legacy tables, of which nobody tells; nor does the kernel of virtual servers and sets."""
    folder = tmp_path_factory.mktemp(request.param)
    with world(request.param, folder, legacy=True, iptables=RARELY, ipvs=RARELY) as built:
        fill(built)
        yield built


UNTOLD = {
    "ipvs": {
        "an address removed": (["ip", "address", "delete", "{vip}/32", "dev", "kproxy-ipvs0"], "1 address changed"),
        "the link removed": (["ip", "link", "delete", "kproxy-ipvs0"], "address"),
        "the link brought down": (["ip", "link", "set", "kproxy-ipvs0", "down"], "address"),
        "a set emptied": (["ipset", "flush", "KPROXY-4-ANY"], "1 set member removed"),
        "virtual servers removed": (["ipvsadm", "-C"], "1 virtual server removed"),
        "a rule deleted": (
            ["iptables-legacy", "-t", "mangle", "-D", "PREROUTING", "1"],
            "1 jump removed",
        ),
    },
    "iptables": {
        "a table flushed": (["iptables-legacy", "-t", "nat", "-F"], "changed"),
        "a rule changed": (
            ["iptables-legacy", "-t", "nat", "-R", "KPROXY-MASQUERADE", "2", "-j", "MASQUERADE"],
            "1 chain changed",
        ),
        "a rule deleted": (
            ["iptables-legacy", "-t", "nat", "-D", "PREROUTING", "-j", "KPROXY-SERVICES"],
            "1 jump removed",
        ),
    },
}


def standing(node: World) -> list[str]:
    """All that our tools show of IPv4, without what differs from load to load."""
    run = node.lab.node.run
    shown = run("iptables-legacy-save")
    if node.backend == "ipvs":
        shown += run("ipvsadm", "-Sn") + run("ipset", "save") + run("ip", "-4", "-o", "address")
    shown = re.sub(r"initval \S+|hashsize \S+|bucketsize \S+|^#.*$|\[\d+:\d+\]|^\d+: ", "", shown, flags=re.MULTILINE)
    return sorted(" ".join(line.split()) for line in shown.splitlines())


def test_what_nobody_tells_of_is_put_right_too(untold: World) -> None:
    vip = json.loads((untold.folder / "svc-ipv4.json").read_text())["items"][0]["spec"]["clusterIP"]
    before = standing(untold)
    for what, (command, differed) in UNTOLD[untold.backend].items():
        since = len(untold.agent.entries)
        untold.lab.node.run(*(word.format(vip=vip) for word in command))
        put_right(untold, since, "IPv4", what=differed)
        untold.agent.wait(lambda _: standing(untold) == before, f"that {what} is put right", since, PATIENCE_S)
