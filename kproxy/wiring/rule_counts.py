"""What the kernel's rules count for the metrics that kube-proxy keeps in nfacct objects, read when somebody scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kproxy.core.metrics import COUNTED_BY_RULES, Reading
from kproxy.errors import KproxyError
from kproxy.ports import Counting, Kernel


def rule_counts(kernels: Iterable[Kernel]) -> tuple[Reading, ...]:
    """Both families' packets in one; none of them while one cannot be read, for a part would look like a reset."""
    found: Counter[str] = Counter()
    try:
        for kernel in kernels:
            if isinstance(kernel, Counting):
                found.update(kernel.counts())
    except KproxyError:
        return ()
    return tuple(Reading(metric, {(): found[metric.name]}) for metric in COUNTED_BY_RULES if metric.name in found)
