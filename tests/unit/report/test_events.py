from __future__ import annotations

import json

from kproxy.core.values import ObjectKey
from kproxy.report.events import MAX_NOTE, Remark, event_post, started

AT = 1_795_000_000.25


def test_a_remark_about_the_node() -> None:
    post = event_post(Remark("Starting", is_warning=False), "node-a", AT, "abc")
    assert post.path == "/apis/events.k8s.io/v1/namespaces/default/events"
    assert json.loads(post.body) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "node-a.abc", "namespace": "default"},
        "eventTime": "2026-11-18T11:06:40.250000Z",
        "reportingController": "kproxy",
        "reportingInstance": "kproxy-node-a",
        "action": "StartKubeProxy",
        "reason": "Starting",
        "regarding": {"kind": "Node", "name": "node-a", "uid": "node-a"},
        "note": "",
        "type": "Normal",
    }


def test_a_remark_about_a_service_is_kept_in_its_namespace() -> None:
    remark = Remark("FailedToStartServiceHealthcheck", "x" * 2000, "Listen", ObjectKey("shop", "cart"))
    post = event_post(remark, "node-a", AT, "abc")
    event = json.loads(post.body)
    assert post.path == "/apis/events.k8s.io/v1/namespaces/shop/events"
    assert event["metadata"] == {"name": "cart.abc", "namespace": "shop"}
    assert event["regarding"] == {"kind": "Service", "namespace": "shop", "name": "cart", "uid": "shop/cart"}
    assert (event["type"], event["action"], len(event["note"])) == ("Warning", "Listen", MAX_NOTE)


def test_kube_proxys_events_of_a_start_are_one_more_in_ipvs_mode() -> None:
    assert [(one.reason, one.is_warning) for one in started("nftables")] == [("Starting", False)]
    assert [(one.reason, one.is_warning) for one in started("ipvs")] == [("Starting", False), ("IPVSDeprecation", True)]
