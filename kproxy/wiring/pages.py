"""The pages that an agent serves: kube-proxy's, byte for byte, and ours under /debug."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from kproxy.agent import State
from kproxy.config import Config
from kproxy.config.encode import encode
from kproxy.core.metrics import Measure
from kproxy.core.values import ObjectKey
from kproxy.effects.metrics import Metrics
from kproxy.effects.page import NOT_FOUND, TEXT, Answer, Page, Request, Site
from kproxy.effects.profiling import Busy, memory_summary, processor_profile, thread_stacks
from kproxy.report.details import node_lines, service_lines
from kproxy.report.health import Health, healthz_json, livez_json
from kproxy.report.layout import aligned, printable
from kproxy.report.news import Probed
from kproxy.report.pieces import json_pieces
from kproxy.report.services import HEADINGS, family_json, service_json, service_rows, view_services
from kproxy.report.zpages import flagz_lines, statusz_lines
from kproxy.wiring.status import Facts
from kproxy.wiring.views import documents_of, planned_of, planned_snapshot, unsupported_of

JSON = "application/json"
GROUP = "kubeproxy.config.k8s.io"
DEBUG = "/debug/"
PPROF = "/debug/pprof/"
PROFILE_S = "10"
PROFILES: Mapping[str, str] = {
    "profile?seconds=10": "microseconds of processor time by stack, one stack a line (flame graph programs read it)",
    "heap": "memory, and the most frequent kinds of objects",
    "threads": "where every thread is",
}
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
        f"{DEBUG}rules": lambda _: _long_text(_rules(state()).splitlines()),
        f"{DEBUG}config": lambda _: _json(encode(config().own)),
    }


def zpages(facts: Facts, config: Callable[[], Config], paths: Callable[[], Iterable[str]]) -> Mapping[str, Answer]:
    """What Kubernetes components tell of themselves to people."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "/statusz": lambda _: _text(statusz_lines(facts.version, python, facts.started_at, time.time(), paths())),
        "/flagz": lambda _: _text(flagz_lines(facts.given, encode(config().proxy))),
    }


def profiling_pages() -> Mapping[str, Answer]:
    """What `enableProfiling` adds: kube-proxy's paths, as far as they have a meaning in Python."""
    return {
        PPROF: lambda request: _pprof_index() if request.path == PPROF else NOT_FOUND,
        f"{PPROF}profile": _profile,
        f"{PPROF}heap": lambda _: _text(memory_summary()),
        f"{PPROF}threads": lambda _: _text(thread_stacks()),
    }


def _pprof_index() -> Page:
    return _text(aligned(("PAGE", "WHAT IT SHOWS"), ((f"{PPROF}{name}", text) for name, text in PROFILES.items())))


def _profile(request: Request) -> Page:
    try:
        seconds = float(parse_qs(request.query).get("seconds", [PROFILE_S])[0])
    except ValueError:
        return Page(b"seconds: not a number\n", status=HTTPStatus.BAD_REQUEST)
    try:
        stacks = processor_profile(seconds)
    except Busy:
        return Page(b"another profile is being taken; ask again later\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
    return _text(f"{stack} {used_us}" for stack, used_us in stacks.most_common())


def _index() -> Page:
    return _text(aligned(("PAGE", "WHAT IT SHOWS"), ((f"{DEBUG}{name}", text) for name, text in PAGES.items())))


def _services(state: State, request: Request) -> Page:
    planned = planned_of(state)
    views = view_services(planned_snapshot(planned), planned)
    if _wants_json(request):
        return _long_json(map(service_json, views))
    return _long_text(aligned(HEADINGS, service_rows(views, wide=False)))


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
    snapshot = planned_snapshot(planned)
    unsupported = unsupported_of(state)
    families = (
        {
            **family_json(one.plan, unsupported.get(family, ())),
            "services": map(service_json, view_services(snapshot, {family: one})),
        }
        for family, one in planned.items()
    )
    return _long_json({"node": state.host.node, "backend": state.backend.name, "families": families})


def _rules(state: State) -> str:
    return state.backend.render(documents_of(state))


def _wants_json(request: Request) -> bool:
    return parse_qs(request.query).get("output") == ["json"]


def _json(value: object) -> Page:
    return Page("".join(json_pieces(value)).encode(), JSON)


def _long_json(value: object) -> Page:
    return Page(content_type=JSON, parts=lambda: json_pieces(value))


def _text(lines: Iterable[str]) -> Page:
    return Page("".join(f"{line}\n" for line in lines).encode(errors="replace"))


def _long_text(lines: Iterable[str]) -> Page:
    return Page(parts=lambda: (f"{line}\n" for line in lines))
