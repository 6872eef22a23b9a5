"""Annotations kproxy.io/ipvs-scheduler and kproxy.io/drain-timeout, from the API's text to the plan."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.core.host import Host, Settings
from kproxy.core.model import IPVS_SCHEDULERS
from kproxy.core.plan import Ipvs
from kproxy.core.planner import plan_node
from kproxy.core.values import Family, ObjectKey
from tests.conformance import TRAITS, snapshot_of

CART = ObjectKey("shop", "cart")


def planned(annotations: Any, node: Ipvs | None = None) -> tuple[str, int | None, Ipvs]:
    """What the plan says of the Service, and of the node."""
    service = {
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": "cart", "annotations": annotations},
        "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]},
    }
    settings = Settings(ipvs=node or Ipvs())
    plan = plan_node(snapshot_of([service]), settings, Host("node-a"), TRAITS["iptables"], Family.IPV4, None).plan
    return plan.services[CART].scheduler, plan.services[CART].drain_s, plan.ipvs


@pytest.mark.parametrize("scheduler", IPVS_SCHEDULERS)
def test_a_known_scheduler_is_taken(scheduler: str) -> None:
    assert planned({"kproxy.io/ipvs-scheduler": scheduler})[0] == scheduler


@pytest.mark.parametrize("wish", ["", "best", "RR", 7, None])
def test_an_unknown_one_is_as_good_as_absent(wish: Any) -> None:
    assert planned({"kproxy.io/ipvs-scheduler": wish})[0] == ""


@pytest.mark.parametrize(
    ("wish", "expected"),
    [("0", 0), ("90", 90), (90, 90), ("90s", 90), ("5m", 300), ("1h", 3600)]
    + [(wish, None) for wish in ("", "s", "-5", "1.5m", "5 m", "1h30m", "٣", "m5", "9999999999", None)],
)
def test_the_drain_time_is_seconds_or_has_one_unit(wish: Any, expected: int | None) -> None:
    assert planned({"kproxy.io/drain-timeout": wish})[1] == expected


def test_the_nodes_own_choice_stands_in_the_plan() -> None:
    assert planned(None, Ipvs("lc", 60)) == ("", None, Ipvs("lc", 60))
