"""An agent with everything around it that a scenario looks at: events by hand, a clock, kernels in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from backends.iptables import BACKEND as IPTABLES
from kproxy.agent import Agent, Setup
from kproxy.core.document import Document
from kproxy.core.flow import Packet
from kproxy.core.host import Host, Settings
from kproxy.core.model import (
    EndpointSlice,
    Event,
    Kind,
    Node,
    Replaced,
    Service,
    ServicePort,
    ServiceType,
    SliceEndpoint,
    SlicePort,
    TrafficPolicy,
)
from kproxy.core.schedule import Pace
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.effects.logs import make_logger
from kproxy.effects.network import Refused, Sysctl
from tests.fakes.kernel import FakeKernel

NODE = "node-a"
CART = ObjectKey("shop", "cart")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingKernel(FakeKernel):
    """A kernel that knows how often it was looked at, and takes its time for it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.looks = 0
        self.look_s = 0.0
        self._clock = clock

    def observe(self) -> Document:
        self.looks += 1
        self._clock.now += self.look_s
        return super().observe()


class Stage:
    """An agent with everything around it that a test looks at."""

    def __init__(
        self,
        settings: Settings | None = None,
        backend: Any = IPTABLES,
        kernel: Callable[[Clock], CountingKernel] = CountingKernel,
        **changes: Any,
    ) -> None:
        self.clock = Clock()
        self.kernels = {family: kernel(self.clock) for family in Family}
        self.lines = io.StringIO()
        self.ensured: list[Sysctl] = []
        self.refusal: Refused | None = None
        setup = Setup(
            backend=backend,
            kernels=self.kernels,
            settings=settings or Settings(),
            host=Host(NODE, addresses=frozenset({"127.0.0.1", "::1", "192.0.2.11"})),
            pace=Pace(),
            log=make_logger("json", 1, self.lines),
            clock=self.clock,
            ensure=self._ensure,
        )
        self.agent = Agent(msgspec.structs.replace(setup, **changes))

    def _ensure(self, sysctl: Sysctl) -> Refused | None:
        self.ensured.append(sysctl)
        return self.refusal

    def hear(self, *events: Event) -> None:
        self.agent.put(events)
        self.step()

    def step(self, after_s: float = 0.0) -> None:
        self.clock.now += after_s
        self.agent.listen(0)
        self.agent.sync_due()

    def begin(self, services: Sequence[Service] = (), slices: Sequence[EndpointSlice] = ()) -> None:
        self.hear(
            Replaced(Kind.SERVICE, tuple(services)),
            Replaced(Kind.ENDPOINT_SLICE, tuple(slices)),
            Replaced(Kind.NODE, (node(),)),
        )

    def served(self, to: str = "10.96.0.10", port: int = 80) -> set[str]:
        """The endpoints that a connection from outside may reach by the rules in the kernel."""
        packet = Packet("203.0.113.7", to, port, Protocol.TCP)
        document = self.kernels[Family.IPV4].document
        trace = self.agent.setup.backend.trace(Family.IPV4, document, packet, self.agent.host)
        return {choice.address for choice in trace.answer.choices}

    def log(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in lines if line["event"].startswith(event)]


def node(addresses: tuple[str, ...] = ("192.0.2.11",)) -> Node:
    return Node(NODE, addresses, (), "zone-1")


def service(
    name: str = "cart", vip: str = "10.96.0.10", node_port: int = 0, created: str = "", external: tuple[str, ...] = ()
) -> Service:
    return Service(
        key=ObjectKey("shop", name),
        created=created,
        type=ServiceType.NODE_PORT if node_port else ServiceType.CLUSTER_IP,
        cluster_ips=(vip, f"fd00:96::{vip.rpartition('.')[2]}"),
        external_ips=external,
        load_balancer_ips=(),
        source_ranges=None,
        internal_policy=TrafficPolicy.CLUSTER,
        external_policy=TrafficPolicy.CLUSTER,
        affinity_s=0,
        health_check_port=0,
        ports=(ServicePort("http", Protocol.TCP, 80, node_port),),
    )


def endpoint_slice(name: str = "cart", *addresses: str) -> EndpointSlice:
    return EndpointSlice(
        key=ObjectKey("shop", f"{name}-1"),
        service=ObjectKey("shop", name),
        family=Family.IPV4,
        ports=(SlicePort("http", Protocol.TCP, 8080),),
        endpoints=tuple(
            SliceEndpoint(address, ready=True, serving=True, terminating=False, node=NODE, zone_hints=(), node_hints=())
            for address in addresses or ("10.64.1.10",)
        ),
    )
