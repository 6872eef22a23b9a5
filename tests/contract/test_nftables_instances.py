"""Two instances' tables in one kernel: each is written, read, told of and taken away by its own agent alone."""

from __future__ import annotations

import subprocess

import pytest

from backends.nftables import BACKEND
from backends.nftables.compile import compile_plan
from backends.nftables.probe import probe_plan
from kproxy.core.document import diff
from kproxy.core.flow import Packet
from kproxy.core.host import Host
from kproxy.core.instance import Instance
from kproxy.core.values import Family, Protocol
from kproxy.errors import ApplyRejected
from tests.fakes.namespace import in_new_namespace
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

EDGE = BACKEND.of(Instance("edge.v1_A"))
NAME = "kproxy-edge.v1_A"
WANT = compiled(service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1")))).document


def nft(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["nft", *arguments], input=text, check=True, capture_output=True, text=True).stdout


def tables() -> set[str]:
    return set(nft("list", "tables").splitlines())


@pytest.mark.root
@pytest.mark.parametrize("family", Family)
def test_each_has_a_table_of_its_own(family: Family) -> None:
    everything = compile_plan(probe_plan(family), None).document
    words = {Family.IPV4: "ip", Family.IPV6: "ip6"}[family]

    def body() -> None:
        ours, edge = BACKEND.open(family), EDGE.open(family)
        edge.apply(diff({}, everything))
        assert tables() == {f"table {words} {NAME}"}
        assert (ours.observe(), edge.observe()) == ({}, everything)
        ours.apply(diff({}, everything))
        assert tables() == {f"table {words} {NAME}", f"table {words} kproxy"}
        edge.apply(diff(everything, {}))
        assert (ours.observe(), edge.observe()) == (everything, {})
        assert tables() == {f"table {words} kproxy"}
        nft("-f", "-", text=EDGE.render({family: everything}))
        assert (ours.observe(), edge.observe()) == (everything, everything)
        assert not BACKEND.probe(family) + EDGE.probe(family)
        ours.close()
        edge.close()

    in_new_namespace(body)


@pytest.mark.root
def test_a_refusal_names_the_instances_table() -> None:
    def body() -> None:
        edge = EDGE.open(Family.IPV4)
        edge.apply(diff({}, WANT))
        nft("delete", "table", "ip", NAME)
        with pytest.raises(ApplyRejected, match=f"^table ip {NAME} was changed by others: "):
            edge.apply(diff(WANT, {owner: part for owner, part in WANT.items() if owner != "shop/cart"}))
        edge.close()

    in_new_namespace(body)


def test_people_read_the_instances_name() -> None:
    host = Host("node-a", ("192.0.2.11",), frozenset({"192.0.2.11"}))
    packet = Packet("10.64.1.9", "10.96.0.10", 80, Protocol.TCP)
    steps = EDGE.trace(Family.IPV4, WANT, packet, host).steps
    assert {step.place.split()[1] for step in steps} == {NAME}
    assert steps[0].place == f"ip {NAME} prerouting"
    assert EDGE.trace(Family.IPV4, WANT, packet, host).answer == BACKEND.trace(Family.IPV4, WANT, packet, host).answer
    lines = EDGE.render_change(Family.IPV4, diff({}, WANT)).splitlines()
    assert f"+ table ip {NAME}  # base" in lines
    (table,) = (key for fragment in WANT.values() for key in fragment if str(key).startswith("table "))
    assert EDGE.subject(Family.IPV4, table, None).name == NAME
