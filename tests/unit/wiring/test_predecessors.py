"""Another backend's rules go when ours read back as wanted, and IPVS's when its connections are done."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from kproxy.core.document import Document
from kproxy.core.host import Settings
from kproxy.core.leftovers import remains
from kproxy.core.model import Applied, Flaws
from kproxy.core.plan import Ipvs
from kproxy.effects.logs import make_logger
from kproxy.ports import Kernel
from kproxy.wiring import predecessors
from kproxy.wiring.predecessors import BEFORE_IPVS, OF_IPTABLES, Predecessors
from tests.fakes.kernel import FakeKernel
from tests.fakes.stage import Stage, endpoint_slice, service

SAVED = """\
*mangle
:PREROUTING ACCEPT [0:0]
:KPROXY-IPVS-SERVICES - [0:0]
-A PREROUTING -m conntrack --ctstate NEW -j KPROXY-IPVS-SERVICES
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:KPROXY-IPVS-POSTROUTING - [0:0]
:KPROXY-POSTROUTING - [0:0]
-A POSTROUTING -j KPROXY-IPVS-POSTROUTING
-A POSTROUTING -j KPROXY-POSTROUTING
COMMIT
"""
PATIENCE_S = 30.0
FAULT = "web.yaml:3: not YAML"


def test_of_ipvs_only_what_gives_marks_goes_at_once() -> None:
    (found,) = remains(SAVED, BEFORE_IPVS)
    assert (found.table, found.chains) == ("mangle", ("KPROXY-IPVS-SERVICES",))
    assert found.jumps == ("PREROUTING -m conntrack --ctstate NEW -j KPROXY-IPVS-SERVICES",)


def test_the_chains_of_the_iptables_backend_are_told_from_those_of_ipvs() -> None:
    (found,) = remains(SAVED, OF_IPTABLES)
    assert (found.jumps, found.chains) == (("POSTROUTING -j KPROXY-POSTROUTING",), ("KPROXY-POSTROUTING",))


class Left:
    """Something that another backend left."""

    def __init__(self, name: str, gone: list[str]) -> None:
        self.name = name
        self.gone = gone

    def find(self) -> Sequence[str]:
        return () if self.name in self.gone else (f"remove {self.name}",)

    def kept(self) -> Sequence[str]:
        return ()

    def remove(self) -> None:
        self.gone.append(self.name)


class Doors:
    """A backend whose doors show this kernel."""

    def __init__(self, backend: Any, look: Callable[[Any], Kernel]) -> None:
        self.backend = backend
        self.look = look

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def open(self, family: Any) -> Kernel:
        return self.look(family)


class Watched(FakeKernel):
    """A kernel that something happens to after it was read."""

    def __init__(self, document: Document, meanwhile: Callable[[], object]) -> None:
        super().__init__(document)
        self.meanwhile = meanwhile

    def observe(self) -> Document:
        found = dict(super().observe())
        self.meanwhile()
        return found


class Scene:
    """An agent that has synced, and what stands beside its rules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, drain_s: int = 300) -> None:
        self.gone: list[str] = []
        self.wrong: Document = {}
        self.carried = 0
        self.meanwhile: Callable[[], object] = lambda: None
        self.lines = io.StringIO()
        self.stage = Stage(Settings(ipvs=Ipvs(drain_s=drain_s)))
        self.stage.begin([service()], [endpoint_slice()])
        doors = Doors(self.stage.agent.setup.backend, self._look)
        self.stage.agent.setup = msgspec.structs.replace(self.stage.agent.setup, backend=doors)
        monkeypatch.setattr(predecessors, "AGAIN_S", 0.01)
        monkeypatch.setattr(predecessors, "predecessors", lambda *_: iter([Left("rules", self.gone)]))
        monkeypatch.setattr(predecessors, "carriers", lambda *_: iter([Left("servers", self.gone)]))
        monkeypatch.setattr(predecessors, "connections", lambda _: self.carried)
        self.thread = Predecessors(lambda: self.stage.agent.state, make_logger("json", 0, self.lines))

    def _look(self, family: Any) -> Kernel:
        return Watched(self.wrong or self.stage.kernels[family].document, self.meanwhile)

    def until_said(self, event: str) -> dict[str, Any]:
        """Wait for a line of the log."""
        waiting = threading.Event()
        for _ in range(int(PATIENCE_S * 100)):
            said = [json.loads(line) for line in self.lines.getvalue().splitlines()]
            if found := [one for one in said if one["event"] == event]:
                return dict(found[0])
            waiting.wait(0.01)
        raise AssertionError(f"never said {event}: {self.lines.getvalue()}")

    def until_gone(self, *names: str) -> None:
        waiting = threading.Event()
        for _ in range(int(PATIENCE_S * 100)):
            if self.gone == list(names):
                return
            waiting.wait(0.01)
        raise AssertionError(self.gone)


def test_all_goes_where_the_rules_are_right_and_nothing_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.thread.start()
    scene.until_gone("rules", "servers")
    scene.thread.stop()


def test_nothing_goes_until_our_rules_read_back_as_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.wrong = {"somebody": {"else": "rule"}}
    scene.thread.start()
    try:
        said = scene.until_said("another backend's rules stay until ours are as wanted")
        assert said["difference"].startswith("IPv4: ")
        assert scene.gone == []
        scene.wrong = {}
        scene.until_gone("rules", "servers")
    finally:
        scene.thread.stop()


def test_what_changes_while_the_kernel_is_read_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    addresses = iter(f"10.64.1.{number}" for number in range(20, 250))
    scene.meanwhile = lambda: scene.stage.hear(Applied(endpoint_slice("cart", next(addresses))))
    scene.thread.start()
    scene.until_gone("rules", "servers")
    scene.thread.stop()
    assert "stay until" not in scene.lines.getvalue()


def test_an_agent_that_ends_leaves_the_old_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.wrong = {"somebody": {"else": "rule"}}
    scene.thread.start()
    scene.until_said("another backend's rules stay until ours are as wanted")
    scene.thread.stop()
    assert scene.gone == []


def test_what_carries_connections_stays_until_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.carried = 7
    scene.thread.start()
    try:
        said = scene.until_said("connections of the IPVS backend may finish")
        assert (said["connections"], said["within_s"]) == (14, 300)
        scene.until_gone("rules")
        scene.carried = 0
        scene.until_gone("rules", "servers")
    finally:
        scene.thread.stop()


def test_connections_that_do_not_end_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, drain_s=0)
    scene.carried = 1
    scene.thread.start()
    try:
        assert scene.until_said("connections of the IPVS backend are ended")["connections"] == 2
        scene.until_gone("rules", "servers")
    finally:
        scene.thread.stop()


def test_what_can_go_at_once_does_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.thread.finish()
    assert scene.gone == ["rules", "servers"]


def test_what_carries_connections_stays_and_is_told_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.carried = 3
    scene.thread.finish()
    assert scene.gone == ["rules"]
    assert scene.until_said("rules of another backend of kproxy stand beside these")["first"] == "remove servers"


def test_nothing_goes_while_a_part_of_the_source_was_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.stage.hear(Flaws((FAULT,), (FAULT,)))
    scene.thread.finish()
    assert scene.gone == []
    said = scene.until_said("another backend's rules stay until ours are as wanted")
    assert said["difference"] == f"what the source says is not known: {FAULT}"
