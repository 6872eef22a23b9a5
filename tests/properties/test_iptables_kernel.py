"""What holds for the iptables backend in a real kernel, on every cluster, in both variants and both families."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from backends.iptables import BACKEND
from backends.iptables.kernel import IptablesKernel
from kproxy.core.document import diff
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.xtables import TOOLS, Tools, Variant
from kproxy.ports import Outcome
from tests.fakes.kernel import objects
from tests.fakes.namespace import in_new_namespace
from tests.properties.strategies import Scene, Stage, histories, stages

pytestmark = pytest.mark.root
some = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
variants = pytest.mark.parametrize("variant", Variant)

Kernels = dict[Family, IptablesKernel]


def in_kernels(variant: Variant, check: Callable[[Kernels], None]) -> None:
    """Call with a door per family, in a namespace."""

    def body() -> None:
        check({family: IptablesKernel(tools(variant, family), process.run, family) for family in Family})

    in_new_namespace(body)


def tools(variant: Variant, family: Family) -> Tools:
    name = f"{TOOLS[family]}-{variant.infix}"
    return Tools(variant, f"{name}-save", f"{name}-restore")


@variants
def test_what_is_applied_reads_back_letter_by_letter_and_cleanup_leaves_nothing(variant: Variant) -> None:
    def check(kernels: Kernels) -> None:
        @some
        @given(stages(BACKEND.traits))
        def each(stage: Stage) -> None:
            want = BACKEND.compile(stage.plan, None).document
            kernel = kernels[stage.plan.family]
            change = diff(kernel.observe(), want)
            assert kernel.check(change) == Outcome()
            assert kernel.apply(change) == Outcome()
            assert objects(kernel.observe()) == objects(want)
            kernel.apply(diff(kernel.observe(), {}))
            assert kernel.observe() == {}

        each()

    in_kernels(variant, check)


@variants
def test_changes_lead_to_the_same_kernel_as_a_fresh_start(variant: Variant) -> None:
    def check(kernels: Kernels) -> None:
        @some
        @given(histories(BACKEND.traits))
        def each(history: list[Scene]) -> None:
            compiled = None
            for scene in history:
                kernel = kernels[scene.family]
                have = kernel.observe() if compiled is None else compiled.document
                compiled = BACKEND.compile(scene.plan().plan, compiled)
                assert kernel.apply(diff(have, compiled.document)) == Outcome()
            assert compiled is not None
            assert objects(kernel.observe()) == objects(compiled.document)

        each()

    in_kernels(variant, check)


@variants
def test_what_is_rendered_loads_as_it_stands(variant: Variant) -> None:
    def check(kernels: Kernels) -> None:
        @some
        @given(stages(BACKEND.traits))
        def each(stage: Stage) -> None:
            want, kernel = BACKEND.compile(stage.plan, None).document, kernels[stage.plan.family]
            text = BACKEND.render({stage.plan.family: want})
            subprocess.run([kernel.tools.restore, "--noflush"], input=text, text=True, check=True, capture_output=True)
            assert objects(kernel.observe()) == objects(want)
            kernel.apply(diff(kernel.observe(), {}))

        each()

    in_kernels(variant, check)
