"""An API server that is gone, slow, flapping, forgetful, behind the times or talking nonsense harms no connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.topology import Lab
from tests.e2e.world import endpoint, endpoint_slice, fresh_vip, service
from tests.fakes.apiobjects import cluster
from tests.fakes.apiserver import CUT, Fault
from tests.fakes.apistore import COLLECTIONS
from tests.faults.stand import KINDS, Stand, stand

pytestmark = pytest.mark.root

TROUBLE = "source in trouble, what is known stays in force"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
GARBAGE = (b"{}\n", b'{"type":"ADDED","object":\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n")
EVENTS = 10_000
BURST_MB = 192.0
"""A cluster of 5,000 Services takes that much while it is there, and Python gives little of it back."""


@pytest.fixture
def node(lab: Lab, tmp_path: Path) -> Iterator[Stand]:
    with stand(lab, tmp_path, fresh_vip()) as made:
        yield made


def test_a_server_that_is_gone_takes_no_rule_with_it(node: Stand) -> None:
    here, there, elsewhere = node.pods
    with node.intact():
        node.server.await_watches(KINDS)
        node.server.stop()
        node.heard(TROUBLE)
        node.server.put(service("other", fresh_vip(), 0))
        node.serves(here, there)
        node.may_serve(*node.pods)
        node.order(elsewhere)
        node.start_server()
        node.serves(elsewhere)


def test_what_was_deleted_while_nobody_was_connected_is_gone_afterwards(node: Stand) -> None:
    with node.intact():
        node.server.await_watches(KINDS)
        node.server.stop()
        node.heard(TROUBLE)
        node.traffic.allow({"REJECT"})
        node.server.delete("EndpointSlice", "web-ipv4", "e2e")
        node.server.store.compact()
        node.start_server()
        node.traffic.until({"REJECT"})


def test_a_slow_server_is_waited_for(node: Stand) -> None:
    with node.intact():
        node.server.await_watches(KINDS)
        node.server.slow_s = 0.5
        node.server.command(CUT)
        node.follows(node.pods[2])
        node.server.slow_s = 0.0


def test_a_server_that_comes_and_goes_is_followed_in_the_end(node: Stand) -> None:
    with node.intact():
        node.may_serve(*node.pods)
        for number in range(3):
            asked = len(node.server.requests)
            node.server.await_that(lambda: bool(node.server.streams))
            node.server.stop()
            node.order(node.pods[number % 2], node.pods[2])
            node.start_server()
            node.server.await_that(lambda asked=asked: len(node.server.requests) > asked)
        node.serves(node.pods[0], node.pods[2])


def test_a_token_that_has_expired_is_read_anew(lab: Lab, tmp_path: Path) -> None:
    with stand(lab, tmp_path, fresh_vip(), token="first") as node, node.intact():
        node.server.await_watches(KINDS)
        node.server.tokens = {"second"}
        node.server.command(CUT)
        node.agent.wait(lambda said: any("401" in str(one.get("error")) for one in said), "401", patience_s=60.0)
        node.serves(*node.pods[:2])
        node.may_serve(*node.pods)
        node.order(node.pods[2])
        node.write_kubeconfig("second")
        node.serves(node.pods[2])
        assert not [one for one in node.agent.entries if "first" in str(one.get("error"))]


def test_a_storm_of_410_ends_in_the_clusters_state(node: Stand) -> None:
    with node.intact():
        node.server.await_watches(KINDS)
        for path in COLLECTIONS:
            node.server.inject(Fault(path, code=410, reason="Expired", watch=True, as_event=True))
        node.server.inject(Fault(SLICES, code=410, reason="Expired"))
        node.may_serve(*node.pods)
        node.order(node.pods[2])
        node.server.store.compact()
        node.server.command(CUT)
        node.serves(node.pods[2])
        node.server.await_that(lambda: not node.server.faults)


def test_a_stream_that_is_cut_in_the_middle_of_an_object_goes_on(node: Stand) -> None:
    with node.intact():
        for number in range(2):
            node.server.await_watches(KINDS)
            node.server.command(CUT)
            node.follows(node.pods[number])


def test_garbage_is_neither_believed_nor_the_end(node: Stand) -> None:
    with node.intact():
        node.server.await_watches(KINDS)
        node.server.command(b"garbage\n")
        node.follows(node.pods[2])
        node.server.await_watches(KINDS)
        node.server.inject(
            *(Fault(path, watch=True, lines=(line,)) for path, line in zip(COLLECTIONS, GARBAGE, strict=True))
        )
        node.server.command(CUT)
        node.follows(node.pods[0])
        node.server.await_that(lambda: not node.server.faults)


def test_ten_thousand_events_at_once_disturb_nobody(node: Stand) -> None:
    """Twice, so that what is kept of the first time is not taken for a leak, and a leak shows."""
    crowd = [one for one in cluster(EVENTS // 2, 2) if one["kind"] in ("Service", "EndpointSlice")]
    with node.intact(BURST_MB):
        for _ in range(2):
            with node.server.store.changed:
                node.server.put(*crowd)
            node.follows(node.pods[2])
            with node.server.store.changed:
                for one in crowd:
                    node.server.delete(one["kind"], one["metadata"]["name"], one["metadata"]["namespace"])
            node.follows(node.pods[0])


def test_a_server_behind_the_times_does_not_turn_back_the_clock(node: Stand) -> None:
    """The next API server that answers knows less than the last one did; what it is behind comes later."""
    here, _, elsewhere = node.pods
    with node.intact():
        node.follows(elsewhere)
        node.server.await_watches(KINDS)
        newest = node.server.store.version
        node.server.stop()
        node.server.put(endpoint_slice("web", 0, endpoint(here)))
        node.server.store.rewind(newest - 1)
        late = Fault(code=504, reason="Timeout", message="Too large resource version", as_event=True, retry_after_s=1)
        node.server.inject(*[late] * KINDS)
        node.start_server()
        node.server.await_that(lambda: not node.server.faults)
        node.server.await_watches(KINDS)
        node.serves(elsewhere)
        node.server.store.put(endpoint_slice("web", 0, endpoint(elsewhere)), newest)
        node.follows(here)
