"""Two agents on one node, each with Services of its own: both serve, and neither touches what the other has."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import REJECT
from lab.agent import KPROXY, Agent, agent
from lab.listening import endpoint_text
from lab.machine import Answers, LabError, Machine, Target, probe_all
from lab.topology import (
    CLUSTER_CIDRS,
    NODE_IPS,
    OUTSIDE_IPS,
    SECOND_OUTSIDE_IPS,
    SERVICE_CIDRS,
    Lab,
    laboratory,
)
from tests.e2e.pages import until
from tests.e2e.world import (
    HERE,
    NODE,
    RANGES,
    REMOTE,
    Manifest,
    Vip,
    config_text,
    endpoint,
    endpoint_slice,
    fresh_vip,
    ingress,
    make_legacy,
    sees,
    service,
)

pytestmark = pytest.mark.root

EDGE = ("--instance", "edge")
NAMES: Mapping[str, tuple[str, ...]] = {"": (), "edge": EDGE}
LABEL = "service.kubernetes.io/service-proxy-name"
PUT_RIGHT = "rules were changed by others"
WORDS = ("ip", "ip6")
"""How nft calls the families."""
CONNECTIONS = 36
"""Two endpoints are both met: 2 * (1/2) ** 36 is 3e-11."""
PATIENCE_S = 120.0
OUTSIDE_PORT = 8080
EXEMPT = [*CLUSTER_CIDRS, *SERVICE_CIDRS, "192.0.2.0/24", "2001:db8:2::/64"]
EGRESS = {"egressMasquerade": {"enabled": True, "nonMasqueradeCIDRs": EXEMPT}}
PAIRS = [("nftables", "nftables"), ("iptables", "iptables"), ("nftables", "iptables"), ("iptables", "nftables")]


class Both:
    """The laboratory's node with a directory of Services of two instances."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(config_text(EGRESS))
        self.objects = folder / "objects"
        self.objects.mkdir()
        self.vips = {(name, family): fresh_vip() for name in NAMES for family in (0, 1)}
        self.gone = {(name, family): fresh_vip() for name in NAMES for family in (0, 1)}
        for machine in lab.machines:
            # Ports are random here: none that was used before is to be held against a new connection (PAWS).
            machine.sysctl({"net/ipv4/tcp_max_tw_buckets": "0"})
        lab.outside.listen("TCP", OUTSIDE_PORT)
        self.write("cluster", NODE, RANGES)
        for (name, family), vip in self.vips.items():
            self.serve(name, family, vip, HERE[family], REMOTE[family])
        for (name, family), vip in self.gone.items():
            self.write(f"gone{name}{family}", *labelled(name, vip, family, f"gone{name}{family}", type="NodePort"))

    def write(self, file: str, *objects: Manifest) -> None:
        fresh = self.objects / f".{file}"
        fresh.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        fresh.rename(self.objects / f"{file}.json")

    def serve(self, name: str, family: int, vip: Vip, *endpoints: str, protocol: str = "TCP") -> None:
        own = f"svc-{name or 'plain'}-{family}-{protocol.lower()}"
        objects = labelled(
            name,
            vip,
            family,
            own,
            type="LoadBalancer",
            status=ingress(vip.load_balancer[family]),
            protocol=protocol,
        )
        ends = [endpoint(address) for address in endpoints]
        self.write(own, *objects, endpoint_slice(own, family, *ends, protocol=protocol))

    def agent(self, stack: ExitStack, name: str, backend: str) -> Agent:
        options = ("--backend", backend, "--config", str(self.config), *NAMES[name])
        return stack.enter_context(agent(self.lab.node, self.objects, *options))

    def kproxy(self, *arguments: str) -> str:
        return self.lab.node.run(KPROXY, *arguments)

    def rules(self, name: str, backend: str) -> list[str]:
        """The rules of an instance, in no order of elements and without what counts."""
        if backend == "nftables":
            table = "kproxy-edge" if name else "kproxy"
            listed = "".join(self.lab.node.run("nft", "list", "table", word, table) for word in WORDS)
            return sorted(part.strip() for part in re.split(r"[\n,{}]", listed))
        prefix = "KPEDGE-" if name else "KPROXY-"
        saved = self.lab.node.run("iptables-save") + self.lab.node.run("ip6tables-save")
        plain = re.sub(r" ?\[\d+:\d+\]", "", saved)
        return [line for line in plain.splitlines() if prefix in line]

    def check(self) -> None:
        """Every client's connections meet the right endpoints behind either instance's frontends, in both families."""
        probes: dict[Machine, list[Target]] = {}
        expected: dict[Machine, list[set[str]]] = {}
        for family in (0, 1):
            clients = {"pod": self.lab.pod_here, "node": self.lab.node, "outside": self.lab.outside}
            for client, machine in clients.items():
                for place, wanted in (*self.places(client, family), *egress(client, family)):
                    source = OUTSIDE_IPS[family] if client == "outside" else None
                    probes.setdefault(machine, []).append(Target(*place, source=source, count=CONNECTIONS))
                    expected.setdefault(machine, []).append(wanted)
        found: dict[Machine, list[Answers]] = probe_all(probes, self.lab.controls())
        for machine, answers in found.items():
            for target, answer, wanted in zip(probes[machine], answers, expected[machine], strict=True):
                assert set(answer) == wanted, (machine.name, target)

    def places(self, client: str, family: int) -> Iterator[tuple[tuple[str, int], set[str]]]:
        for name in NAMES:
            vip, gone, ends = self.vips[name, family], self.gone[name, family], (HERE[family], REMOTE[family])
            external = sees(ends, client, family, masquerade=True)
            yield (vip.cluster[family], 80), sees(ends, client, family, masquerade=client != "pod")
            yield (vip.load_balancer[family], 80), external
            yield (NODE_IPS[family], vip.node_port), external
            yield (gone.cluster[family], 80), {REJECT}
            yield (NODE_IPS[family], gone.node_port), {REJECT}


