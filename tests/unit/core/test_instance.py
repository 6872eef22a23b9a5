"""An instance's Services, and the names that it uses."""

from __future__ import annotations

import pytest
from msgspec import UNSET, UnsetType

from kproxy.core.instance import DEFAULT, Instance, instance_named
from kproxy.core.model import Kind
from kproxy.core.parse import decode_object
from kproxy.core.resource import resources
from kproxy.errors import ConfigError

SERVICE = (
    b'{"metadata": {"name": "web", "namespace": "shop"%s}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}}'
)
LABEL = "service.kubernetes.io/service-proxy-name"
EDGE = Instance("edge")


@pytest.mark.parametrize(
    ("instance", "served"),
    [(DEFAULT, [UNSET]), (EDGE, ["edge"]), (Instance("Edge"), ["Edge"])],
)
def test_an_instance_serves_what_has_its_name(instance: Instance, served: list[str | UnsetType]) -> None:
    labels: list[str | UnsetType | None] = [UNSET, None, "", "edge", "Edge", "edge-2"]
    assert [label for label in labels if instance.serves(label)] == served


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        (b"", [DEFAULT]),
        (b', "labels": {}', [DEFAULT]),
        (b', "labels": {"%s": "edge"}' % LABEL.encode(), [EDGE]),
        (b', "labels": {"%s": ""}' % LABEL.encode(), []),
        (b', "labels": {"%s": "cilium"}' % LABEL.encode(), []),
    ],
)
def test_a_service_is_one_instances_or_nobodys(labels: bytes, whose: list[Instance]) -> None:
    instances = [DEFAULT, EDGE, Instance("other")]
    assert [one for one in instances if decode_object(Kind.SERVICE, SERVICE % labels, one)] == whose


def test_what_is_no_service_is_everybodys() -> None:
    node = b'{"metadata": {"name": "node-a"}}'
    assert decode_object(Kind.NODE, node, EDGE) == decode_object(Kind.NODE, node)


def test_the_server_is_asked_for_nothing_else() -> None:
    mine, others = (resources("node-a", one) for one in (EDGE, DEFAULT))
    assert dict(mine[Kind.SERVICE].selectors)["labelSelector"] == f"{LABEL}=edge"
    assert dict(others[Kind.SERVICE].selectors)["labelSelector"] == f"!{LABEL}"
    assert {kind: one for kind, one in mine.items() if kind is not Kind.SERVICE} == {
        kind: one for kind, one in others.items() if kind is not Kind.SERVICE
    }


@pytest.mark.parametrize(
    ("name", "prefix", "local"),
    [
        ("", "KPROXY-", "kproxy"),
        ("edge", "KPEDGE-", "kproxy-EDGE"),
        ("blue2", "KPBLUE2-", "kproxy-BLUE2"),
        ("roxy", "KPdntwo-", "kproxy-dntwo"),
        ("Edge", "KPgurtf-", "kproxy-gurtf"),
        ("a-very.long_name", "KPxxcmt-", "kproxy-xxcmt"),
    ],
)
def test_names_stay_as_they_are(name: str, prefix: str, local: str) -> None:
    """Another version of kproxy must find what this one has left."""
    instance = instance_named(name)
    assert (instance.chain_prefix, instance.local_name) == (prefix, local)
    assert instance.table == ("kproxy" if not name else f"kproxy-{name}")


@pytest.mark.parametrize("name", ["-edge", "edge-", "e dge", "é", "a" * 64, "edge\n", "a/b"])
def test_what_no_label_can_say_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^--instance .*it must be a label value"):
        instance_named(name)
