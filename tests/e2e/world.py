"""A laboratory with an agent in it, and manifests to give to the agent: what the feature tests speak in.

A Service is written down as the API has it, without the fields that do not
matter; every test takes addresses of its own, so that no test meets another's
connections.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.agent import Agent, agent
from lab.listening import endpoint_text
from lab.machine import Answers, Machine, Target, probe_all
from lab.topology import (
    CLUSTER_CIDRS,
    NODE_IPS,
    NODE_NAME,
    OUTSIDE_IPS,
    POD_GATEWAYS,
    PODS,
    REMOTE_POD,
    SECOND_OUTSIDE_IPS,
    SERVICE_CIDRS,
    TRANSIT,
    Lab,
    laboratory,
)

Manifest = dict[str, Any]

FAMILIES = ("IPv4", "IPv6")
HERE, THERE, REMOTE = PODS["pod-here"], PODS["pod-there"], REMOTE_POD
CONNECTIONS = 48
"""Three endpoints are all met: 3 * (2/3) ** 48 is 1e-8."""

CONDITIONS: Mapping[str, Manifest] = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "draining": {"ready": False, "serving": True, "terminating": True},
    "gone": {"ready": False, "serving": False, "terminating": True},
    "failing": {"ready": False, "serving": False, "terminating": False},
}


@dataclass(frozen=True)
class Vip:
    """The addresses and the NodePort that a test's Service may take; index by family."""

    number: int
    cluster: tuple[str, str]
    load_balancer: tuple[str, str]
    external: tuple[str, str]
    node_port: int


_numbers = itertools.count(1)


def fresh_vip() -> Vip:
    """Addresses that no test of a while had before: they come again, in other laboratories."""
    number = next(_numbers)
    host = number % 250 + 1
    return Vip(
        number,
        (f"10.96.8.{host}", f"fd00:10:96::8:{host:x}"),
        (f"198.51.100.{host}", f"2001:db8:51::{host:x}"),
        (f"198.51.101.{host}", f"2001:db8:51::1:{host:x}"),
        31000 + host,
    )


def service(
    name: str, vip: Vip, family: int, *, protocol: str = "TCP", status: Manifest | None = None, **spec: Any
) -> Manifest:
    """A Service of one family with port `main`, 80 to 8080; `spec` adds fields or replaces them."""
    port = {"name": "main", "port": 80, "protocol": protocol}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        port["nodePort"] = vip.node_port
    plain = {"clusterIP": vip.cluster[family], "ipFamilies": [FAMILIES[family]], "ports": [port]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "e2e", "name": name},
        "spec": plain | spec,
        "status": status or {},
    }


def ingress(*addresses: str, mode: str = "VIP") -> Manifest:
    """A status with load balancer addresses."""
    return {"loadBalancer": {"ingress": [{"ip": address, "ipMode": mode} for address in addresses]}}


def endpoint(address: str, condition: str = "ready", **more: Any) -> Manifest:
    """An endpoint; on this node if its address is one of this node's pods."""
    node = NODE_NAME if address in (*HERE, *THERE) else "node-b"
    return {"addresses": [address], "nodeName": node, "conditions": CONDITIONS[condition]} | more


