from __future__ import annotations

import io
import socket

from conntrack.collector import Collector
from conntrack.services import NO_SERVICES
from kproxy.config import read_config
from kproxy.effects.logs import make_logger
from kproxy.wiring.front import Front
from kproxy.wiring.status import Facts
from tests.fakes.stage import Stage


class Noted(Collector):
    """A Collector that has no thread and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(lambda: NO_SERVICES, lambda _: None)
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def stop(self) -> None:
        self.told.append("stop")


def config(port: int | None) -> str:
    place = "" if port is None else f"127.0.0.1:{port}"
    head = "apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\nhealthzBindAddress: ''\n"
    return f"{head}metricsBindAddress: '{place}'\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_connections_are_counted_while_metrics_are_served_and_only_then() -> None:
    front = Front("nftables", Facts("1", "x", 0.0, {}, needs_node=False), make_logger("json", 0, io.StringIO()), print)
    without, served = read_config(config(None), "file"), read_config(config(free_port()), "file")
    connections, stage = Noted(), Stage()
    with front.serving(without, lambda: stage.agent.state, connections):
        assert connections.told == []
        front.configure(served)
        front.configure(served)
        assert connections.told == ["start"]
        front.configure(without)
        assert connections.told == ["start", "stop"]
