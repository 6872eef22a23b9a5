from __future__ import annotations

import pytest

from kproxy.core.document import Addition, Change, Removal, Replacement
from kproxy.core.metrics import METRICS, Measure
from kproxy.core.plan import Action, Client, Frontend, FrontendKind, NodePlan, PortPlan, Route, ServicePlan
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.errors import ApiDenied, ApplyTimeout, KernelError, ParseError
from kproxy.ports import Refusal
from kproxy.report.drift import Deed, Drift, Noticed
from kproxy.report.measures import RULES, field_name, measures, plan_measures
from kproxy.report.news import Cleaned, Heard, News, Probed, Reloaded, Synced, Troubled, WatchBegan

CHANGE = Change(
    {("nat", "A"): Addition("shop/cart", ("r1", "r2")), ("filter", "B"): Addition("base", ("r",))},
    {("nat", "C"): Replacement("shop/cart", (), ("r1", "r2", "r3"))},
    {("nat", "D"): Removal("shop/cart", ("r",))},
)


NO_DRIFT = Drift()


def synced(
    *,
    backend: str = "iptables",
    observed: bool = False,
    change: Change = CHANGE,
    refusals: tuple[Refusal, ...] = (),
    error: KernelError | None = None,
    drift: Drift = NO_DRIFT,
) -> Synced:
    return Synced(
        at=1000.0,
        family=Family.IPV4,
        backend=backend,
        took_s=0.25,
        stages={"plan": 0.1, "apply": 0.15},
        observed=observed,
        change=change,
        refusals=refusals,
        error=error,
        plan=None,
        waited_s=0.5,
        programming_s=(0.7, 0.9),
        drift=drift,
    )


def told(news: News) -> dict[tuple[str, ...], float]:
    """What news measure, by name and labels; every one must fit the table."""
    found = list(measures(news))
    for one in found:
        assert len(one.labels) == len(METRICS[one.name].labels), one
    result: dict[tuple[str, ...], float] = {}
    for one in found:
        result[(one.name, *one.labels)] = result.get((one.name, *one.labels), 0.0) + one.amount
    return result


def test_a_partial_sync() -> None:
    found = told(synced())
    assert found["kubeproxy_sync_proxy_rules_duration_seconds", "IPv4"] == 0.25
    assert found["kubeproxy_sync_partial_proxy_rules_duration_seconds", "IPv4"] == 0.25
    assert ("kubeproxy_sync_full_proxy_rules_duration_seconds", "IPv4") not in found
    assert found[f"{RULES}last_timestamp_seconds", "IPv4"] == 1000.0
    assert found["kubeproxy_network_programming_duration_seconds", "IPv4"] == pytest.approx(1.6)
    assert found["kproxy_change_to_kernel_duration_seconds", "IPv4"] == 0.5
    assert found["kproxy_sync_stage_duration_seconds", "IPv4", "apply"] == 0.15
    assert found["kproxy_syncs_total", "IPv4", "partial", "success"] == 1
    words = {"added": 2, "changed": 1, "removed": 1}
    assert {word: found["kproxy_sync_objects_total", "IPv4", word] for word in words} == words
    assert found[f"{RULES}iptables_last", "nat", "IPv4"] == 5
    assert found[f"{RULES}iptables_last", "filter", "IPv4"] == 1
    assert not any("drift" in name for name, *_ in found)


def test_a_full_sync_that_finds_drift() -> None:
    drift = Drift({("chain", Deed.REMOVED): 3, ("jump", Deed.ADDED): 1}, (), Noticed.TOLD)
    found = told(synced(observed=True, drift=drift))
    assert found["kubeproxy_sync_full_proxy_rules_duration_seconds", "IPv4"] == 0.25
    assert found["kproxy_drift_objects_total", "IPv4", "chain", "removed"] == 3
    assert found["kproxy_drift_objects_total", "IPv4", "jump", "added"] == 1
    assert found["kproxy_drift_repairs_total", "IPv4", "notification"] == 1


def test_rules_are_counted_for_iptables_alone() -> None:
    assert not any(key[0] == f"{RULES}iptables_last" for key in told(synced(backend="nftables")))


@pytest.mark.parametrize("observed", [True, False])
def test_a_failed_sync_changes_nothing_and_is_counted(observed: bool) -> None:  # noqa: FBT001 - a parameter
    found = told(synced(observed=observed, error=ApplyTimeout("silence")))
    assert found[f"{RULES}iptables_restore_failures_total", "IPv4"] == 1
    assert found[f"{RULES}nftables_sync_failures_total", "IPv4"] == 1
    assert ((f"{RULES}iptables_partial_restore_failures_total", "IPv4") in found) is not observed
    assert found["kproxy_syncs_total", "IPv4", "full" if observed else "partial", "failed"] == 1
    assert (f"{RULES}last_timestamp_seconds", "IPv4") not in found
    assert not any(key[0] == "kproxy_sync_objects_total" for key in found)


