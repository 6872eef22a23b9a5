"""What holds for the nftables backend in a real kernel, on every cluster: netlink and text give the same table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from backends.nftables import BACKEND
from backends.nftables.kernel import NftablesKernel
from kproxy.core.document import Document, diff
from kproxy.core.values import Family
from kproxy.ports import Outcome
from tests.fakes.namespace import in_new_namespace
from tests.properties.strategies import Scene, Stage, histories, stages

pytestmark = pytest.mark.root
some = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

NFT_NAMES = {Family.IPV4: "ip", Family.IPV6: "ip6"}


def listed(family: Family) -> list[str]:
    """Our table as nft lists it, without what differs from load to load."""
    done = subprocess.run(
        ["nft", "-j", "list", "table", NFT_NAMES[family], "kproxy"], check=True, capture_output=True, text=True
    )
    return sorted(_normal(one) for one in json.loads(done.stdout)["nftables"] if "metainfo" not in one)


def _normal(item: Mapping[str, Any]) -> str:
    ((kind, fields),) = item.items()
    kept = {name: value for name, value in fields.items() if name != "handle"}
    if "elem" in kept:
        kept["elem"] = sorted(map(json.dumps, kept["elem"]))
    return json.dumps({kind: kept}, sort_keys=True)


def load(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def bring(kernel: NftablesKernel, want: Document) -> None:
    assert kernel.apply(diff(kernel.observe(), want)) == Outcome()


def in_kernels(check: Callable[[dict[Family, NftablesKernel]], None]) -> None:
    """Call with a door per family, in a namespace."""

    def body() -> None:
        kernels = {family: BACKEND.open(family) for family in Family}
        try:
            check(kernels)
        finally:
            for kernel in kernels.values():
                kernel.close()

    in_new_namespace(body)


def test_netlink_and_text_give_the_same_table_and_both_are_read_back() -> None:
    def check(kernels: dict[Family, NftablesKernel]) -> None:
        @some
        @given(stages(BACKEND.traits))
        def each(stage: Stage) -> None:
            family = stage.plan.family
            want = BACKEND.compile(stage.plan, None).document
            kernel = kernels[family]
            assert kernel.check(diff(kernel.observe(), want)) == Outcome()
            bring(kernel, want)
            by_netlink = listed(family)
            assert kernel.observe() == want
            load(BACKEND.render({family: want}))
            assert listed(family) == by_netlink
            assert kernel.observe() == want

        each()

    in_kernels(check)


def test_changes_lead_to_the_same_kernel_as_a_fresh_start() -> None:
    def check(kernels: dict[Family, NftablesKernel]) -> None:
        @some
        @given(histories(BACKEND.traits))
        def each(history: list[Scene]) -> None:
            compiled = None
            for scene in history:
                kernel = kernels[scene.family]
                have = kernel.observe() if compiled is None else compiled.document
                compiled = BACKEND.compile(scene.plan().plan, compiled)
                assert kernel.apply(diff(have, compiled.document)) == Outcome()
                assert kernel.observe() == compiled.document

        each()

    in_kernels(check)
