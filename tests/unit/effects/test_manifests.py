"""Manifests: objects from files, faults with their place, and what stays when something cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.core.model import Kind, KubeObject, Replaced, key_of
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import ObjectKey
from kproxy.effects.manifests import Manifest, Manifests, carry, merge, read_manifest

DATA = Path(__file__).parents[2] / "data" / "manifests"


def service(name: str, port: object = 80, namespace: str = "shop") -> str:
    spec = f"{{clusterIP: 10.96.0.10, ports: [{{port: {port}}}]}}"
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


def read(text: str, name: str = "f.yaml") -> Manifest:
    return read_manifest(name, text.encode())


def said(manifest: Manifest | Manifests) -> list[str]:
    return [str(problem) for problem in manifest.problems]


def names(manifests: Manifests, kind: Kind) -> list[str]:
    return [str(key_of(item)) for item in items(manifests, kind)]


def items(manifests: Manifests, kind: Kind) -> Iterable[KubeObject]:
    (event,) = [event for event in manifests.events if isinstance(event, Replaced) and event.kind is kind]
    return event.items


def all_data(*wanted: str) -> Manifests:
    return merge(read_manifest(name, (DATA / name).read_bytes()) for name in wanted)


def test_files_of_every_form_make_one_cluster() -> None:
    found = all_data("list.json", "old-endpoints.yml", "shop.yaml")
    assert said(found) == []
    assert found.ignored == 1
    assert [event.kind for event in found.events if isinstance(event, Replaced)] == list(Kind)
    assert names(found, Kind.SERVICE) == ["shop/db", "shop/cart"]
    assert names(found, Kind.ENDPOINT_SLICE) == ["shop/cart-x7", "shop/db-endpoints-0-ipv4"]
    assert names(found, Kind.NODE) == ["/node-a"]
    assert names(found, Kind.SERVICE_CIDR) == ["/kubernetes"]
    assert fold(Snapshot(), found.events).complete == frozenset(Kind)


def test_nothing_is_a_whole_empty_cluster() -> None:
    assert fold(Snapshot(), merge([]).events) == Snapshot(complete=frozenset(Kind))


def test_a_broken_object_costs_only_itself() -> None:
    found = all_data("broken.yaml")
    assert said(found) == [
        "broken.yaml:8: Service shop/bad-port: spec.ports[0].port: 70000 is not a number from 1 to 65535"
    ]
    assert names(found, Kind.SERVICE) == ["shop/fine"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kind: Service\nmetadata: {name: a}\n", "f.yaml:1: Service: apiVersion: is required"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "f.yaml:1: object: kind: is required"),
        ("a: 1\n", "f.yaml:1: object: kind: is required"),
        ("just text\n", "f.yaml:1: object (unnamed): 'just text' is not a mapping of fields"),
        ("- 1\n", "f.yaml:1: object (unnamed): [1] is not a mapping of fields"),
        ("apiVersion: v1\nkind: [Service]\n", "f.yaml:2: object (unnamed): kind: ['Service'] is not text"),
        (
            "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1beta1\n",
            "f.yaml:2: EndpointSlice: apiVersion: 'discovery.k8s.io/v1beta1' is not read; use discovery.k8s.io/v1",
        ),
        ("kind: List\napiVersion: v2\n", "f.yaml:2: List: apiVersion: 'v2' is not read; use v1"),
        ("kind: List\napiVersion: v1\nitems: 1\n", "f.yaml:3: object (unnamed): items: 1 is not a list"),
        (
            "kind: List\napiVersion: v1\nitems:\n- {kind: List, apiVersion: v1}\n",
            "f.yaml:4: List: a list inside a list is not read",
        ),
        (
            "kind: ServiceList\napiVersion: v1\nitems:\n- metadata: {name: a}\n- metadata: {name: 1}\n",
            "f.yaml:5: Service (unnamed): metadata.name: 1 is not text; put it in quotes",
        ),
    ],
)
def test_what_cannot_be_read_has_a_place_and_a_remedy(text: str, problem: str) -> None:
    found = read(text)
    assert said(found) == [problem]
    assert not found.is_whole


@pytest.mark.parametrize(
    "text",
    [
        "kind: ConfigMap\napiVersion: v1\n",
        "kind: Service\napiVersion: serving.knative.dev/v1\n",
        "kind: Ingress\napiVersion: networking.k8s.io/v1\nspec: {rules: 7}\n",
        "kind: DeploymentList\napiVersion: apps/v1\nitems: [{}, {}]\n",
    ],
)
def test_other_kinds_are_counted_and_not_judged(text: str) -> None:
    assert read(text) == Manifest("f.yaml", ignored=1)


def test_json_faults_have_lines_too() -> None:
    node = '{"apiVersion": "v1", "kind": "Node",\n"metadata": {"name": "A"}}'
    text = f'{{"apiVersion": "v1", "kind": "List", "items": [\n{node}]}}'
    assert said(read(text, "f.json")) == [
        "f.json:3: Node 'A': metadata.name: 'A' is not a name of lower-case letters, digits, inner hyphens and dots"
    ]


def test_the_first_of_two_equal_names_counts() -> None:
    found = merge([read(service("a", 80), "1.yaml"), read(f"---\n{service('b')}---\n{service('a', 81)}", "2.yaml")])
    assert said(found) == ["2.yaml:7: Service shop/a: is also in 1.yaml:1, which counts; remove one of them"]
    assert [item.ports[0].port for item in items(found, Kind.SERVICE)] == [80, 80]  # type: ignore[union-attr]


def test_so_it_does_within_one_file() -> None:
    assert said(merge([read(service("a") + "---\n" + service("a"))])) == [
        "f.yaml:6: Service shop/a: is also in f.yaml:1, which counts; remove one of them"
    ]


def test_the_same_name_in_two_namespaces_is_no_fault() -> None:
    assert said(merge([read(service("a") + "---\n" + service("a", namespace="mine"))])) == []


def test_an_unreadable_object_keeps_what_was_last_known_of_it() -> None:
    before = read(service("a", 80) + "---\n" + service("b", 80))
    now = carry(before, read(service("a", "x") + "---\n" + service("b", 81)))
    ports = {item.key.name: item.ports[0].port for item in items(merge([now]), Kind.SERVICE)}  # type: ignore[union-attr]
    assert ports == {"a": 80, "b": 81}
    assert len(now.problems) == 1
    again = carry(now, read(service("a", "y")))
    assert names(merge([again]), Kind.SERVICE) == ["shop/a"]


@pytest.mark.parametrize(
    "text", ["a: [", "kind: Service\napiVersion: v1\nmetadata: {name: 1}\n", service("a") + "---\na: 1\na: 2\n"]
)
def test_a_file_whose_objects_are_not_all_known_keeps_all_it_last_said(text: str) -> None:
    before = read(service("a", 80) + "---\n" + service("b", 80))
    now = carry(before, read(text))
    assert now.entries == before.entries
    assert now.problems


def test_what_is_gone_from_a_file_that_can_be_read_is_gone() -> None:
    before = read(service("a") + "---\n" + service("b"))
    assert carry(before, read(service("b"))) == read(service("b"))


def test_a_first_reading_takes_what_there_is() -> None:
    now = carry(None, read(service("a") + "---\n" + service("b", "x")))
    (event,) = [e for e in merge([now]).events if isinstance(e, Replaced) and e.kind is Kind.SERVICE]
    assert [str(key_of(item)) for item in event.items] == ["shop/a"]
    assert event.unreadable == {ObjectKey("shop", "b")}


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=40).map(str.encode),
        st.lists(
            st.sampled_from([*service("a").splitlines(), "---", "- x", "a: *b", "&b", "  ports: {}", "\t", '{"a"'])
        ).map(lambda lines: "\n".join(lines).encode()),
    )
)
def test_nothing_in_a_file_raises(content: bytes) -> None:
    found = read_manifest("f", content)
    assert all(str(problem).startswith("f") for problem in found.problems)
    assert found.problems or found.is_whole
    merge([found, carry(found, found)])