def egress(client: str, family: int) -> Iterator[tuple[tuple[str, int], set[str]]]:
    """What the outside sees of a pod's own connections: the node, but where that is exempt."""
    if client == "pod":
        for address, source in ((SECOND_OUTSIDE_IPS, NODE_IPS), (OUTSIDE_IPS, HERE)):
            place = (address[family], OUTSIDE_PORT)
            yield place, {f"{endpoint_text(*place)} {source[family]}"}


def labelled(name: str, vip: Vip, family: int, own: str, **spec: Any) -> list[Manifest]:
    """A Service of an instance."""
    made = service(own, vip, family, **spec)
    return [made | {"metadata": made["metadata"] | ({"labels": {LABEL: name}} if name else {})}]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with laboratory() as lab:
        yield Both(lab, tmp_path_factory.mktemp("instances"))


@pytest.mark.parametrize(("plain", "edge"), PAIRS)
def test_both_serve_whichever_comes_first(both: Both, plain: str, edge: str) -> None:
    with ExitStack() as stack:
        with ExitStack() as inner:
            agents = [both.agent(inner, "", plain), both.agent(stack, "edge", edge)]
            both.check()
            before = both.rules("edge", edge)
        both.kproxy("cleanup")
        with pytest.raises(LabError) if plain == "nftables" else nullcontext():
            assert not both.rules("", plain)
        assert both.rules("edge", edge) == before
        agents.append(both.agent(stack, "", plain))
        both.check()
        for name, backend in (("", plain), ("edge", edge)):
            status = json.loads(both.kproxy("status", *NAMES[name], "-o", "json"))
            assert (status["instance"], status["backend"], status["ready"]) == (name, backend, True)
            assert {one["drift"]["repairs"] for one in status["families"].values()} == {0}
            if plain != edge:
                assert both.kproxy("audit", *options(both, name)).count("all as they should be") == 1
        assert not [one for agent in agents for one in agent.entries if one["event"].startswith(PUT_RIGHT)]
        before = both.rules("", plain)
        agents[1].stop()
        both.kproxy("cleanup", *EDGE)
        assert both.rules("", plain) == before
    both.kproxy("cleanup")


