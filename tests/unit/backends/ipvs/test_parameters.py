"""conn_reuse_mode is changed only on the kernels that need it; what cannot be set has a consequence that is told."""

from __future__ import annotations

import pytest

from backends.ipvs.base import base_fragment
from backends.ipvs.objects import Sysctl
from backends.ipvs.parameters import CONSEQUENCES, REUSE_MODE, refusal, wants_reuse_off
from kproxy.core.document import BASE
from kproxy.core.plan import Ipvs, NodePlan
from kproxy.core.values import Family
from kproxy.effects import network
from kproxy.effects.network import Refused


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.0.9", False),
        ("4.1.0", True),
        ("4.19.0-25-amd64", True),
        ("5.8.18", True),
        ("5.9.0", False),
        ("6.1.176", False),
        ("unknown", False),
    ],
)
def test_by_release(release: str, *, expected: bool) -> None:
    assert wants_reuse_off(release) is expected


def test_whichever_parameter_cannot_be_written_it_is_said_what_comes_of_it() -> None:
    plan = NodePlan(Family.IPV4, {}, ipvs=Ipvs(strict_arp=True))
    wanted = [key.name for key in base_fragment(plan) if isinstance(key, Sysctl)]
    for name in (*wanted, REUSE_MODE.name):
        told = refusal(Refused(network.Sysctl(name, "1"), "0", "Permission denied"))
        assert (told.owner, told.what) == (BASE, f"sysctl {name}=1")
        assert told.reason == f"Permission denied, it is 0: {CONSEQUENCES[name]}"
    assert len(wanted) == 6
