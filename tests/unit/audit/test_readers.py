"""kube-proxy's rules read as frontends: from texts of its modes, and from any text at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.audit.compare import compare, wanted
from kproxy.audit.kube_iptables import parse_rule, read_iptables, stands
from kproxy.audit.kube_ipvs import read_ipvs
from kproxy.audit.kube_nftables import entries_of, step_of
from kproxy.audit.standing import Held, Spot
from kproxy.core.host import Host, Settings
from kproxy.core.plan import NodePlan
from kproxy.core.planner import plan_node
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, Protocol
from kproxy.effects.files import read_manifests
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.messages import Message
from kproxy.wiring.backends import find_backend
from tests.objects import networks

DATA = Path(__file__).parents[2] / "data" / "audit"
LINK = frozenset(
    {"10.96.0.80", "10.96.0.81", "10.96.0.82", "10.96.0.83", "10.96.0.84", "198.51.100.80", "198.51.100.81"}
)
LOCAL = frozenset({"192.0.2.11", "127.0.0.1"})
unhurried = settings(deadline=None, max_examples=80)


def plan(mode: str) -> NodePlan:
    snapshot = fold(Snapshot(), read_manifests([DATA / "cluster.yaml"]).events)
    host = Host("node-a", (), LOCAL)
    cidrs = Settings(cluster_cidrs=networks("10.64.0.0/16"))
    return plan_node(snapshot, cidrs, host, find_backend(mode).traits, Family.IPV4, None).plan


def saved() -> str:
    return (DATA / "kube-proxy-iptables.rules").read_text()


def test_the_iptables_mode_is_read_as_it_was_meant() -> None:
    have = read_iptables(saved())
    assert have.unread == ()
    assert compare(Family.IPV4, wanted(plan("iptables")), have) == []


def test_of_a_frontend_endpoints_masquerade_fence_and_affinity_are_read() -> None:
    held = read_iptables(saved()).frontends
    both = frozenset({("10.64.1.10", 8080), ("10.64.2.1", 8080)})
    assert held[Spot("198.51.100.80", 80, Protocol.TCP)] == Held("shop/web", both, "", True, True, 0)
    local = Held("shop/login", frozenset({("10.64.1.10", 8080)}), "", False, False, 0)
    assert held[Spot("", 30081, Protocol.TCP)] == local
    assert held[Spot("10.96.0.84", 53, Protocol.UDP)].affinity_s == 60
    assert held[Spot("10.96.0.83", 443, Protocol.TCP)] == Held("shop/idle", refusal="REJECT")
    assert held[Spot("", 30082, Protocol.TCP)].refusal == "DROP"


def test_the_ipvs_mode_is_read_as_it_is() -> None:
    have = read_ipvs((DATA / "ip_vs.txt").read_text(), LINK, LOCAL)
    assert have.unread == ()
    assert Spot("203.0.113.50", 80, Protocol.TCP) not in have.frontends
    (one,) = compare(Family.IPV4, wanted(plan("ipvs")), have)
    assert (one.service, one.where) == ("shop/far", "NodePort 30082/TCP")
    assert one.what == "should DROP, and does lead to endpoints"


def test_a_destination_without_weight_is_leaving() -> None:
    listed = (DATA / "ip_vs.txt").read_text().replace("0A400201:1F90      Masq    1", "0A400201:1F90      Masq    0")
    held = read_ipvs(listed, LINK, LOCAL).frontends[Spot("10.96.0.80", 80, Protocol.TCP)]
    assert held.endpoints == {("10.64.1.10", 8080)}


def test_ipv6_virtual_servers_are_read() -> None:
    listed = (
        "TCP  [fd00:0096:0000:0000:0000:0000:0000:0010]:0050 rr \n"
        "  -> [fd00:0064:0000:0000:0000:0000:0000:0001]:1F90      Masq    1      0          0         \n"
    )
    (spot,) = (found := read_ipvs(listed, frozenset({"fd00:96::10"}), frozenset())).frontends
    assert spot == Spot("fd00:96::10", 80, Protocol.TCP)
    assert found.frontends[spot].endpoints == {("fd00:64::1", 8080)}


def test_only_the_iptables_mode_has_its_chains() -> None:
    assert stands(saved())
    assert not stands(saved().replace(":KUBE-NODEPORTS - [0:0]\n", "", 1))
    assert not stands("")


@pytest.mark.parametrize("rule", ["-m length --length 1:2 -j RETURN", '-m comment --comment "a'])
def test_a_rule_with_words_that_nobody_knows_is_not_guessed_at(rule: str) -> None:
    assert not parse_rule(rule).is_known


def test_a_negated_source_is_a_strangers() -> None:
    assert not parse_rule("! -s 10.0.0.0/8 -j KUBE-MARK-MASQ").is_for_some
    assert parse_rule("-s 10.0.0.0/8 -j KUBE-MARK-MASQ").is_for_some


@unhurried
@given(st.lists(st.sampled_from([*saved().splitlines(), "-A KUBE-SERVICES", "-A x y z", "!"])), st.text(max_size=20))
def test_any_text_of_rules_is_read(chosen: list[str], noise: str) -> None:
    read_iptables("\n".join(["*nat", *chosen, noise, *saved().splitlines()[::3]]))


@unhurried
@given(st.text(alphabet="TCPUDF0123456789AB:[]->. \n", max_size=200))
def test_any_listing_of_virtual_servers_is_read(text: str) -> None:
    assert read_ipvs(text, LINK, LOCAL).frontends is not None


@unhurried
@given(st.binary(max_size=120))
def test_any_netlink_message_is_read_or_refused(payload: bytes) -> None:
    message = Message(0, 0, 0, 0, payload)
    for reader in (step_of, lambda one: list(entries_of(one))):
        try:
            reader(message)
        except Malformed:
            continue
