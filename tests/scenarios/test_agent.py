"""The agent's life, told by events, a clock of the test's own and kernels in memory."""

from __future__ import annotations

import ipaddress
import threading

import pytest

from backends.nftables import BACKEND as NFTABLES
from kproxy.agent import BE_LIBERAL, NODE_WAIT_S, REMIND_S, ROUTE_LOCALNET
from kproxy.core.host import LocalDetection, Settings
from kproxy.core.model import Applied, Deleted, Kind, Replaced
from kproxy.core.schedule import Pace
from kproxy.core.values import Family, ObjectKey
from kproxy.effects.network import Refused
from kproxy.errors import ApiError, ApplyRejected, ApplyTimeout, ConfigError, ParseError
from tests.fakes.kernel import objects
from tests.fakes.stage import CART, Stage, endpoint_slice, node, service


def test_nothing_is_programmed_before_services_and_slices_are_both_there() -> None:
    stage = Stage()
    stage.hear(Replaced(Kind.NODE, (node(),)))
    stage.hear(Replaced(Kind.SERVICE, (service(),)))
    assert stage.agent.wait_s() is None
    assert [kernel.changes for kernel in stage.kernels.values()] == [[], []]
    stage.hear(Replaced(Kind.ENDPOINT_SLICE, (endpoint_slice(),)))
    assert "10.64.1.10" in stage.served()


def test_the_first_sync_waits_a_moment_for_the_node_and_no_longer() -> None:
    stage = Stage()
    stage.hear(Replaced(Kind.SERVICE, (service(),)), Replaced(Kind.ENDPOINT_SLICE, (endpoint_slice(),)))
    assert stage.kernels[Family.IPV4].changes == []
    assert stage.agent.wait_s() == pytest.approx(NODE_WAIT_S)
    stage.step(after_s=NODE_WAIT_S)
    assert "10.64.1.10" in stage.served()


def test_a_change_is_applied_at_once_and_alone() -> None:
    stage = Stage()
    stage.begin([service(), service("web", "10.96.0.11")], [endpoint_slice(), endpoint_slice("web", "10.64.1.20")])
    before = len(stage.kernels[Family.IPV4].changes)
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.10", "10.64.2.99")))
    (change,) = stage.kernels[Family.IPV4].changes[before:]
    assert {owner for owner in change.owners if "/" in owner} == {"shop/cart"}
    assert "10.64.2.99" in stage.served()


def test_what_changes_nothing_makes_no_sync() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    syncs = stage.agent.sides[Family.IPV4].counters.syncs
    stage.hear(Applied(endpoint_slice()), Applied(node()), Replaced(Kind.SERVICE, (service(),)))
    assert stage.agent.sides[Family.IPV4].counters.syncs == syncs


def test_a_change_of_one_family_writes_nothing_in_the_other() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    before = len(stage.kernels[Family.IPV6].changes)
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.77")))
    assert stage.kernels[Family.IPV6].changes[before:] == []


def test_a_restart_finds_its_rules_and_changes_nothing() -> None:
    first = Stage()
    first.begin([service()], [endpoint_slice()])
    second = Stage()
    for family, kernel in second.kernels.items():
        kernel.document = first.kernels[family].document
    second.begin([service()], [endpoint_slice()])
    assert [kernel.changes for kernel in second.kernels.values()] == [[], []]
    assert len(second.log("synced for the first time")) == 2


def test_an_error_of_one_family_does_not_hold_up_the_other_and_is_retried_ever_later() -> None:
    stage = Stage()
    stage.kernels[Family.IPV4].fails = ApplyRejected("line 3 is not liked", "shop/cart")
    stage.begin([service()], [endpoint_slice()])
    assert stage.kernels[Family.IPV4].changes == []
    assert len(stage.kernels[Family.IPV6].changes) == 1
    waits = []
    for _ in range(3):
        wait = stage.agent.wait_s()
        assert wait is not None
        waits.append(wait)
        stage.kernels[Family.IPV4].fails = ApplyTimeout("no answer")
        stage.step(after_s=wait)
    assert waits == pytest.approx([0.1, 0.2, 0.4])
    stage.step(after_s=0.8)
    assert "10.64.1.10" in stage.served()
    assert stage.agent.sides[Family.IPV4].counters.failures == 4
    assert stage.agent.sides[Family.IPV4].error is None
    assert [line["error"] for line in stage.log("sync failed")] == ["line 3 is not liked", "no answer"]


