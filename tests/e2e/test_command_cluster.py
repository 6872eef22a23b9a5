"""The program against an API server: Services from a watch, rules in a kernel of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.apiserver import ApiServer
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import Ran, run_program, running

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a")
READY = "synced for the first time"


@contextmanager
def cluster(tmp_path: Path, **options: Any) -> Iterator[tuple[ApiServer, str]]:
    """A server that holds the example's objects, and a kubeconfig for it."""
    with ApiServer(**options) as server:
        server.put(*yaml.safe_load_all((MANIFESTS / "shop" / "shop.yaml").read_text()))
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(server.kubeconfig()))
        yield server, str(path)


def test_a_change_at_the_api_server_is_in_the_kernel_soon(tmp_path: Path) -> None:
    def life() -> tuple[dict[str, Any], Ran, Ran]:
        with cluster(tmp_path) as (server, kubeconfig):
            options = ("--kubeconfig", kubeconfig, *NODE)
            with running("run", "--backend", "nftables", *options) as process:
                assert process.stderr is not None
                ready = 0
                while ready < 2:
                    ready += json.loads(process.stderr.readline())["event"] == READY
                server.put(moved())
                changed = json.loads(process.stderr.readline())
                flow = ("--flow", "10.64.1.99,10.96.0.10:80/TCP", "-o", "json")
                explained = run_program("explain", "--live", "--backend", "nftables", *options, *flow)
                diff = run_program("diff", "--backend", "nftables", *options)
            return changed, explained, diff

    changed, explained, diff = in_new_namespace(life)
    assert (changed["event"], changed["services"]) == ("synced", "shop/cart")
    addresses = {one["address"] for one in json.loads(explained.out)[0]["endpoints"]}
    assert (explained.code, addresses) == (0, {"10.64.1.10", "10.64.2.77"})
    assert (diff.code, diff.out) == (0, "")


def moved() -> Any:
    """The example's slice with one endpoint elsewhere."""
    text = (MANIFESTS / "shop" / "shop.yaml").read_text().replace("10.64.2.10", "10.64.2.77")
    return next(item for item in yaml.safe_load_all(text) if item["kind"] == "EndpointSlice")


def test_services_are_listed_from_the_api_server(tmp_path: Path) -> None:
    with cluster(tmp_path) as (_, kubeconfig):
        done = run_program("services", "--kubeconfig", kubeconfig, *NODE)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == ["SERVICE", "shop/cart", "shop/cart", "shop/idle"]


def test_the_doctor_asks_the_server_and_misses_the_node(tmp_path: Path) -> None:
    def statuses(*options: str) -> dict[str, str]:
        done = run_program("doctor", "--kubeconfig", kubeconfig, "-o", "json", *NODE[:2], *options)
        return {one["check"]: one["status"] for one in json.loads(done.out)["checks"]}

    with cluster(tmp_path) as (_, kubeconfig):
        known, unknown = statuses("--node-name", "node-a"), statuses("--node-name", "node-z")
    assert (known["api-server"], unknown["api-server"]) == ("ok", "ok")
    assert "node-name/cluster" not in known
    assert unknown["node-name/cluster"] == "failure"


def test_a_server_that_refuses_us_is_one_sentence_and_never_a_difference(tmp_path: Path) -> None:
    with cluster(tmp_path, tokens={"somebody-else"}) as (_, kubeconfig):
        services = run_program("services", "--kubeconfig", kubeconfig, *NODE)
        diff = run_program("diff", "--kubeconfig", kubeconfig, *NODE)
    assert (services.code, services.out) == (1, "")
    assert services.err.count("\n") == 1
    assert "403 Forbidden" in services.err
    assert (diff.code, diff.out) == (4, "")
