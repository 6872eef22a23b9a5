"""Another backend's rules are made to stand beside the old ones, or taken back with the reason."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from backends.iptables import BACKEND as IPTABLES
from backends.nftables import BACKEND as NFTABLES
from kproxy.config import Config
from kproxy.core.document import Document
from kproxy.core.values import Family
from kproxy.effects.logs import make_logger
from kproxy.errors import ApplyRejected, UnsupportedHost
from kproxy.ports import Kernel
from kproxy.wiring.switching import NOT_CARRIED, Wish, prepare
from tests.fakes.kernel import FakeKernel, objects
from tests.fakes.stage import Stage, endpoint_slice, service

WISH = Wish("nftables", Config(), ())


class Forgetful(FakeKernel):
    """A kernel that takes everything and has lost an object when it is read."""

    def observe(self) -> Document:
        return {
            owner: dict(list(fragment.items())[:-1] if owner == "base" else fragment)
            for owner, fragment in self.document.items()
        }


class Beside:
    """The nftables backend before kernels in memory."""

    def __init__(self, kernel: Callable[[], FakeKernel] = FakeKernel, missing: frozenset[Family] = frozenset()) -> None:
        self.kernels = {family: kernel() for family in Family}
        self.missing = missing

    def __getattr__(self, name: str) -> Any:
        return getattr(NFTABLES, name)

    def open(self, family: Family) -> Kernel:
        if family in self.missing:
            raise UnsupportedHost("nf_tables is missing: load it")
        return self.kernels[family]

    def find(self, name: str) -> Any:
        return {"nftables": self, "iptables": IPTABLES}[name]


def running(affinity_s: int = 0) -> Stage:
    stage = Stage()
    stage.begin([msgspec.structs.replace(service(), affinity_s=affinity_s)], [endpoint_slice()])
    return stage


def prepared(beside: Beside, stage: Stage, wish: Wish = WISH) -> tuple[str, list[dict[str, Any]]]:
    lines = io.StringIO()
    reason = prepare(wish, stage.agent.state, make_logger("json", 0, lines), beside.find)
    return reason, [json.loads(line) for line in lines.getvalue().splitlines()]


def test_the_new_rules_stand_beside_the_old_ones_which_stay_as_they_were() -> None:
    stage, beside = running(), Beside()
    old = {family: dict(kernel.document) for family, kernel in stage.kernels.items()}
    reason, log = prepared(beside, stage)
    assert reason == ""
    assert [one["event"] for one in log] == ["another backend's rules stand beside the old ones"]
    assert all(objects(kernel.document) for kernel in beside.kernels.values())
    assert {family: dict(kernel.document) for family, kernel in stage.kernels.items()} == old
    assert all(kernel.closed for kernel in beside.kernels.values())


def test_affinity_is_declared_to_be_lost() -> None:
    _, log = prepared(Beside(), running(affinity_s=600))
    assert [(one["event"], one.get("services"), one.get("first")) for one in log[1:]] == [(NOT_CARRIED, 1, "shop/cart")]


def test_a_backend_whose_doors_do_not_open_is_refused_with_its_reason() -> None:
    for missing in (frozenset(Family), frozenset({Family.IPV6})):
        beside = Beside(missing=missing)
        reason, _ = prepared(beside, running())
        assert "nf_tables is missing: load it" in reason
        assert not any(kernel.changes for kernel in beside.kernels.values())


def test_an_unknown_backend_is_refused() -> None:
    reason = prepare(Wish("nftable", Config(), ()), running().agent.state, make_logger("json", 0, io.StringIO()))
    assert "no backend 'nftable' (did you mean nftables?)" in reason


@pytest.mark.parametrize("family", list(Family))
def test_what_a_family_refuses_is_taken_back_in_both(family: Family) -> None:
    beside = Beside()
    beside.kernels[family].fails = ApplyRejected("chain dispatch: no memory")
    reason, _ = prepared(beside, running())
    assert reason == f"nftables, {family.label}: chain dispatch: no memory"
    assert not any(objects(kernel.document) for kernel in beside.kernels.values())


def test_a_service_that_is_refused_refuses_the_change() -> None:
    probe = Beside()
    prepared(probe, running())
    standing = probe.kernels[Family.IPV4].document
    beside = Beside()
    beside.kernels[Family.IPV4].refuses = frozenset(standing["shop/cart"])
    reason, _ = prepared(beside, running())
    assert reason.startswith("nftables, IPv4: shop/cart: ")
    assert not any(objects(kernel.document) for kernel in beside.kernels.values())


def test_what_does_not_read_back_as_it_was_written_is_refused() -> None:
    beside = Beside(Forgetful)
    reason, log = prepared(beside, running())
    assert reason.startswith("nftables, IPv4: 1 differences after writing, first ")
    assert log == []


def test_before_the_cluster_is_known_only_the_doors_are_tried() -> None:
    beside = Beside()
    assert prepared(beside, Stage())[0] == ""
    assert not any(kernel.changes for kernel in beside.kernels.values())


def test_the_backend_that_runs_already_is_left_alone() -> None:
    stage = running()
    stage.agent.setup = msgspec.structs.replace(stage.agent.setup, backend=Beside())
    beside = Beside()
    assert prepared(beside, stage) == ("", [])
    assert not any(kernel.changes for kernel in beside.kernels.values())
