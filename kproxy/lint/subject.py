"""What the checks look at: the cluster as it was read, as it was written, and as a node would plan it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kproxy.config import Config
from kproxy.core.endpoints import Candidates, Place, gather
from kproxy.core.host import Settings, Traits
from kproxy.core.model import EndpointSlice, Node, Service, ServicePort
from kproxy.core.plan import Conflict
from kproxy.core.snapshot import Snapshot
from kproxy.core.values import Family, Network, ObjectKey, Value, address_number, family_of
from kproxy.effects.manifest_text import Problem
from kproxy.lint.finding import Ref
from kproxy.lint.written import Spec, Written
from kproxy.ports import Unsupported

NOWHERE = Place("", "")


class Supplied(Value, frozen=True):
    """A Service port in one family, and all its endpoints there, whatever their condition."""

    service: Service
    family: Family
    index: int
    port: ServicePort
    candidates: Candidates

    @property
    def field(self) -> str:
        """The port's place."""
        return f"spec.ports[{self.index}]"

    @property
    def label(self) -> str:
        """The port in words: `port http (80/TCP)`."""
        number = f"{self.port.port}/{self.port.protocol}"
        return f"port {self.port.name} ({number})" if self.port.name else f"port {number}"


class Subject(Value, frozen=True):
    """The subject of all checks."""

    snapshot: Snapshot
    """Services without a ClusterIP have a stand-in for one."""
    written: Mapping[Ref, Written]
    """Every object that could be read at all, of whatever type of Service."""
    unassigned: frozenset[ObjectKey]
    """Services without a ClusterIP."""
    nodes: tuple[Node, ...]
    """The nodes that are asked about."""
    config: Config
    config_file: str
    """Empty where none is given."""
    backend: str
    settings: Settings
    traits: Traits
    conflicts: tuple[Conflict, ...]
    unsupported: tuple[Unsupported, ...]
    supplied: tuple[Supplied, ...]
    """Every Service port of every family, if anything is known of endpoints at all."""
    problems: tuple[Problem, ...] = ()
    unknown_fields: Mapping[Ref, tuple[tuple[str, str], ...]] = {}
    """Place and name of the fields in manifests that their API does not have; a cluster's objects have none."""


def services_of(subject: Subject) -> Iterator[tuple[Service, Spec]]:
    """The Services that are served, each with its spec as it is written."""
    for key, one in subject.snapshot.services.items():
        yield one, spec_of(subject, key)


def spec_of(subject: Subject, key: ObjectKey) -> Spec:
    """A Service's spec as it is written; an empty one if that is not known."""
    written = subject.written.get(Ref("Service", key))
    return written.spec if written is not None and written.spec is not None else Spec()


def all_supplied(snapshot: Snapshot) -> Iterator[Supplied]:
    """Every port of every Service in every family that it has; none where there are no EndpointSlices at all."""
    if not snapshot.slices:
        return
    for key, one in snapshot.services.items():
        slices = snapshot.slices.get(key, {}).values()
        for family in families(one):
            for index, port in enumerate(one.ports):
                yield Supplied(one, family, index, port, gather(slices, family, port, NOWHERE))


def families(service: Service) -> tuple[Family, ...]:
    """The families of its ClusterIPs: those in which it exists."""
    return tuple(family_of(address) for address in service.cluster_ips)


def slices_of(subject: Subject) -> Iterator[EndpointSlice]:
    """Every EndpointSlice."""
    return (one for members in subject.snapshot.slices.values() for one in members.values())


def service_ranges(subject: Subject) -> tuple[Network, ...]:
    """The ranges that ClusterIPs come from."""
    return tuple(cidr for one in subject.snapshot.service_cidrs.values() for cidr in one.cidrs)


def pod_ranges(subject: Subject) -> dict[Network, str]:
    """The ranges that pods have, each with the words for where it is said."""
    found: dict[Network, str] = {}
    for node in subject.snapshot.nodes.values():
        for network in node.pod_cidrs:
            found.setdefault(network, f"the pod range of node {node.name}")
    for network in subject.settings.cluster_cidrs:
        found.setdefault(network, "clusterCIDR")
    return found


def node_addresses(subject: Subject) -> dict[str, str]:
    """The addresses of all known nodes, each with its node's name."""
    return {address: node.name for node in subject.snapshot.nodes.values() for address in node.addresses}


Index = Mapping[tuple[int, int], Mapping[int, Network]]
"""Networks by version and length of prefix, then by prefix: as many look-ups as there are lengths."""


def index_of(networks: Iterable[Network]) -> Index:
    """An index to ask with `containing`: a large cluster has a range of pods for each of thousands of nodes."""
    found: dict[tuple[int, int], dict[int, Network]] = {}
    for one in networks:
        prefix = int(one.network_address) >> (one.max_prefixlen - one.prefixlen)
        found.setdefault((one.version, one.prefixlen), {}).setdefault(prefix, one)
    return found


def containing(index: Index, address: str) -> Network | None:
    """A network of the index that an address is in; None if it is in none."""
    family, value = family_of(address), address_number(address)
    for (version, length), networks in index.items():
        if version == family.value and (found := networks.get(value >> (family.address_bits - length))) is not None:
            return found
    return None


def external_addresses(service: Service) -> Iterator[tuple[str, str]]:
    """The addresses from outside that a Service wants, each with its field."""
    for index, address in enumerate(service.external_ips):
        yield f"spec.externalIPs[{index}]", address
    for index, address in enumerate(service.load_balancer_ips):
        yield f"status.loadBalancer.ingress[{index}].ip", address


MOST_NAMED = 3


def some_of(names: Iterable[str]) -> str:
    """The first few of many names, for a sentence."""
    every = list(names)
    rest = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
