"""What kube-proxy 1.36.2 does, as data: packet-flow cases and real packets, loaded for every backend's tests.

`cases(backend)` are cluster states with the answers to single packets;
`lab(backend)` is one big state with what real clients saw. Where kproxy
differs on purpose, `DIFFERENCES` says so, case by case, with the reason.
"""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kproxy.core.flow import Answer, Choice, Packet, Verdict
from kproxy.core.host import Host, Settings, Traits
from kproxy.core.model import EndpointSlice, Kind, KubeObject, Node, Replaced, Service, ServiceCIDR
from kproxy.core.node_facts import is_local
from kproxy.core.parse import convert, parse_object
from kproxy.core.plan import Unallocated, Unlisted
from kproxy.core.snapshot import Snapshot, fold
from kproxy.core.values import Family, Network, Protocol, Value, canonical_address

DATA = Path(__file__).parent / "data" / "conformance"

TRAITS: Mapping[str, Traits] = {
    "iptables": Traits(Unlisted.PASS, Unallocated.PASS, True, (), False),
    "nftables": Traits(Unlisted.REJECT, Unallocated.DROP, False, ("primary",), True),
}
"""What the vectors presuppose; a backend's own traits must be equal to its row."""


class Expect(Value, frozen=True):
    """What must become of a packet; `masquerade` holds for whichever endpoint is taken."""

    verdict: Verdict
    endpoints: frozenset[tuple[str, int]] = frozenset()
    masquerade: bool = False
    accept: bool = False


class Flow(Value, frozen=True):
    """One packet and the answer to it."""

    name: str
    packet: Packet
    expect: Expect


class Case(Value, frozen=True):
    """A state of the cluster as one node sees it, and packets; `follows` names the case before it on one instance."""

    id: str
    follows: str | None
    snapshot: Snapshot
    settings: Settings
    host: Host
    family: Family
    flows: tuple[Flow, ...]


class Pair(Value, frozen=True):
    """A client and a frontend of the lab, with every answer the client saw."""

    key: str
    packet: Packet
    seen: frozenset[str]
    """`address:port source-that-the-endpoint-saw`, or REJECT, or NONE."""
    kept: bool
    """Affinity: any one endpoint, always the same."""


class Lab(Value, frozen=True):
    """The lab of real packets: see the README beside the data."""

    snapshot: Snapshot
    settings: Settings
    host: Host
    family: Family
    pairs: tuple[Pair, ...]


DEFECT_8 = "kube-proxy leaves the node itself in silence (its REJECT is not on OUTPUT); kproxy refuses at once"
FENCE_FIRST = "kube-proxy refuses a source outside the source ranges if there is no endpoint; kproxy drops it as always"
DIFFERENCES: Mapping[str, Mapping[str, tuple[frozenset[str], str]]] = {
    "iptables": {
        "node -> e-none/http/external": (frozenset({"REJECT"}), DEFECT_8),
        "node -> el-none/http/external": (frozenset({"REJECT"}), DEFECT_8),
        "node -> l-none/http/lb": (frozenset({"REJECT"}), DEFECT_8),
        "node -> ll-none/http/lb": (frozenset({"REJECT"}), DEFECT_8),
        "outside-2 -> l-none/http/lb": (frozenset({"NONE"}), FENCE_FIRST),
    },
    "nftables": {},
    "ipvs": {},
}
"""By backend and pair of the lab: what kproxy's clients see instead, and why. No flow of `cases` differs."""

LAB_MASQUERADE = {"10.64.1.": "169.254.1.1", "10.64.2.": "10.200.1.1"}
"""The node's source address towards its own pods and towards the other node's."""


def check_answer(answer: Answer, expect: Expect) -> None:
    """Assert that an answer is the expected one."""
    assert answer.verdict is expect.verdict
    assert {(one.address, one.port) for one in answer.choices} == expect.endpoints
    assert {one.masquerade for one in answer.choices} <= {expect.masquerade}
    assert answer.accept is expect.accept


def check_pair(answer: Answer, pair: Pair, lab: Lab, backend: str) -> None:
    """Assert that the lab's client would see what it saw behind kube-proxy, or what we want instead."""
    would_see = seen_by_client(answer, pair.packet, lab.host)
    wanted = DIFFERENCES[backend][pair.key][0] if pair.key in DIFFERENCES[backend] else pair.seen
    if pair.kept:
        assert answer.verdict is Verdict.DNAT
        assert len(would_see) > 1
    else:
        assert would_see == wanted


def seen_by_client(answer: Answer, packet: Packet, host: Host) -> frozenset[str]:
    """What the lab's client sees of an answer, in the words of the recorded results."""
    if answer.verdict is Verdict.DNAT:
        return frozenset(f"{one.address}:{one.port} {_source(one, packet)}" for one in answer.choices)
    # Nothing listens on the node; what is not the node's is sent to and fro between node and outside until it dies.
    refused = answer.verdict is Verdict.REJECT or (
        answer.verdict is Verdict.PASS and is_local(packet.destination, host)
    )
    return frozenset({"REJECT" if refused else "NONE"})


def _source(choice: Choice, packet: Packet) -> str:
    if not choice.masquerade:
        return packet.source
    return next(own for prefix, own in LAB_MASQUERADE.items() if choice.address.startswith(prefix))


