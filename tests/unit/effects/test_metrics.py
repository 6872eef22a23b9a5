from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from conntrack import metrics as connections
from kproxy.core.metrics import METRICS, Measure, Reading
from kproxy.effects.metrics import Metrics
from kproxy.effects.page import Page

SYNCS = "kubeproxy_sync_proxy_rules_duration_seconds"


def samples(page: Page) -> dict[tuple[str, ...], float]:
    """What a page says, by name and labels' values in the order of their names."""
    return {
        (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(page.body.decode())
        for one in family.samples
    }


def test_counters_add_gauges_keep_and_histograms_sort() -> None:
    metrics = Metrics("nftables", "1.2.3")
    for _ in range(2):
        metrics.take(
            [Measure("kproxy_syncs_total", 1, ("IPv4", "full", "success")), Measure("kproxy_services", 7, ("IPv4",))]
        )
    metrics.take([Measure(SYNCS, 0.003, ("IPv4",))])
    found = samples(metrics.page())
    assert found["kproxy_syncs_total", "IPv4", "full", "success"] == 2
    assert found["kproxy_services", "IPv4"] == 7
    assert (found[f"{SYNCS}_bucket", "IPv4", "0.002"], found[f"{SYNCS}_bucket", "IPv4", "0.004"]) == (0, 1)
    assert found["kproxy_build_info", "nftables", found_python(found), "1.2.3"] == 1


def found_python(found: dict[tuple[str, ...], float]) -> str:
    return next(key[2] for key in found if key[0] == "kproxy_build_info")


def test_what_another_backend_has_is_passed_over() -> None:
    metrics = Metrics("nftables", "1")
    metrics.take([Measure("kubeproxy_sync_proxy_rules_iptables_total", 3, ("nat", "IPv4"))])
    assert b"iptables" not in metrics.page().body


def test_what_has_not_happened_is_zero_and_nothing_has_a_time_of_creation() -> None:
    body = Metrics("iptables", "1").page().body
    found = samples(Metrics("iptables", "1").page())
    assert found["kubeproxy_sync_proxy_rules_service_changes_total",] == 0
    assert found["kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "IPv6"] == 0
    assert b"_created" not in body
    for metric in METRICS.values():
        if metric.modes is None or "iptables" in metric.modes:
            assert f"# HELP {metric.name} {metric.help}\n".encode() in body


def test_pings_are_told_as_kubernetes_components_do() -> None:
    metrics = Metrics("nftables", "1")
    assert samples(metrics.slis_page()) == {}
    metrics.pinged()
    metrics.pinged()
    assert samples(metrics.slis_page()) == {
        ("kubernetes_healthcheck", "ping", "healthz"): 1,
        ("kubernetes_healthchecks_total", "ping", "success", "healthz"): 2,
    }


def test_what_is_read_elsewhere_is_shown_as_it_is_now() -> None:
    metrics = Metrics("nftables", "1")
    latest: list[Reading] = []
    metrics.read_from(lambda: latest)
    assert b"kproxy_conntrack_service_flows" not in metrics.page().body
    latest[:] = [
        Reading(connections.SERVICE_FLOWS, {("shop/cart:http",): 3, ("shop/web",): 1}),
        Reading(connections.COUNTERS["insert_failed"], {(): 2}),
    ]
    body = metrics.page().body
    assert b"# TYPE kproxy_conntrack_insert_failed_total counter\n" in body
    found = samples(metrics.page())
    assert found["kproxy_conntrack_service_flows", "shop/cart:http"] == 3
    assert found["kproxy_conntrack_insert_failed_total",] == 2
    latest[:] = [Reading(connections.SERVICE_FLOWS, {("shop/web",): 2})]
    assert ("kproxy_conntrack_service_flows", "shop/cart:http") not in samples(metrics.page())


def test_no_metric_of_connections_is_added_up_as_well() -> None:
    read = {
        one.name
        for one in (
            *connections.COUNTERS.values(),
            connections.ENTRIES,
            connections.LIMIT,
            connections.UNREPLIED,
            connections.SERVICE_FLOWS,
            connections.SERVICE_UNREPLIED,
            connections.SERVICE_STALE,
            connections.ENDPOINT_FLOWS,
        )
    }
    assert not read & METRICS.keys()
