"""A stand for faults: a laboratory's node with an agent, a fake API server beside it, and traffic to one Service.

A fault is done to it in a block; what must hold then is the same for every fault: what was wanted comes to be in force,
no connection went elsewhere meanwhile, and the agent holds no more than before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.agent import Agent, agent
from lab.listening import endpoint_text
from lab.machine import Target
from lab.topology import Lab
from tests.e2e.world import NODE, RANGES, Manifest, Vip, config_text, endpoint, endpoint_slice, everywhere, service
from tests.fakes.apiserver import ApiServer
from tests.fakes.namespace import in_namespace
from tests.faults.footprint import SPARE_MB, nothing_leaked
from tests.faults.traffic import Traffic

KINDS = 4
"""Services, EndpointSlices, the Node, ServiceCIDRs: so many watches."""
PORT = 8080
QUICK = {"minSyncPeriod": "0s"}


@dataclass
class Stand:
    """Its parts; the Service `web` is in the cluster, with two endpoints in the beginning."""

    lab: Lab
    backend: str
    agent: Agent
    server: ApiServer
    config: Path
    kubeconfig: Path
    vip: Vip
    family: int
    traffic: Traffic

    @property
    def pods(self) -> tuple[str, str, str]:
        """All that may be endpoints: one here, its neighbour, and one elsewhere."""
        return everywhere(self.family)

    def answers(self, pods: Collection[str]) -> set[str]:
        """What these pods answer."""
        return {endpoint_text(pod, PORT) for pod in pods}

    def objects(self, *pods: str) -> list[Manifest]:
        """All that is in the cluster when these pods are the endpoints."""
        return objects(self.vip, self.family, pods)

    def order(self, *pods: str) -> None:
        """Make these pods the endpoints in the cluster, and wait for nothing."""
        self.server.put(self.objects(*pods)[-1])

    def may_serve(self, *pods: str) -> None:
        """Connections may go to these pods too, until it is waited for some."""
        self.traffic.allow(self.answers(pods))

    def serves(self, *pods: str) -> None:
        """Wait until exactly these pods serve; from then on no other may."""
        self.traffic.until(self.answers(pods))

    def follows(self, *pods: str) -> None:
        """Order it and wait for it; what was in force before must not come back."""
        self.may_serve(*pods)
        self.order(*pods)
        self.serves(*pods)

    def start_server(self) -> None:
        """Start the API server, in the node's namespace."""
        in_namespace(self.lab.node.namespace, self.server.start)

    def write_kubeconfig(self, token: str = "") -> None:
        """As a tool that renews credentials would: in one moment."""
        fresh = self.kubeconfig.with_suffix(".new")
        fresh.write_text(json.dumps(self.server.kubeconfig(token)))
        fresh.rename(self.kubeconfig)

    def heard(self, event: str, since: int = 0) -> None:
        """Wait until the agent has logged this."""
        self.agent.wait(lambda said: any(one["event"] == event for one in said), event, since, 60.0)

    @contextmanager
    def intact(self, spare_mb: float = SPARE_MB) -> Iterator[None]:
        """A fault and what becomes of it; afterwards the agent follows as before, and holds no more than before."""
        here, there, elsewhere = self.pods
        with nothing_leaked(self.agent.process.pid, spare_mb):
            yield
            self.follows(elsewhere, here)
            self.follows(there)
        assert self.agent.process.poll() is None


def objects(vip: Vip, family: int, pods: Iterable[str]) -> list[Manifest]:
    """A cluster; the endpoints are the last of its objects."""
    return [NODE, RANGES, service("web", vip, family), endpoint_slice("web", family, *map(endpoint, pods))]


@contextmanager
def stand(
    lab: Lab,
    folder: Path,
    vip: Vip,
    *,
    family: int = 0,
    backend: str = "nftables",
    token: str = "",
    through: Sequence[str] = (),
    controlled: bool = True,
    own: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Stand]:
    """With `pods[:2]` serving and traffic flowing; `settings` and `own` are the configuration's, as in `world`.

    Unless `controlled`, silence is believed though no other connection through the node may be answered either.
    """
    server = ApiServer({token} if token else ())
    serving = everywhere(family)[:2]
    server.put(*objects(vip, family, serving))
    in_namespace(lab.node.namespace, server.start)
    try:
        config, kubeconfig = folder / "config.json", folder / "kubeconfig"
        config.write_text(config_text(own or {}, **({backend: QUICK} | settings)))
        kubeconfig.write_text(json.dumps(server.kubeconfig(token)))
        options = ("--kubeconfig", str(kubeconfig), "--config", str(config), "--backend", backend)
        target = Target(vip.cluster[family], 80, count=8)
        traffic = Traffic(lab.outside, target, [Target(everywhere(family)[2], PORT)] if controlled else [], ())
        with agent(lab.node, "kubernetes", *options, through=through) as running:
            made = Stand(lab, backend, running, server, config, kubeconfig, vip, family, traffic)
            made.may_serve(*serving)
            with traffic.flowing():
                made.serves(*serving)
                yield made
    finally:
        if server.running:
            server.stop()
