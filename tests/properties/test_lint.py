"""Lint on clusters that nobody has thought of: it never stumbles, says the same twice, and points at what is there."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kproxy.core.model import Kind
from kproxy.effects.manifest_text import Document, Text, read_text
from kproxy.lint.catalogue import CHECKS, lint
from kproxy.lint.finding import Ref
from kproxy.lint.present import lines, plain, sarif
from kproxy.lint.subject import Subject, all_supplied
from kproxy.lint.written import Metadata, Spec, Written
from kproxy.wiring.backends import backend_names, find_backend
from kproxy.wiring.lint import read_texts, subject_of
from kproxy.wiring.question import Asked
from tests.properties.strategies import Scene, scenes
from tests.unit.lint.manifests import GOOD, SERVICE_CIDR, balancer, node

unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        ("kproxy.io/tcp-drain-seconds", "kproxy.io/lint-ignore", "kproxy.io/x", "service.kubernetes.io/topology-mode")
    ),
    st.one_of(st.text(max_size=8), st.integers(), st.none(), st.sampled_from(("KPX020", "all"))),
    max_size=2,
)
WRITTEN = st.builds(
    Written,
    st.builds(Metadata, st.none(), ANNOTATIONS),
    st.builds(
        Spec,
        selector=st.sampled_from((None, {}, {"app": "a"})),
        traffic_distribution=st.sampled_from((None, "PreferClose", "x")),
        publish_not_ready_addresses=st.sampled_from((None, True)),
        load_balancer_source_ranges=st.sampled_from((None, [], ["10.0.0.0/8"])),
    ),
)
BACKENDS = [find_backend(name) for name in backend_names()]
ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 70_000), st.text(max_size=12), st.sampled_from(("10.0.0.1", "::1"))
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document but the outermost."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [*([path] if path else []), *(place for name, value in items for place in places(value, (*path, name)))]


@st.composite
def damaged(draw: st.DrawFn) -> list[Any]:
    """A small cluster, some values of which are anything."""
    objects: list[Any] = msgspec.json.decode(
        msgspec.json.encode(
            [balancer("198.51.100.1", loadBalancerSourceRanges=["10.0.0.0/8"]), GOOD, node(), SERVICE_CIDR]
        )
    )
    for place in draw(st.lists(st.sampled_from(places(objects)), max_size=3)):
        target: Any = objects
        try:
            for step in place[:-1]:
                target = target[step]
            target[place[-1]] = draw(ANYTHING)
        except (LookupError, TypeError):
            continue  # an earlier damage took that place away
    return objects


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    """A random cluster with random words beside what its objects say to a proxy."""
    scene: Scene = draw(scenes())
    backend = draw(st.sampled_from(BACKENDS))
    written = {Ref(Kind.SERVICE, key): draw(WRITTEN) for key in scene.snapshot.services}
    read = read_texts([], [])
    subject = subject_of(read, Asked(), backend)
    return msgspec.structs.replace(
        subject,
        snapshot=scene.snapshot,
        settings=scene.settings,
        written=written,
        nodes=tuple(scene.snapshot.nodes.values()),
        supplied=tuple(all_supplied(scene.snapshot)),
    )


@unhurried
@given(subjects())
def test_any_cluster_is_judged(subject: Subject) -> None:
    report = lint(subject)
    assert report == lint(subject)
    assert len([line for _, line in lines(report)]) == 3 * len(report.findings)
    assert msgspec.json.encode([plain(report), sarif(report, "1")])
    known = {"Service": subject.snapshot.services, "Node": subject.snapshot.nodes}
    assert all(one.object.key in known.get(one.object.kind, {one.object.key}) for one in report.findings)
    assert report.ignored <= sum(len(list(check.find(subject))) for check in CHECKS)


@unhurried
@given(damaged(), st.sampled_from(BACKENDS))
def test_any_manifest_is_judged(objects: list[Any], backend: Any) -> None:
    documents = tuple(Document("x.json", msgspec.json.encode(one), None) for one in objects)
    read = read_texts([("x.json", Text(documents))], [])
    report = lint(subject_of(read, Asked(), backend))
    assert len(report.findings) >= 0 <= report.ignored
    named = {finding.code for finding in report.findings}
    assert named <= {check.code for check in CHECKS}


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_judged(raw: bytes) -> None:
    read = read_texts([("x.json", read_text("x.json", raw))], [])
    assert not read.written
