"""What the front makes of drift: one Event, totals in the status, and words for people."""

from __future__ import annotations

import io

from backends.nftables import BACKEND as NFTABLES
from conntrack.collector import Collector
from conntrack.services import NO_SERVICES
from kproxy.cli.status import _remarks
from kproxy.config import read_config
from kproxy.core.schedule import Pace
from kproxy.core.values import Family
from kproxy.effects.logs import make_logger
from kproxy.report.events import Remark
from kproxy.report.news import News
from kproxy.wiring.front import Front
from kproxy.wiring.status import Facts
from tests.fakes.stage import Stage, endpoint_slice, service

CONFIG = "apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\nhealthzBindAddress: ''\nmetricsBindAddress: ''\n"


def test_drift_is_one_event_and_adds_up_in_the_status() -> None:
    remarks: list[Remark] = []
    facts = Facts("1", "x", 0.0, {}, needs_node=False)
    front = Front("nftables", facts, make_logger("json", 0, io.StringIO()), remarks.append)
    news: list[News] = []
    stage = Stage(backend=NFTABLES, tell=news.append, wall=lambda: 1_000_000.0, pace=Pace(observe_every_s=5.0))
    with front.serving(
        read_config(CONFIG, "file"), lambda: stage.agent.state, Collector(lambda: NO_SERVICES, lambda _: None)
    ):
        stage.begin([service()], [endpoint_slice()])
        for _ in range(3):
            lose_the_dispatch(stage)
            stage.step(after_s=6)
        for one in news:
            front.tell(one)
        found = front._status()
    assert isinstance(found, dict)
    assert [remark.reason for remark in remarks] == ["RulesDrifted"]
    assert "1 chain removed (chain dispatch removed)" in remarks[0].note
    drift = found["families"]["IPv4"]["drift"]
    assert drift == {
        "objects": 3,
        "repairs": 3,
        "last": "1970-01-12T13:46:40.000Z",
        "lastWhat": "1 chain removed",
        "lastObjects": ["chain dispatch removed"],
        "lastBy": [],
        "lastNoticed": "look",
    }
    assert found["families"]["IPv6"]["drift"]["last"] is None
    told = [remark for remark in _remarks(found) if "others" in remark]
    assert told == [
        "IPv4: others changed our rules 3 times, last at 1970-01-12T13:46:40.000Z: 1 chain removed; all is put right"
    ]


def lose_the_dispatch(stage: Stage) -> None:
    kernel = stage.kernels[Family.IPV4]
    kernel.document = {
        owner: {key: one for key, one in fragment.items() if key != "chain dispatch"}
        for owner, fragment in kernel.document.items()
    }
