"""The pages that an agent serves: kube-proxy's, byte for byte, and ours under /debug."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from kproxy.agent import State
from kproxy.config import Config
from kproxy.config.encode import encode
from kproxy.core.metrics import Measure
from kproxy.core.values import ObjectKey
from kproxy.effects.http import NOT_FOUND, TEXT, Answer, Page, Request, Site
from kproxy.effects.metrics import Metrics
from kproxy.report.details import node_lines, service_lines
from kproxy.report.health import Health, healthz_json, livez_json
from kproxy.report.layout import aligned, printable
from kproxy.report.news import Probed
from kproxy.report.services import HEADINGS, plan_json, service_json, service_rows, view_services
from kproxy.wiring.views import documents_of, planned_of, planned_snapshot

JSON = "application/json"
GROUP = "kubeproxy.config.k8s.io"
DEBUG = "/debug/"
PAGES: Mapping[str, str] = {
    "status": "what `kproxy status` prints, as JSON",
    "services": "Services as this node sees them",
    "services/NAMESPACE/NAME": "one Service in full: who may come, who serves, and why; ?output=json",
    "plan": "the whole plan, as JSON",
    "rules": "the rules as they should be in the kernel, loadable by the backend's tool",
    "config": "our own part of the configuration, as JSON",
}


def health_site(health: Callable[[], Health], tell: Callable[[Probed], None]) -> Site:
    """kube-proxy's health port, and `/readyz`: whether every family has been synced once."""

    def page(path: str, body: bytes, *, is_good: bool, content_type: str = JSON) -> Page:
        status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
        tell(Probed(path, status.value))
        return Page(body, content_type, status)

    def healthz(_request: Request) -> Page:
        now = health()
        return page("/healthz", healthz_json(now, time.time()), is_good=now.healthy)

    def livez(_request: Request) -> Page:
        now = health()
        return page("/livez", livez_json(now, time.time()), is_good=now.live)

    def readyz(_request: Request) -> Page:
        is_ready = health().ready
        return page("/readyz", b"ok" if is_ready else b"not synced yet", is_good=is_ready, content_type=TEXT)

    return Site({"/healthz": healthz, "/livez": livez, "/readyz": readyz})


def metrics_pages(
    state: Callable[[], State],
    config: Callable[[], Config],
    metrics: Metrics,
    gauges: Callable[[], Iterable[Measure]],
) -> Mapping[str, Answer]:
    """kube-proxy's metrics port."""

    def scrape(_request: Request) -> Page:
        metrics.take(gauges())
        return metrics.page()

    def ping(_request: Request) -> Page:
        metrics.pinged()
        return Page(b"ok")

    return {
        "/metrics": scrape,
        "/metrics/slis": lambda _: metrics.slis_page(),
        "/healthz": ping,
        "/proxyMode": lambda _: Page(state().backend.name.encode()),
        "/configz": lambda _: _json({GROUP: encode(config().proxy)}),
    }


def debug_pages(
    state: Callable[[], State], config: Callable[[], Config], status: Callable[[], object]
) -> Mapping[str, Answer]:
    """What an agent knows, for whoever looks for a fault."""
    return {
        DEBUG: lambda request: _index() if request.path == DEBUG else NOT_FOUND,
        f"{DEBUG}status": lambda _: _json(status()),
        f"{DEBUG}services": lambda request: _services(state(), request),
        f"{DEBUG}services/": lambda request: _service(state(), request),
        f"{DEBUG}plan": lambda _: _plan(state()),
        f"{DEBUG}rules": lambda _: _text([_rules(state())]),
        f"{DEBUG}config": lambda _: _json(encode(config().own)),
    }


def _index() -> Page:
    return _text(aligned(("PAGE", "WHAT IT SHOWS"), ((f"{DEBUG}{name}", text) for name, text in PAGES.items())))


def _services(state: State, request: Request) -> Page:
    planned = planned_of(state)
    views = list(view_services(planned_snapshot(planned), planned))
    if _wants_json(request):
        return _json([service_json(view) for view in views])
    return _text(aligned(HEADINGS, service_rows(views, wide=False)))


def _service(state: State, request: Request) -> Page:
    namespace, _, name = request.path.removeprefix(f"{DEBUG}services/").partition("/")
    planned = planned_of(state)
    views = list(view_services(planned_snapshot(planned), planned, ObjectKey(namespace, name)))
    if not views:
        return NOT_FOUND
    if _wants_json(request):
        return _json([service_json(view) for view in views])
    plans = {family: one.plan for family, one in planned.items()}
    lines = [*node_lines(state.host.node, state.backend.name, plans)]
    for view in views:
        lines += ["", *service_lines(view)]
    return _text(printable(line) for line in lines)


def _plan(state: State) -> Page:
    planned = planned_of(state)
    views = view_services(planned_snapshot(planned), planned)
    return _json(plan_json(state.host.node, state.backend.name, planned, views))


def _rules(state: State) -> str:
    return state.backend.render(documents_of(state))


def _wants_json(request: Request) -> bool:
    return parse_qs(request.query).get("output") == ["json"]


def _json(value: object) -> Page:
    return Page(json.dumps(value, separators=(",", ":")).encode(), JSON)


def _text(lines: Iterable[str]) -> Page:
    return Page(("\n".join(lines).rstrip("\n") + "\n").encode(errors="replace"))
