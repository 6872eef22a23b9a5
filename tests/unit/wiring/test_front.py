from __future__ import annotations

import json
import os

import pytest

from kproxy.config import Config, read_config
from kproxy.config.listeners import Listener
from kproxy.core.model import Applied
from kproxy.core.values import Family
from kproxy.effects.http import serving
from kproxy.effects.page import Page, Request, Site
from kproxy.errors import KproxyError
from kproxy.report.health import FamilyHealth, Health
from kproxy.report.news import Probed
from kproxy.wiring.front import Door, doors
from kproxy.wiring.local import ask, take_name
from kproxy.wiring.pages import debug_pages, health_site
from tests.fakes.stage import Stage, endpoint_slice, service

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN = "apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEAD,
            [
                Door("healthz", Listener("0.0.0.0", 10256)),
                Door("metrics", Listener("127.0.0.1", 10249), has_debug=True),
            ],
        ),
        (f"{OWN}healthzBindAddress: ''\nmetricsBindAddress: ''\n", []),
        (
            f"{HEAD}metricsBindAddress: 0.0.0.0\n---\n{OWN}healthzBindAddress: ''\n",
            [Door("metrics", Listener("0.0.0.0", 10249))],
        ),
        (
            f"{HEAD}metricsBindAddress: 0.0.0.0\nenableProfiling: true\n---\n{OWN}healthzBindAddress: ''\n",
            [Door("metrics", Listener("0.0.0.0", 10249), has_debug=True, has_profiles=True)],
        ),
    ],
)
def test_the_doors_of_a_configuration(text: str, expected: list[Door]) -> None:
    assert list(doors(read_config(text, "file"))) == expected


@pytest.fixture
def pages() -> Site:
    stage = Stage()
    stage.begin([service(), service("web", "10.96.0.11")], [endpoint_slice()])
    stage.hear(Applied(endpoint_slice("cart", "10.64.1.10", "10.64.2.99")))
    return Site(debug_pages(lambda: stage.agent.state, Config, lambda: {"node": "node-a"}))


def page(pages: Site, path: str, query: str = "") -> Page:
    return pages(Request(path, query))


def body(pages: Site, path: str, query: str = "") -> bytes:
    return b"".join(page(pages, path, query).pieces())


def test_every_page_that_the_index_names_is_there(pages: Site) -> None:
    lines = body(pages, "/debug/").decode().splitlines()[1:]
    paths = [line.split()[0].replace("NAMESPACE/NAME", "shop/cart") for line in lines]
    assert len(paths) == 6
    assert {page(pages, path).status.value for path in paths} == {200}


def test_one_service_is_explained_for_people_and_programs(pages: Site) -> None:
    text = body(pages, "/debug/services/shop/cart").decode()
    assert "10.64.2.99:8080" in text
    assert "the cluster's endpoints" in text
    found = json.loads(body(pages, "/debug/services/shop/cart", "output=json"))
    assert {one["family"] for one in found} == {"IPv4", "IPv6"}
    assert [one["address"] for one in found[0]["ports"][0]["endpoints"]] == ["10.64.1.10", "10.64.2.99"]


@pytest.mark.parametrize("path", ["/debug/services/shop/none", "/debug/services/x", "/debug/none", "/debug/rules/x"])
def test_what_is_not_there_is_a_404(pages: Site, path: str) -> None:
    assert page(pages, path).status.value == 404


def test_rules_are_loadable_text_and_the_plan_is_json(pages: Site) -> None:
    assert b"*nat" in body(pages, "/debug/rules")
    plan = json.loads(body(pages, "/debug/plan"))
    assert [one["service"] for one in plan["families"][0]["services"]] == ["shop/cart", "shop/web"]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("eligible", [True, False])
def test_probes_answer_by_their_own_rules_and_are_counted(
    live: bool,  # noqa: FBT001 - a parameter
    eligible: bool,  # noqa: FBT001 - a parameter
) -> None:
    health = Health({Family.IPV4: FamilyHealth(1.0, live)}, eligible, ready=eligible)
    told: list[Probed] = []
    site = health_site(lambda: health, told.append)
    codes = {path: page(site, path).status.value for path in ("/healthz", "/livez", "/readyz")}
    assert codes == {
        "/healthz": 200 if live and eligible else 503,
        "/livez": 200 if live else 503,
        "/readyz": 200 if eligible else 503,
    }
    assert {one.path: one.status for one in told} == codes
    assert page(site, "/metrics").status.value == 404


def test_a_name_is_asked_and_taken_once() -> None:
    name = f"kproxy-front-{os.getpid()}"
    with pytest.raises(KproxyError, match="no agent runs"):
        ask("/x", name)
    with serving("front", lambda _error: None) as server:
        bound = take_name(name)
        server.listen(bound, Site({"/x": lambda _: Page(b"answer")}))
        assert ask("/x", name) == b"answer"
        with pytest.raises(KproxyError, match="answered 404 to /y"):
            ask("/y", name)
        with pytest.raises(KproxyError, match=f"another agent runs on this node .process {os.getpid()}."):
            take_name(name)
