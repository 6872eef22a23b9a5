"""Which chains and rules a Service becomes; what they mean for packets, properties prove."""

from __future__ import annotations

import ipaddress

import pytest

from backends.iptables.names import (
    HAIRPIN,
    HEALTH_CHECKS,
    NODE_PORTS,
    REFUSED,
    REFUSED_NODE_PORTS,
    VIPS,
    ChainId,
    port_chain,
    port_digest,
)
from kproxy.core.plan import Action, Client, Frontend, FrontendKind, HealthCheck, Route, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from tests.unit.backends.iptables.plans import Chains, chains, leaf
from tests.unit.backends.plans import (
    FROM_OUTSIDE,
    TO_CLUSTER,
    TO_LOCAL,
    cluster_ip,
    endpoints,
    node_port,
    port,
    service,
)
from tests.unit.backends.plans import REFUSED as REFUSES

OF = port_digest(ObjectKey("shop", "cart"), "http", Protocol.TCP)
TWO = endpoints("10.64.1.1", "10.64.2.2")
MARK = "-j MARK --set-xmark 0x4000/0x4000"
TO_FIRST = "-p tcp -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.64.1.1:8080"
TO_SECOND = "-p tcp -j DNAT --to-destination 10.64.2.2:8080"


def chain(kind: str) -> ChainId:
    return ChainId("nat", port_chain(kind, OF))


def own(found: Chains) -> dict[str, tuple[str, ...]]:
    """The chains of the Service port by their kind."""
    return {key.chain.split("-")[1]: rules for key, rules in found.items() if key.chain.endswith(OF)}


def test_a_plain_service_is_one_chain_that_marks_whoever_is_no_pod() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), cluster=TWO)))
    assert own(found) == {"SVC": (f"! -s 10.64.0.0/16 {MARK}", TO_FIRST, TO_SECOND)}
    comment = '-m comment --comment "shop/cart:http cluster"'
    assert found[VIPS] == (f"-d 10.96.0.10/32 -p tcp {comment} -m tcp --dport 80 -g {chain('SVC').chain}",)


def test_two_tables_share_a_pool() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), cluster=TWO)))
    pool = f"-g {chain('SVC').chain}"
    assert own(found) == {
        "INT": (f"! -s 10.64.0.0/16 {MARK}", pool),
        "EXT": (MARK, pool),
        "SVC": (TO_FIRST, TO_SECOND),
    }
    assert leaf(found, NODE_PORTS, "nodeport").endswith(f"--dport 30080 -g {chain('EXT').chain}")


def test_a_table_that_only_leads_to_a_pool_is_no_chain() -> None:
    plain = (Route(Client.ANY, masquerade=False, action=Action.CLUSTER),)
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), cluster=TWO, internal=plain)))
    assert own(found) == {"EXT": (MARK, f"-g {chain('SVC').chain}"), "SVC": (TO_FIRST, TO_SECOND)}
    assert leaf(found, VIPS, "cluster").endswith(f"-g {chain('SVC').chain}")


def test_policy_local_writes_its_pool_into_the_table_and_leads_pods_and_node_elsewhere() -> None:
    local = endpoints("10.64.1.1", local=["10.64.1.1"])
    found = chains(service("cart", port(node_port(30080), cluster=TWO, local=local, external=TO_LOCAL)))
    pool, from_node = f"-g {chain('SVC').chain}", "-m addrtype --src-type LOCAL "
    assert own(found) == {
        "EXT": (
            f"-s 10.64.0.0/16 {pool}",
            from_node + MARK,
            from_node + pool,
            "-p tcp -j DNAT --to-destination 10.64.1.1:8080",
        ),
        "SVC": (TO_FIRST, TO_SECOND),
    }


def test_several_pod_networks_take_several_rules() -> None:
    networks = tuple(ipaddress.ip_network(text) for text in ("10.64.1.0/24", "10.65.1.0/24"))
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), cluster=TWO)), pods=networks)
    pool = f"-g {chain('SVC').chain}"
    assert own(found)["INT"] == (f"-s 10.64.1.0/24 {pool}", f"-s 10.65.1.0/24 {pool}", MARK, pool)


@pytest.mark.parametrize("interface", ["cni0", "veth+"])
def test_pods_by_interface(interface: str) -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), cluster=TWO)), pods=interface)
    assert own(found)["SVC"][0] == f"! -i {interface} {MARK}"


def test_without_a_detector_nobody_is_a_pod() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), cluster=TWO, internal=FROM_OUTSIDE)), pods=None)
    assert own(found) == {"SVC": (MARK, TO_FIRST, TO_SECOND)}


def test_affinity_looks_up_and_remembers_in_one_rule_by_a_list_that_all_frontends_share() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), cluster=TWO, affinity_s=600)))
    rules = own(found)["SVC"]
    names = [rule.split("--name ")[1].split()[0] for rule in rules]
    assert names == [*names[:2], *names[:2]]
    assert len(set(names)) == 2
    remembered = f"--name {names[0]} --mask 255.255.255.255 --rsource "
    assert rules[0] == (
        f"-p tcp -m recent --rcheck --seconds 600 --reap {remembered}-m recent --set {remembered}"
        "-j DNAT --to-destination 10.64.1.1:8080"
    )
    assert rules[3] == (
        f"-p tcp -m recent --set --name {names[1]} --mask 255.255.255.255 --rsource "
        "-j DNAT --to-destination 10.64.2.2:8080"
    )