def endpoint_slice(name: str, family: int, *endpoints: Manifest, protocol: str = "TCP", port: int = 8080) -> Manifest:
    """The EndpointSlice of a Service's port `main`."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "e2e",
            "name": f"{name}-{FAMILIES[family].lower()}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": FAMILIES[family],
        "ports": [{"name": "main", "port": port, "protocol": protocol}],
        "endpoints": list(endpoints),
    }


def everywhere(family: int) -> tuple[str, str, str]:
    """One pod here, its neighbour, and one on the other node."""
    return HERE[family], THERE[family], REMOTE[family]


NODE: Manifest = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": NODE_NAME, "labels": {"topology.kubernetes.io/zone": "zone-1"}},
    "status": {"addresses": [{"type": "InternalIP", "address": address} for address in NODE_IPS]},
}
RANGES: Manifest = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": list(SERVICE_CIDRS)},
}


@dataclass
class World:
    """The laboratory, the agent on its node, and the directory that the agent follows."""

    lab: Lab
    backend: str
    folder: Path
    config: Path
    options: tuple[str, ...]
    agent: Agent

    def put(self, name: str, family: int, *objects: Manifest) -> None:
        """Write a file of objects, in one moment, and wait until the kernel has followed in that family."""
        with self.agent.change(FAMILIES[family]):
            self.write(name, {"apiVersion": "v1", "kind": "List", "items": list(objects)})

    def write(self, name: str, document: Manifest | str) -> None:
        """Write a file without waiting."""
        text = document if isinstance(document, str) else json.dumps(document)
        fresh = self.folder / f".{name}"
        fresh.write_text(text)
        fresh.rename(self.folder / f"{name}.json")

    def remove(self, name: str, family: int) -> None:
        """Remove a file, and wait as `put` does."""
        with self.agent.change(FAMILIES[family]):
            (self.folder / f"{name}.json").unlink()

    def client(self, name: str, family: int) -> tuple[Machine, str | None]:
        """The machine of a client, and the address that it sends from (None: as it likes)."""
        return {
            "pod": (self.lab.pod_here, HERE[family]),
            "node": (self.lab.node, None),
            "outside": (self.lab.outside, OUTSIDE_IPS[family]),
            "stranger": (self.lab.outside, SECOND_OUTSIDE_IPS[family]),
        }[name]

    def ask(
        self, client: str, address: str, port: int = 80, protocol: str = "TCP", count: int = CONNECTIONS
    ) -> Answers:
        """What a client's new connections meet."""
        return self.ask_all(client, [(address, port)], protocol, count)[0]

    def ask_all(self, client: str, places: Sequence[tuple[str, int]], protocol: str, count: int) -> list[Answers]:
        """What a client's new connections meet at each of several places, asked at the same time."""
        machine, source = self.client(client, int(":" in places[0][0]))
        targets = [Target(address, port, protocol, source, count) for address, port in places]
        return probe_all({machine: targets}, self.lab.controls())[machine]


def sees(endpoints: Iterable[str], client: str, family: int, *, masquerade: bool, port: int = 8080) -> set[str]:
    """Every answer that a client may get: who answers, and the source that it sees.

    The node's own connections always end up with the address that faces the
    endpoint; a pod that reaches itself is masqueraded whatever the policy.
    """
    own = {"pod": HERE, "outside": OUTSIDE_IPS, "stranger": SECOND_OUTSIDE_IPS}.get(client)
    answers = set()
    for address in endpoints:
        facing = TRANSIT[family][0] if address == REMOTE[family] else POD_GATEWAYS[family]
        kept = own is not None and not masquerade and address != own[family]
        answers.add(f"{endpoint_text(address, port)} {own[family] if own and kept else facing}")
    return answers


@contextmanager
def world(
    backend: str,
    folder: Path,
    own: Manifest | None = None,
    *,
    legacy: bool = False,
    by_mode: bool = False,
    **settings: Any,
) -> Iterator[World]:
    """A laboratory whose agent knows its node and nothing else.

    `settings` are fields of KubeProxyConfiguration, `own` those of KproxyConfiguration; `legacy` makes it a host of
    iptables-legacy, as the IPVS backend needs it here. With `by_mode` the configuration names the backend.
    """
    source = folder / "objects"
    source.mkdir()
    (source / "cluster.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [NODE, RANGES]}))
    config = folder / "config.json"
    named = {"mode": backend} if by_mode else {}
    config.write_text(config_text(own or {}, **settings, **named))
    options = ("--config", str(config), *(() if by_mode else ("--backend", backend)))
    with laboratory() as lab:
        if legacy or backend == "ipvs":
            make_legacy(lab.node)
        with agent(lab.node, source, *options) as running:
            yield World(lab, backend, source, config, options, running)


def config_text(own: Manifest, **settings: Any) -> str:
    """A configuration of both kinds, which tells pods by the laboratory's networks unless `settings` say otherwise."""
    head = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    kubes = head | {"clusterCIDR": ",".join(CLUSTER_CIDRS)} | settings
    ours = {"apiVersion": "kproxy.io/v1alpha1", "kind": "KproxyConfiguration"} | own
    return f"{json.dumps(kubes)}\n---\n{json.dumps(ours)}\n"


def make_legacy(node: Machine) -> None:
    """Make the node a host of iptables-legacy, by the chain that kubelet leaves: the kernel may have no other."""
    for program in ("iptables-legacy", "ip6tables-legacy"):
        node.run(program, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