def test_a_refused_object_is_no_success() -> None:
    found = told(synced(refusals=(Refusal("shop/cart", "chain", "no"),)))
    assert found["kproxy_syncs_total", "IPv4", "partial", "refused"] == 1
    assert found["kproxy_sync_refused_objects_total", "IPv4"] == 1
    assert (f"{RULES}last_timestamp_seconds", "IPv4") not in found


def test_what_is_heard() -> None:
    assert told(Heard(7.0, tuple(Family), 3, 2)) == {
        (f"{RULES}service_changes_total",): 3,
        (f"{RULES}endpoint_changes_total",): 2,
        (f"{RULES}last_queued_timestamp_seconds", "IPv4"): 7.0,
        (f"{RULES}last_queued_timestamp_seconds", "IPv6"): 7.0,
    }


@pytest.mark.parametrize(
    ("news", "expected"),
    [
        (
            Troubled(ParseError("Service shop/cart", "spec.ports[0].port", "0 is no port")),
            ("kproxy_objects_skipped_total", "Service", "spec.ports.port"),
        ),
        (Troubled(ParseError("Node a", "", "is not JSON")), ("kproxy_objects_skipped_total", "Node", "object")),
        (Troubled(ApiDenied("403")), ("kproxy_source_errors_total", "ApiDenied")),
        (Probed("/healthz", 503), ("kubeproxy_proxy_healthz_total", "503")),
        (Probed("/livez", 200), ("kubeproxy_proxy_livez_total", "200")),
        (WatchBegan("Service"), ("kproxy_watch_restarts_total", "Service")),
    ],
)
def test_what_counts_by_one(news: News, expected: tuple[str, ...]) -> None:
    assert told(news) == {expected: 1}


def test_readiness_is_no_metric_of_kube_proxys() -> None:
    assert told(Probed("/readyz", 200)) == {}


@pytest.mark.parametrize(("reason", "result", "stands"), [("", "applied", 1), ("bad", "invalid", 0)])
def test_reloads(reason: str, result: str, stands: int) -> None:
    assert told(Reloaded(1.0, reason)) == {
        ("kproxy_config_reloads_total", result): 1,
        ("kproxy_config_last_reload_successful",): stands,
    }


def test_connections_cleaned_up() -> None:
    assert told(Cleaned(Family.IPV6, 0.5, 3, "")) == {
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "IPv6"): 0.5,
        ("kubeproxy_conntrack_reconciler_deleted_entries_total", "IPv6"): 3,
        ("kproxy_conntrack_reconciler_failures_total", "IPv6"): 0,
    }


def test_field_names_are_as_many_as_the_api_has() -> None:
    hostile = "metadata.labels[" + "x" * 500
    assert field_name(hostile) == "metadata.labels"
    assert field_name("spec.ports[17].name[3]") == "spec.ports.name"


def port(internal: Action, external: Action, *kinds: FrontendKind) -> PortPlan:
    frontends = tuple(Frontend(kind, "10.96.0.1", 80) for kind in kinds)
    rows = ((Route(Client.ANY, masquerade=False, action=action),) for action in (internal, external))
    return PortPlan("http", Protocol.TCP, frontends, 0, (), (), (), *rows)


def test_ports_without_local_endpoints_are_counted_by_policy() -> None:
    key = ObjectKey("shop", "cart")
    cluster, outside = FrontendKind.CLUSTER, FrontendKind.LOAD_BALANCER
    ports = (
        port(Action.DROP, Action.CLUSTER, cluster),
        port(Action.DROP, Action.DROP, cluster, outside),
        port(Action.CLUSTER, Action.DROP, cluster),  # nothing outside leads there
        port(Action.REJECT, Action.REJECT, cluster, outside),  # nobody has an endpoint
    )
    plan = NodePlan(Family.IPV4, {key: ServicePlan(key, ports)})
    name = f"{RULES}no_local_endpoints_total"
    found = {one.labels: one.amount for one in plan_measures(Family.IPV4, plan) if one.name == name}
    assert found == {("internal", "IPv4"): 2, ("external", "IPv4"): 1}
    assert Measure("kproxy_service_ports", 4, ("IPv4",)) in plan_measures(Family.IPV4, plan)