def test_without_endpoints_nat_leaves_the_packet_and_filter_refuses_it() -> None:
    found = chains(
        service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), internal=REFUSES, external=REFUSES))
    )
    assert own(found) == {}
    reject = "-j REJECT --reject-with icmp-port-unreachable"
    for tree, table in ((VIPS, REFUSED), (NODE_PORTS, REFUSED_NODE_PORTS)):
        match = leaf(found, tree, "cart").removesuffix("-j ACCEPT")
        assert found[table] == (match + reject,)


def fenced(*allowed: str) -> Frontend:
    return Frontend(FrontendKind.LOAD_BALANCER, "198.51.100.1", 80, tuple(ipaddress.ip_network(one) for one in allowed))


def test_a_fence_lets_in_whom_it_names_and_filter_drops_the_rest() -> None:
    found = chains(service("cart", port(fenced("203.0.113.0/24", "192.0.2.0/24"), cluster=TWO)))
    fence = ChainId("nat", leaf(found, VIPS, "lb").rpartition(" ")[2])
    to_pool = f"-g {chain('SVC').chain}"
    assert found[fence] == (f"-s 203.0.113.0/24 {to_pool}", f"-s 192.0.2.0/24 {to_pool}", "-j ACCEPT")
    assert leaf(found, REFUSED, "lb").endswith("--dport 80 -j DROP")


def test_a_fence_comes_before_a_refusal() -> None:
    found = chains(service("cart", port(fenced("203.0.113.0/24"), external=REFUSES)))
    fence = ChainId("filter", leaf(found, REFUSED, "lb").rpartition(" ")[2])
    assert found[fence] == ("-s 203.0.113.0/24 -j REJECT --reject-with icmp-port-unreachable", "-j DROP")


def test_a_fence_that_names_nobody_drops_everybody_and_one_that_names_all_is_none() -> None:
    found = chains(service("cart", port(fenced(), cluster=TWO)))
    assert own(found) == {}
    assert leaf(found, REFUSED, "lb").endswith("-j DROP")
    found = chains(service("cart", port(fenced("203.0.113.0/24", "0.0.0.0/0"), cluster=TWO)))
    assert leaf(found, VIPS, "lb").endswith(f"-g {chain('SVC').chain}")
    assert found[REFUSED] == ()


def test_clients_that_are_refused_in_different_ways_take_a_chain() -> None:
    mixed = (
        Route(Client.POD, masquerade=False, action=Action.REJECT),
        Route(Client.NODE, masquerade=True, action=Action.CLUSTER),
        Route(Client.ANY, masquerade=False, action=Action.DROP),
    )
    found = chains(service("cart", port(node_port(30080), cluster=TWO, external=mixed)))
    own_chain = ChainId("filter", leaf(found, REFUSED_NODE_PORTS, "nodeport").rpartition(" ")[2])
    assert found[own_chain] == ("-s 10.64.0.0/16 -j REJECT --reject-with icmp-port-unreachable", "-j DROP")
    assert own(found)["EXT"][0] == "-s 10.64.0.0/16 -j ACCEPT"
    assert own(found)["EXT"][-1] == "-j ACCEPT"
    found = chains(service("cart", port(fenced("203.0.113.0/24"), cluster=TWO, external=mixed)))
    fence = ChainId("filter", leaf(found, REFUSED, "lb").rpartition(" ")[2])
    inner = ChainId("filter", found[fence][0].rpartition(" ")[2])
    assert found[fence] == (f"-s 203.0.113.0/24 -g {inner.chain}", "-j DROP")
    assert found[inner] == ("-s 10.64.0.0/16 -j REJECT --reject-with icmp-port-unreachable", "-j DROP")


def test_local_endpoints_may_meet_themselves() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", local=["10.64.1.1"]))))
    assert found[HAIRPIN] == ("-s 10.64.1.1/32 -d 10.64.1.1/32 -j MASQUERADE --random-fully",)


def test_a_health_check_port_is_admitted() -> None:
    plan = ServicePlan(ObjectKey("shop", "cart"), (), HealthCheck(32000, 1))
    comment = '-m comment --comment "shop/cart health check" '
    assert chains(plan)[HEALTH_CHECKS] == (f"-p tcp {comment}-m tcp --dport 32000 -j ACCEPT",)
    assert chains(plan, accepts_health_checks=False)[HEALTH_CHECKS] == ()


def test_ipv6_reads_like_ipv4() -> None:
    pool = endpoints("fd00:64:1::1")
    frontend = Frontend(FrontendKind.CLUSTER, "fd00:96::10", 80)
    found = chains(service("cart", port(frontend, cluster=pool, affinity_s=60)), family=Family.IPV6)
    assert leaf(found, VIPS, "cart").startswith("-d fd00:96::10/128 -p tcp ")
    assert own(found)["SVC"][0] == f"! -s fd00:64::/32 {MARK}"
    assert own(found)["SVC"][-1].endswith(
        "--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -j DNAT --to-destination [fd00:64:1::1]:8080"
    )
    refused = chains(service("cart", port(frontend, internal=REFUSES)), family=Family.IPV6)
    assert leaf(refused, REFUSED, "cart").endswith("-j REJECT --reject-with icmp6-port-unreachable")


def test_the_mark_is_the_plans_own() -> None:
    found = chains(service("cart", port(node_port(30080), cluster=TWO)), masquerade_bit=31)
    assert own(found)["SVC"][0] == "-j MARK --set-xmark 0x80000000/0x80000000"


def test_internal_and_external_tables_that_are_alike_are_one() -> None:
    found = chains(service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), cluster=TWO, external=TO_CLUSTER)))
    assert list(own(found)) == ["SVC"]