def test_after_a_failure_the_kernel_is_looked_at() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    kernel = stage.kernels[Family.IPV4]
    looks = kernel.looks
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    assert kernel.looks == looks
    kernel.fails = ApplyTimeout("no answer")
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.12")))
    stage.step(after_s=0.1)
    assert kernel.looks == looks + 1
    assert "10.64.1.12" in stage.served()


def test_a_standing_error_is_told_once_in_a_while() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    for number in range(4):
        stage.kernels[Family.IPV4].fails = ApplyTimeout("no answer")
        stage.clock.now += REMIND_S / 2
        stage.hear(Applied(endpoint_slice("cart", f"10.64.1.{number + 20}")))
    assert len(stage.log("sync failed")) == 2


def test_what_the_kernel_refuses_is_named_and_tried_again_while_the_rest_stands() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    more = [Applied(service("web", "10.96.0.11")), Applied(endpoint_slice("web", "10.64.1.20"))]
    probe = Stage()
    probe.begin([service()], [endpoint_slice()])
    probe.hear(*more)
    refused = next(key for key in probe.kernels[Family.IPV4].changes[-1].added)
    stage.kernels[Family.IPV4].refuses = frozenset({refused})
    stage.hear(*more)
    assert [line["object"] for line in stage.log("refused by the kernel")] == [str(refused)]
    assert stage.agent.sides[Family.IPV4].counters.refusals == 1
    stage.kernels[Family.IPV4].refuses = frozenset()
    stage.step(after_s=1)
    assert objects(stage.kernels[Family.IPV4].document) == objects(probe.kernels[Family.IPV4].document)


def test_drift_is_repaired_when_the_kernel_is_looked_at_again() -> None:
    stage = Stage(pace=Pace(observe_every_s=5.0))
    stage.begin([service()], [endpoint_slice()])
    kernel = stage.kernels[Family.IPV4]
    wanted = kernel.document
    kernel.document = {}
    assert stage.agent.wait_s() == pytest.approx(5.0)
    stage.step(after_s=5.0)
    assert objects(kernel.document) == objects(wanted)


def test_looking_takes_no_more_than_its_share_of_the_time() -> None:
    stage = Stage(pace=Pace(observe_every_s=5.0))
    stage.begin([service()], [endpoint_slice()])
    stage.kernels[Family.IPV4].look_s = 2.0
    stage.kernels[Family.IPV6].look_s = 1.0
    stage.step(after_s=5.0)
    assert [side.pace.observe_every_s for side in stage.agent.sides.values()] == pytest.approx([200.0, 100.0])