def options(both: Both, name: str) -> tuple[str, ...]:
    return "--source", str(both.objects), "--config", str(both.config), "--node-name", "node-a", *NAMES[name]


def test_an_instance_that_changes_its_backend_takes_away_what_is_its_own(both: Both) -> None:
    config = both.folder / "edge.yaml"
    config.write_text(config_text({**EGRESS, "instance": "edge"}, mode="nftables"))
    with ExitStack() as stack:
        both.agent(stack, "", "iptables")
        edge = stack.enter_context(agent(both.lab.node, both.objects, "--config", str(config)))
        before = both.rules("", "iptables")
        assert "table ip kproxy-edge\n" in both.lab.node.run("nft", "list", "tables")
        fresh = both.folder / ".edge.yaml"
        fresh.write_text(config_text({**EGRESS, "instance": "edge"}, mode="iptables"))
        fresh.rename(config)
        gone = "removed what another backend of kproxy had left"
        edge.wait(lambda heard: sum(one["event"] == gone for one in heard) == len(WORDS), gone, patience_s=PATIENCE_S)
        assert "kproxy-edge" not in both.lab.node.run("nft", "list", "tables")
        assert both.rules("", "iptables") == before
        both.check()
    both.kproxy("cleanup")
    both.kproxy("cleanup", *EDGE)


def test_connections_of_the_other_are_not_cleaned_up(both: Both) -> None:
    vips = {name: fresh_vip() for name in NAMES}
    for name, vip in vips.items():
        both.serve(name, 0, vip, HERE[0], protocol="UDP")
    timeouts = (f"net/netfilter/nf_conntrack_udp_timeout{kind}" for kind in ("", "_stream"))
    both.lab.node.sysctl(dict.fromkeys(timeouts, "3600"))
    with ExitStack() as stack:
        for name in NAMES:
            both.agent(stack, name, "nftables")
        places = [place for vip in vips.values() for place in (vip.cluster[0], vip.load_balancer[0])]
        targets = [Target(place, 80, "UDP") for place in places]
        for answers in probe_all({both.lab.pod_there: targets}, both.lab.controls())[both.lab.pod_there]:
            assert {answer.partition(" ")[0] for answer in answers} == {f"{HERE[0]}:8080"}
        assert flows(both, vips) == {"": 2, "edge": 2}
        for name, left in (("", {"": 0, "edge": 2}), ("edge", {"": 0, "edge": 0})):
            both.serve(name, 0, vips[name], REMOTE[0], protocol="UDP")
            # Flows of tests before this one are cleaned up too, and told: what stands is looked at, not what is said.
            until(partial(lambda wanted: flows(both, vips) == wanted, left))


def flows(both: Both, vips: Mapping[str, Vip]) -> dict[str, int]:
    """How many connections each instance's frontends have."""
    listed = both.kproxy("conntrack", "list", "--protocol", "udp", "-o", "json")
    places = {name: {vip.cluster[0], vip.load_balancer[0]} for name, vip in vips.items()}
    found = json.loads(listed)
    return {name: sum(any(one in json.dumps(flow) for one in own) for flow in found) for name, own in places.items()}


def test_a_second_agent_of_an_instance_is_refused(both: Both) -> None:
    with ExitStack() as stack:
        both.agent(stack, "edge", "nftables")
        command = [KPROXY, "run", "--once", *options(both, "edge")]
        refused = subprocess.run(both.lab.node.command(command), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "another agent runs on this node" in refused.stderr


@pytest.mark.ipvs
def test_ipvs_serves_beside_an_instance(tmp_path: Path) -> None:
    with laboratory() as lab, ExitStack() as stack:
        make_legacy(lab.node)
        both = Both(lab, tmp_path)
        both.agent(stack, "", "ipvs")
        edge = both.agent(stack, "edge", "iptables")
        both.check()
        edge.stop()
        both.kproxy("cleanup", *EDGE)
        assert not both.rules("edge", "iptables")
        assert both.kproxy("audit", *options(both, "")).count("all as they should be") == 1
