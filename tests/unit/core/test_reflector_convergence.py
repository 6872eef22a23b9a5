"""Whatever server and network do: once they are well again our state is the server's, and nobody was hammered."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from kproxy.core.model import Kind, KubeObject, key_of
from kproxy.core.parse import decode_object
from kproxy.core.reflector_state import Broken, Ended, Happening, Lines, Refused
from kproxy.core.resource import SERVICES
from kproxy.core.values import ObjectKey
from kproxy.errors import ApiError, ParseError
from tests.fakes.apimemory import Simulation, bookmark_line, error_line
from tests.fakes.apiobjects import Json, service
from tests.fakes.apistore import Store, selector_of
from tests.fakes.apistore import key_of as store_key
from tests.fakes.apiwire import encode, status_body

NAMES = ("a", "b", "c", "d")
CODES = (400, 401, 403, 404, 410, 422, 429, 500, 502, 503, 504)
NETWORK: dict[str, Happening] = {
    "no server": Broken("connection refused", answered=False),
    "cut": Broken("connection reset", answered=True),
    **{f"status {code}": Refused(code, encode(status_body(code, "", "injected"))) for code in CODES},
}
STREAM: dict[str, Happening] = {
    "cut": Broken("connection reset", answered=True),
    "ended": Ended(),
    "garbage": Lines((b'{"type":"ADDED","object":{"metadata"',)),
    **{f"event {code}": Lines((error_line(code),)) for code in (0, 403, 410, 429, 500, 504)},
}


class Action(NamedTuple):
    do: str
    what: str = ""
    number: int | None = None


FORMS = {
    "ours": {},
    "changed": {"ports": [{"name": "http", "protocol": "TCP", "port": 81}]},
    "external": {"type": "ExternalName", "externalName": "db.example.com"},
    "unreadable": {"ports": [{"name": "http", "protocol": "TCP", "port": 70000}]},
    "another proxy's": {},
}


def variant(name: str, form: str) -> Json:
    item = service(name, cluster_ip=f"10.96.0.{20 + NAMES.index(name)}", **FORMS[form])
    if form == "another proxy's":
        item["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    return item


def in_store(store: Store) -> tuple[dict[ObjectKey, KubeObject], set[ObjectKey]]:
    """What a reader of the store knows, and what it cannot read."""
    known, unreadable = {}, set()
    for item in filter(
        selector_of("!service.kubernetes.io/service-proxy-name", ""), store.items(SERVICES.path).values()
    ):
        try:
            found = decode_object(Kind.SERVICE, encode(item))
        except ParseError:
            unreadable.add(ObjectKey(item["metadata"]["namespace"], item["metadata"]["name"]))
        else:
            known |= {key_of(found): found} if found else {}
    return known, unreadable


def act(simulation: Simulation, action: Action) -> None:
    """One thing that happens to the store, the server or the network, where it can."""
    store = simulation.store
    match action.do:
        case "put":
            store.put(variant(action.what, list(FORMS)[action.number or 0]))
        case "delete":
            if store_key(variant(action.what, "ours")) in store.items(SERVICES.path):
                store.delete("Service", action.what, "shop")
        case "compact":
            store.compact()
        case "pass":
            simulation.now += action.number or 0
        case "request" if not simulation.in_stream:
            simulation.request(NETWORK.get(action.what), action.number)
        case "deliver" if simulation.in_stream:
            simulation.deliver(action.number)
        case "bookmark" if simulation.in_stream:
            simulation.deliver()
            simulation.send([bookmark_line(store.version)])
        case "break" if simulation.in_stream:
            simulation.happen(STREAM[action.what])
            simulation.stop_stream()


names = st.sampled_from(NAMES)
changes = st.builds(Action, st.just("put"), names, st.integers(0, len(FORMS) - 1)) | st.builds(
    Action, st.just("delete"), names
)
well = st.sampled_from([Action("request"), Action("request"), Action("deliver"), Action("bookmark")])
faults = st.one_of(
    st.just(Action("compact")),
    st.builds(Action, st.just("pass"), number=st.integers(1, 400)),
    st.builds(Action, st.just("request"), st.sampled_from(list(NETWORK))),
    st.builds(Action, st.just("request"), number=st.integers(0, 3)),
    st.builds(Action, st.just("deliver"), number=st.integers(0, 900)),
    st.builds(Action, st.just("break"), st.sampled_from(list(STREAM))),
)
mostly_well = st.sampled_from([changes, changes, well, well, well, faults]).flatmap(lambda actions: actions)
scripts = st.lists(mostly_well, min_size=10, max_size=50)


@given(scripts, st.sampled_from([True, False]), st.sampled_from([0, 1, 2]))
@settings(max_examples=400, deadline=None)
def test_once_faults_stop_the_events_fold_to_the_servers_state(
    script: list[Action],
    streaming: bool,  # noqa: FBT001 - drawn
    page: int,
) -> None:
    simulation = Simulation(Store(), SERVICES, streaming=streaming, page=page)
    for name in NAMES[1:]:
        simulation.store.put(variant(name, "ours"))
    for action in script:
        act(simulation, action)
    event(f"phase {simulation.step.state.phase.value}")
    simulation.settle()
    known, unreadable = in_store(simulation.store)
    ours = {key: item for key, item in simulation.known.items() if key not in unreadable}
    assert simulation.complete
    assert ours == known
    assert all(isinstance(error, ApiError | ParseError) for error in simulation.errors)


@given(st.lists(st.sampled_from(list(NETWORK)), min_size=30, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_server_that_answers_nothing_well_is_left_in_peace(faults: list[str]) -> None:
    simulation = Simulation(Store(), SERVICES)
    for fault in faults:
        simulation.request(NETWORK[fault])
    times = [ask.not_before for ask in simulation.asks]
    assert times == sorted(times)
    assert times[10] - times[0] >= 30.0
    assert times[29] - times[10] >= 19 * 15.0


@pytest.mark.parametrize("broken", STREAM)
def test_watches_that_always_break_are_left_in_peace(broken: str) -> None:
    simulation = Simulation(Store(), SERVICES)
    for _ in range(30):
        while not simulation.in_stream:
            simulation.request()
        simulation.happen(STREAM[broken])
        simulation.stop_stream()
    times = [ask.not_before for ask in simulation.asks]
    assert times[-1] - times[0] >= 300.0


def test_an_object_that_becomes_unreadable_keeps_its_last_good_state_through_relists() -> None:
    simulation = Simulation(Store(), SERVICES)
    good = simulation.store.put(variant("a", "ours"))
    simulation.settle()
    before = dict(simulation.known)
    assert before
    simulation.store.put(variant("a", "unreadable"))
    simulation.settle()
    assert simulation.known == before
    simulation.store.compact()
    simulation.happen(Lines((error_line(410),)))
    simulation.settle()
    assert simulation.known == before
    assert sum(isinstance(error, ParseError) for error in simulation.errors) == 2
    simulation.store.delete("Service", good["metadata"]["name"], "shop")
    simulation.settle()
    assert simulation.known == {}


def test_a_store_restored_from_a_backup_is_believed_after_two_silent_watches() -> None:
    simulation = Simulation(Store(), SERVICES)
    for name in NAMES:
        simulation.store.put(variant(name, "ours"))
    simulation.settle()
    simulation.store.delete("Service", "a", "shop")
    simulation.store.rewind(2)
    simulation.happen(Broken("connection reset", answered=True))
    start = simulation.now
    simulation.settle()
    assert set(simulation.known) == {ObjectKey("shop", name) for name in NAMES[1:]}
    assert simulation.now - start <= 600