def test_the_minimum_gap_is_kept_where_the_user_sets_one() -> None:
    stage = Stage(pace=Pace(min_gap_s=2.0))
    stage.begin([service()], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    assert "10.64.1.11" not in stage.served()
    stage.step(after_s=2.0)
    assert "10.64.1.11" in stage.served()


def test_new_addresses_take_node_ports_at_once() -> None:
    networks = (ipaddress.ip_network("198.18.0.0/15"), ipaddress.ip_network("192.0.2.0/24"))
    stage = Stage(Settings(node_port_addresses=networks))
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    assert not stage.served("198.18.0.11", 30080)
    stage.agent.move(frozenset({"127.0.0.1", "192.0.2.11", "198.18.0.11"}))
    stage.step()
    assert stage.served("198.18.0.11", 30080)
    stage.agent.move(frozenset({"127.0.0.1", "192.0.2.11"}))
    stage.step()
    assert not stage.served("198.18.0.11", 30080)


def test_a_node_object_that_changes_its_address_is_followed() -> None:
    stage = Stage(backend=NFTABLES)
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    assert stage.served("192.0.2.11", 30080)
    stage.hear(Applied(node(("192.0.2.99",))))
    assert stage.served("192.0.2.99", 30080)
    assert not stage.served("192.0.2.11", 30080)


def test_a_service_that_goes_leaves_nothing() -> None:
    stage = Stage()
    stage.begin([], [])
    empty = objects(stage.kernels[Family.IPV4].document)
    stage.hear(Applied(service()), Applied(endpoint_slice()))
    assert objects(stage.kernels[Family.IPV4].document) != empty
    stage.hear(Deleted(Kind.SERVICE, CART), Deleted(Kind.ENDPOINT_SLICE, ObjectKey("shop", "cart-1")))
    assert objects(stage.kernels[Family.IPV4].document) == empty


def test_a_lost_claim_is_told_once() -> None:
    stage = Stage()
    rivals = [
        service("cart", "10.96.0.10", created="2026-01-01T00:00:00Z", external=("198.51.100.1",)),
        service("thief", "10.96.0.11", created="2026-02-01T00:00:00Z", external=("198.51.100.1",)),
    ]
    stage.begin(rivals, [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    (line,) = stage.log("claim lost")
    assert (line["loser"], line["winner"]) == ("shop/thief", "shop/cart")


def test_that_no_pod_can_be_told_apart_is_said_once_per_family() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    assert [line["family"] for line in stage.log("no packet's source")] == ["IPv4", "IPv6"]
    known = Stage(Settings(cluster_cidrs=(ipaddress.ip_network("10.64.0.0/16"), ipaddress.ip_network("fd00:64::/48"))))
    known.begin([service()], [endpoint_slice()])
    assert known.log("no packet's source") == []


def test_why_pods_are_not_masqueraded_is_said_once_per_family() -> None:
    """Pods are told by interface, so that only clusterCIDR could say which others there are."""
    here = Settings(
        local_detection=LocalDetection.BRIDGE_INTERFACE,
        bridge_interface="cni0",
        cluster_cidrs=(ipaddress.ip_network("10.64.0.0/16"),),
        egress_masquerade=True,
    )
    stage = Stage(here)
    stage.begin([service()], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    (line,) = stage.log("pods' connections are not masqueraded")
    assert line["family"] == "IPv6"
    assert "set one of them" in line["reason"]


def test_a_skipped_object_is_told_once_per_reason() -> None:
    stage = Stage()
    for _ in range(3):
        stage.agent.fail(ParseError("Service shop/bad", "spec.ports[0].port", "70000 is not in 1 to 65535"))
    stage.agent.fail(ParseError("Service shop/bad", "spec.ports[0].port", "0 is not in 1 to 65535"))
    stage.step()
    assert [line["reason"][:5] for line in stage.log("object skipped")] == ["70000", "0 is "]


def test_a_source_in_trouble_is_told_once_in_a_while() -> None:
    stage = Stage()
    for _ in range(4):
        stage.agent.fail(ApiError("connection refused"))
        stage.agent.fail(ConfigError("cart.yaml:3: not YAML"))
        stage.step(after_s=REMIND_S / 2)
    assert len(stage.log("source in trouble")) == 4


def test_localhost_node_ports_set_their_sysctl_once_and_only_where_needed() -> None:
    stage = Stage()
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    assert stage.ensured == [ROUTE_LOCALNET]
    without = Stage(Settings(localhost_node_ports=False))
    without.begin([service(node_port=30080)], [endpoint_slice()])
    assert without.ensured == []


def test_a_sysctl_that_cannot_be_set_is_told_with_its_consequence() -> None:
    stage = Stage()
    stage.refusal = Refused(ROUTE_LOCALNET, "0", "Read-only file system")
    stage.begin([service(node_port=30080)], [endpoint_slice()])
    (line,) = stage.log("sysctl cannot be set")
    assert (line["sysctl"], line["reason"]) == ("net.ipv4.conf.all.route_localnet=1", "Read-only file system")
    assert "127.0.0.1" in line["consequence"]
    assert "10.64.1.10" in stage.served()


def test_once_ends_after_the_first_sync_and_says_what_went_wrong() -> None:
    stage = Stage(once=True, settings=Settings(tcp_be_liberal=True))
    stage.agent.put([Replaced(Kind.SERVICE, ()), Replaced(Kind.ENDPOINT_SLICE, ()), Replaced(Kind.NODE, ())])
    stage.kernels[Family.IPV6].fails = ApplyRejected("no")
    with pytest.raises(ApplyRejected, match="no"):
        stage.agent.run()
    assert len(stage.kernels[Family.IPV4].changes) == 1
    assert stage.ensured[0] == BE_LIBERAL


def test_stopping_leaves_the_rules() -> None:
    stage = Stage()
    thread = threading.Thread(target=stage.agent.run)
    thread.start()
    stage.agent.put([Replaced(Kind.SERVICE, (service(),)), Replaced(Kind.ENDPOINT_SLICE, (endpoint_slice(),))])
    stage.agent.put([Replaced(Kind.NODE, (node(),))])
    stage.agent.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert stage.kernels[Family.IPV4].closed is False


def test_counters_add_up() -> None:
    stage = Stage()
    stage.begin([service()], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.11")))
    counters = stage.agent.sides[Family.IPV4].counters
    changes = stage.kernels[Family.IPV4].changes
    assert counters.syncs == len(changes) == 2
    assert counters.added == sum(len(change.added) for change in changes)
    assert counters.changed == sum(len(change.changed) for change in changes) > 0
    assert counters.failures == counters.refusals == 0