@functools.cache
def cases(backend: str) -> tuple[Case, ...]:
    """All cases of `iptables` or `nftables`."""
    document = json.loads((DATA / f"flows-{backend}.json").read_text())
    return tuple(_case(one) for one in document["cases"])


def case_before(case: Case, backend: str) -> Case | None:
    """The case that stood on the instance before this one."""
    return next((one for one in cases(backend) if one.id == case.follows), None)


@functools.cache
def lab(backend: str) -> Lab:
    """The lab with the results that were recorded behind this backend of kube-proxy."""
    document = json.loads((DATA / "packets.json").read_text())
    snapshot = snapshot_of(document["objects"]["items"])
    (node,) = snapshot.nodes.values()
    host = Host(node.name, ("192.0.2.11",), _with_loopback(LAB_NODE_ADDRESSES))
    settings = Settings(cluster_cidrs=(ipaddress.ip_network("10.64.0.0/16"),))
    pairs = tuple(_pair(key, answers, snapshot) for key, answers in document["results"][backend].items())
    return Lab(snapshot, settings, host, Family.IPV4, pairs)


LAB_NODE_ADDRESSES = ("192.0.2.11", "198.18.0.11", "169.254.1.1", "10.200.1.1")
LAB_CLIENTS = {"pod-here": "10.64.1.10", "outside": "192.0.2.100", "outside-2": "203.0.113.7"}
LAB_NODE_PORT_ADDRESSES = {"nodeport": "192.0.2.11", "nodeport-2nd": "198.18.0.11", "nodeport-lo": "127.0.0.1"}
UNLISTED_PORT = 9


def snapshot_of(documents: Iterable[Mapping[str, Any]]) -> Snapshot:
    """The snapshot of complete lists of API objects."""
    found: dict[Kind, list[KubeObject]] = {kind: [] for kind in Kind}
    for document in documents:
        kind = Kind(document["kind"])
        item = parse_object(kind, convert(kind, document))
        if item is not None:
            found[kind].append(item)
    return snapshot_from(*(one for items in found.values() for one in items))


def snapshot_from(*items: KubeObject) -> Snapshot:
    """The snapshot of model values, every kind complete."""
    classes = {
        Kind.SERVICE: Service,
        Kind.ENDPOINT_SLICE: EndpointSlice,
        Kind.NODE: Node,
        Kind.SERVICE_CIDR: ServiceCIDR,
    }
    events = [Replaced(kind, tuple(one for one in items if isinstance(one, cls))) for kind, cls in classes.items()]
    return fold(Snapshot(), events)


def _case(document: Mapping[str, Any]) -> Case:
    node, config = document["node"], document["config"]
    family = Family.IPV4 if config["ipFamily"] == "IPv4" else Family.IPV6
    snapshot = snapshot_of([*document["services"], *document["endpointSlices"], _node(node), *_ranges(config)])
    settings = Settings(
        cluster_cidrs=_networks([config["clusterCIDR"]]) if config["detectLocal"] == "ClusterCIDR" else (),
        masquerade_all=config["masqueradeAll"],
        node_port_addresses=_networks(config["nodePortAddresses"]),
        localhost_node_ports=config.get("localhostNodePorts", True),
    )
    host = Host(node["name"], (canonical_address(node["primaryIP"]),), _with_loopback(node["ips"]))
    flows = tuple(_flow(one) for one in document["flows"])
    return Case(document["id"], document.get("follows"), snapshot, settings, host, family, flows)


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": one} for one in node["ips"]]
    return {
        "kind": "Node",
        "metadata": {"name": node["name"], "labels": node["labels"]},
        "status": {"addresses": addresses},
    }


def _ranges(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    cidrs = config.get("serviceCIDRs")
    return [{"kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}] if cidrs else []


def _flow(document: Mapping[str, Any]) -> Flow:
    expect = document["expect"]
    packet = Packet(
        canonical_address(document["from"]),
        canonical_address(document["to"]),
        document["port"],
        Protocol(document["protocol"]),
    )
    endpoints = frozenset(_endpoint(one) for one in expect["endpoints"])
    wanted = Expect(Verdict(expect["verdict"]), endpoints, expect["masquerade"], expect.get("accept", False))
    return Flow(document["name"], packet, wanted)


def _endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    return canonical_address(address.strip("[]")), int(port)


def _pair(key: str, answers: list[str], snapshot: Snapshot) -> Pair:
    client, _, target = key.partition(" -> ")
    name, port_name, kind = target.split("/")
    service = next(one for one in snapshot.services.values() if one.key.name == name)
    port = service.ports[0]
    address = LAB_NODE_PORT_ADDRESSES.get(kind) or _address(service, kind)
    number = UNLISTED_PORT if port_name == "unlisted" else port.node_port if kind.startswith("nodeport") else port.port
    # The node talks to its own addresses from the very same one, to all others from its main one.
    source = LAB_CLIENTS.get(client) or LAB_NODE_PORT_ADDRESSES.get(kind, "192.0.2.11")
    kept = answers == ["one, kept"]
    return Pair(key, Packet(source, address, number, port.protocol), frozenset(answers), kept)


def _address(service: Service, kind: str) -> str:
    return {
        "cluster": service.cluster_ips,
        "external": service.external_ips,
        "lb": service.load_balancer_ips,
    }[kind][0]


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _with_loopback(addresses: Iterable[str]) -> frozenset[str]:
    return frozenset([*map(canonical_address, addresses), "127.0.0.1", "::1"])
