"""Two instances' chains in one kernel: each is written, read, told of and taken away by its own agent alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.iptables import BACKEND, IptablesBackend
from backends.iptables.kernel import IptablesKernel
from backends.iptables.naming import Naming
from kproxy.core.document import OBSERVED, Document, diff
from kproxy.core.flow import Packet
from kproxy.core.host import Host
from kproxy.core.instance import Instance
from kproxy.core.values import Family, Protocol
from kproxy.effects import process
from kproxy.effects.xtables import TOOLS, Tools, Variant
from kproxy.errors import ApplyRejected
from tests.fakes.kernel import objects
from tests.fakes.namespace import in_new_namespace
from tests.unit.backends.iptables.plans import document
from tests.unit.backends.plans import cluster_ip, endpoints, node_port, port, service

variants = pytest.mark.parametrize("variant", Variant)
INSTANCE = Instance("edge9")
EDGE = Naming(INSTANCE.chain_prefix)
FRONTENDS = (cluster_ip("10.96.0.10"), node_port(30080))
WANT = document(
    service("cart", port(*FRONTENDS, cluster=endpoints("10.64.1.1", "10.64.1.2"), affinity_s=60)),
    service("gone", port(cluster_ip("10.96.0.11"))),
)


def saved(variant: Variant) -> str:
    command = [f"iptables-{variant.infix}-save"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def with_two(variant: Variant, check: Callable[[IptablesKernel, IptablesKernel], None]) -> None:
    start = f"{TOOLS[Family.IPV4]}-{variant.infix}"
    tools = Tools(variant, f"{start}-save", f"{start}-restore")

    def body() -> None:
        check(*(IptablesKernel(tools, process.run, Family.IPV4, naming) for naming in (Naming(), EDGE)))

    in_new_namespace(body)


def as_one(found: Document) -> Document:
    return {OBSERVED: objects(found)}


@pytest.mark.root
@variants
def test_each_has_chains_of_its_own(variant: Variant) -> None:
    def check(ours: IptablesKernel, edge: IptablesKernel) -> None:
        edge.apply(diff({}, WANT))
        assert "KPROXY-" not in saved(variant)
        assert (as_one(ours.observe()), as_one(edge.observe())) == (as_one({}), as_one(WANT))
        ours.apply(diff({}, WANT))
        assert (as_one(ours.observe()), as_one(edge.observe())) == (as_one(WANT), as_one(WANT))
        edge.apply(diff(WANT, {}))
        assert "KPEDGE9-" not in saved(variant)
        assert (as_one(ours.observe()), as_one(edge.observe())) == (as_one(WANT), as_one({}))

    with_two(variant, check)


@pytest.mark.root
@variants
def test_a_rule_that_leads_to_the_other_is_none_of_ours(variant: Variant) -> None:
    def check(ours: IptablesKernel, edge: IptablesKernel) -> None:
        ours.apply(diff({}, WANT))
        edge.apply(diff({}, WANT))
        tool = f"iptables-{variant.infix}"
        subprocess.run([tool, "-t", "nat", "-A", "KPEDGE9-SERVICES", "-j", "KPROXY-VIPS"], check=True)
        assert as_one(ours.observe()) == as_one(WANT)
        (chain,) = diff(edge.observe(), as_one(WANT)).changed
        assert str(chain) == "nat KPROXY-SERVICES"
        edge.apply(diff(edge.observe(), as_one(WANT)))
        assert as_one(edge.observe()) == as_one(WANT)

    with_two(variant, check)


@pytest.mark.root
@variants
def test_a_refusal_says_the_instances_names_and_takes_back_its_own(variant: Variant) -> None:
    def check(ours: IptablesKernel, edge: IptablesKernel) -> None:
        ours.apply(diff({}, WANT))
        before = as_one(WANT)
        bad = {**objects(WANT), **{key: ("-j KPROXY-NOWHERE",) for key in objects(WANT) if "FORWARD" in str(key)}}
        with pytest.raises(ApplyRejected, match="KPEDGE9-") as refusal:
            edge.apply(diff({}, {"shop/cart": bad}))
        assert "KPROXY-" not in str(refusal.value)
        assert (as_one(ours.observe()), as_one(edge.observe())) == (before, as_one({}))

    with_two(variant, check)


@given(st.lists(st.sampled_from(["KPROXY-", "KPEDGE9-", "-A ", "-j ", "-g ", ":", " ", "\n", "X", "-m comment "])))
def test_exchanging_twice_is_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    assert EDGE.exchanged(EDGE.exchanged(text)) == text
    assert Naming().exchanged(text) == text


def test_people_read_the_instances_name() -> None:
    backend = IptablesBackend().of(INSTANCE)
    text = backend.render({Family.IPV4: WANT})
    assert "KPROXY-" not in text
    assert EDGE.exchanged(text) == BACKEND.render({Family.IPV4: WANT})
    change = diff({}, WANT)
    assert "KPROXY-" not in backend.render_change(Family.IPV4, change)
    assert "+ nat -A PREROUTING -j KPEDGE9-SERVICES\n" in backend.render_change(Family.IPV4, change)
    host = Host("node-a", ("192.0.2.11",), frozenset({"192.0.2.11"}))
    packet = Packet("10.64.1.9", "10.96.0.10", 80, Protocol.TCP)
    mine, theirs = (one.trace(Family.IPV4, WANT, packet, host) for one in (backend, BACKEND))
    assert mine.answer == theirs.answer
    assert mine.steps[0].place == "nat PREROUTING"
    assert mine.steps[0].effect == "look through KPEDGE9-SERVICES"
    assert "KPROXY-" not in str(mine.steps)
    key = next(key for key in objects(WANT) if str(key) == "nat KPROXY-VIPS")
    assert backend.subject(Family.IPV4, key, ()).name == "nat KPEDGE9-VIPS"
