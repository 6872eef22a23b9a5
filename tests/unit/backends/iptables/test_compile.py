"""What compiling takes over from the last time, by identity."""

from __future__ import annotations

from typing import Any

from backends.iptables.compile import Chains, compile_plan
from kproxy.core.document import BASE, diff
from kproxy.core.plan import ServicePlan
from tests.unit.backends.iptables.plans import plan
from tests.unit.backends.plans import REFUSED, cluster_ip, endpoints, port, service


def cart(*addresses: str, number: int = 80) -> ServicePlan:
    return service("cart", port(cluster_ip("10.96.0.10", number), cluster=endpoints(*addresses)))


OTHER = service("other", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.3")))
BEFORE = compile_plan(plan(cart("10.64.1.1"), OTHER), None)


def after(*services: ServicePlan, **settings: Any) -> Chains:
    return compile_plan(plan(*services, **settings), BEFORE)


def test_a_changed_endpoint_changes_one_chain_and_keeps_every_tree() -> None:
    now = after(cart("10.64.1.2"), OTHER)
    assert now.document["shop/other"] is BEFORE.document["shop/other"]
    assert all(now.trees[tree] is chains for tree, chains in BEFORE.trees.items())
    change = diff(BEFORE.document, now.document)
    assert len(change.changed) == 1
    assert not change.added
    assert not change.removed
    assert change.owners == {"shop/cart"}


def test_a_changed_frontend_grows_its_tree_anew_and_keeps_the_others() -> None:
    now = after(cart("10.64.1.1", number=81), OTHER)
    kept = {tree.value for tree, chains in BEFORE.trees.items() if now.trees[tree] is chains}
    assert kept == {tree.value for tree in BEFORE.trees} - {"tree-vips"}


def test_a_service_that_goes_leaves_nothing() -> None:
    now = after(OTHER)
    assert now.document == compile_plan(plan(OTHER), None).document
    assert "shop/cart" not in now.document


def test_a_service_that_refuses_everybody_has_no_chains_of_its_own() -> None:
    refused = service("cart", port(cluster_ip("10.96.0.10"), internal=REFUSED))
    now = after(refused, OTHER)
    assert "shop/cart" not in now.document
    assert now.document == compile_plan(plan(refused, OTHER), None).document


def test_another_setting_compiles_everything_anew() -> None:
    now = after(cart("10.64.1.1"), OTHER, masquerade_bit=15)
    assert now.document == compile_plan(plan(cart("10.64.1.1"), OTHER, masquerade_bit=15), None).document
    assert "0x8000" in str(now.document["shop/cart"])


def test_a_setting_that_only_the_base_obeys_keeps_the_services() -> None:
    now = after(cart("10.64.1.1"), OTHER, drop_invalid=False)
    assert now.document[BASE] != BEFORE.document[BASE]
    assert now.document["shop/other"] is BEFORE.document["shop/other"]
