"""Wall clocks that jump both ways, steady ones that leap: what is wanted is in force, and nothing takes negative time.

The agent is the real one; its clocks are arguments. With the machine's own clock it is tried in `test_own_kernel.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kproxy.core.model import Applied
from kproxy.core.values import Family
from kproxy.report.news import News, Synced
from kproxy.wiring.views import health_of
from tests.fakes.stage import Stage, endpoint_slice, service

NOW = 1_800_000_000.0
YEARS_S = 10 * 365 * 86_400.0
jumps = st.floats(-YEARS_S, YEARS_S)
leaps = st.sampled_from([0.0, 0.001, 1.0, 3600.0, YEARS_S])


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(jumps, leaps), min_size=1, max_size=8), st.sampled_from([0.0, 1e9]))
def test_every_change_is_in_force_at_once_whatever_the_clocks_do(
    moves: Sequence[tuple[float, float]], origin: float
) -> None:
    told, wall = list[News](), [NOW]
    stage = Stage(tell=told.append, wall=lambda: wall[0])
    stage.clock.now += origin
    stage.begin([service()], [endpoint_slice()])
    for number, (jump_s, leap_s) in enumerate(moves):
        address = f"10.64.1.{100 + number}"
        triggered_at = wall[0]
        wall[0] += jump_s
        stage.step(after_s=leap_s)
        stage.hear(Applied(endpoint_slice("cart", address), triggered_at=triggered_at))
        assert address in stage.served()
        assert health_of(stage.agent.state, needs_node=False).live
    took = [one for news in told if isinstance(news, Synced) for one in (*news.programming_s, news.took_s)]
    assert min(took) >= 0
    assert len([one for one in told if isinstance(one, Synced) and one.family is Family.IPV4]) > len(moves)
