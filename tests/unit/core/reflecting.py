"""States, answers and questions that the reflector's tests share."""

from __future__ import annotations

from msgspec.structs import replace

from kproxy.core.reading import Phase
from kproxy.core.reflector import backoff_s, begin
from kproxy.core.reflector_state import Body, Broken, Refused, Step
from kproxy.core.resource import SERVICES
from tests.fakes.apiobjects import Json
from tests.fakes.apiwire import encode, status_body

NOW = 1000.0
CHANCE = 0.5
FIRST_WAIT_S = backoff_s(0, CHANCE)

STREAMING = begin(SERVICES, NOW, CHANCE).state
LISTING = replace(STREAMING, phase=Phase.PAGES)
PAGING = replace(LISTING, token="next", version="7")
WATCHING = replace(STREAMING, phase=Phase.WATCH, version="9")


def versioned(item: Json, version: int) -> Json:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}


def query_of(step: Step) -> dict[str, str]:
    assert step.ask is not None
    return dict(step.ask.query)


def list_of(*items: Json, version: str = "7", token: str = "") -> Body:
    return Body(
        encode({"kind": "ServiceList", "metadata": {"resourceVersion": version, "continue": token}, "items": items})
    )


def refused(code: int, retry_after_s: float = 0.0) -> Refused:
    return Refused(code, encode(status_body(code, "Reason", "why")), retry_after_s)


CUT_OFF = Broken("connection reset", answered=True)
NO_SERVER = Broken("connection refused", answered=False)
