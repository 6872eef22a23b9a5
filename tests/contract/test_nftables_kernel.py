"""The nftables door against a real kernel: what it repairs, what it leaves alone, what a refusal and a crash leave."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from backends.nftables import BACKEND
from backends.nftables.compile import compile_plan
from backends.nftables.kernel import NftablesKernel
from backends.nftables.objects import Element, element_id
from backends.nftables.probe import probe_plan
from kproxy.core.document import Document, diff
from kproxy.core.values import Family
from kproxy.errors import ApplyRejected, UnsupportedHost
from kproxy.ports import Outcome
from tests.fakes.namespace import in_new_namespace
from tests.unit.backends.nftables.plans import compiled
from tests.unit.backends.plans import cluster_ip, endpoints, plan, port, service

pytestmark = pytest.mark.root

WANT = compile_plan(probe_plan(Family.IPV4), None).document
CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2")))
OTHER = service("other", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1", "10.64.1.3")))


def nft(*arguments: str, text: str | None = None) -> str:
    return subprocess.run(["nft", *arguments], input=text, check=True, capture_output=True, text=True).stdout


def with_kernel(check: Callable[[NftablesKernel], None], family: Family = Family.IPV4) -> None:
    def body() -> None:
        kernel = BACKEND.open(family)
        try:
            check(kernel)
        finally:
            kernel.close()

    in_new_namespace(body)


def test_this_kernel_can_run_us() -> None:
    assert in_new_namespace(lambda: [BACKEND.probe(family) for family in Family]) == ["", ""]


def test_a_probe_leaves_nothing() -> None:
    def body() -> str:
        BACKEND.probe(Family.IPV4)
        return nft("list", "ruleset")

    assert in_new_namespace(body) == ""


def test_without_the_capability_the_host_is_unsupported_and_the_remedy_is_said() -> None:
    program = "from backends.nftables import BACKEND; from kproxy.core.values import Family; BACKEND.open(Family.IPV4)"
    done = in_new_namespace(
        lambda: subprocess.run(
            ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", program],
            check=False,
            capture_output=True,
            text=True,
        )
    )
    assert UnsupportedHost.__name__ in done.stderr
    assert "run as root with CAP_NET_ADMIN (a container: capabilities.add: [NET_ADMIN])" in done.stderr


TAMPERING = {
    "an element goes": "delete element ip kproxy cluster-ips { 192.0.2.1 }",
    "an element comes": "add element ip kproxy cluster-ips { 192.0.2.77 }",
    "an element changes": "delete element ip kproxy cluster-pool-1 { 192.0.2.1 . tcp . 80 . 0 }; "
    "add element ip kproxy cluster-pool-1 { 192.0.2.1 . tcp . 80 . 0 : 192.0.2.9 . 8080 }",
    "a set is emptied": "flush set ip kproxy hairpin",
    "a fence is widened": "add element ip kproxy source-ranges { 192.0.2.1 . tcp . 81 . 203.0.113.0/24 }",
    "a chain is emptied": "flush chain ip kproxy dispatch",
    "a hook is emptied": "flush chain ip kproxy postrouting",
    "a rule comes": "insert rule ip kproxy dispatch drop",
    "a rule of ours comes twice": "add rule ip kproxy prerouting goto dispatch",
    "a foreign chain": "add chain ip kproxy foreign; add rule ip kproxy foreign accept",
    "a foreign hook": "add chain ip kproxy foreign { type filter hook input priority 0; policy drop; }",
    "a foreign set": "add set ip kproxy foreign { type ipv4_addr; }",
    "a policy": "chain ip kproxy input { policy drop; }",
    "sleep": "add table ip kproxy { flags dormant; }",
    "the table goes": "delete table ip kproxy",
    "everything goes": "flush ruleset",
    "a table of that name that is none of ours": "delete table ip kproxy; add table ip kproxy; "
    "add chain ip kproxy dispatch { type filter hook input priority 0; }",
}


@pytest.mark.parametrize("text", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_seen_and_repaired(text: str) -> None:
    def check(kernel: NftablesKernel) -> None:
        kernel.apply(diff({}, WANT))
        assert kernel.observe() == WANT
        nft("-f", "-", text=text)
        drift = diff(kernel.observe(), WANT)
        assert drift
        assert kernel.check(drift) == Outcome()
        assert kernel.apply(drift) == Outcome()
        assert kernel.observe() == WANT

    with_kernel(check)


def test_what_affinity_remembers_is_no_drift_and_survives_changes() -> None:
    def check(kernel: NftablesKernel) -> None:
        kernel.apply(diff({}, WANT))
        name = next(str(key)[4:] for key in WANT["kproxy/probe"] if str(key).startswith("set sticky/"))
        nft("add", "element", "ip", "kproxy", name, "{ 203.0.113.7 }")
        assert kernel.observe() == WANT
        kernel.apply(diff(WANT, {**WANT, **compiled(CART).document, "base": WANT["base"]}))
        assert "203.0.113.7" in nft("list", "set", "ip", "kproxy", name)

    with_kernel(check)


FOREIGN = """
table ip filter {
    chain INPUT {
        type filter hook input priority 0; policy accept;
        tcp dport 22 counter accept
    }
}
table inet firewalld {
    set s {
        type ipv4_addr; elements = { 10.0.0.1 }
    }
}
table ip6 kproxy-other {
    chain dispatch {
        drop
    }
}
table ip kube-proxy {
    map m {
        type ipv4_addr : verdict; elements = { 10.0.0.1 : drop }
    }
}
"""


def test_the_tables_of_others_are_left_alone() -> None:
    def check(kernel: NftablesKernel) -> None:
        nft("-f", "-", text=FOREIGN)
        before = nft("list", "ruleset")
        kernel.apply(diff(kernel.observe(), WANT))
        assert nft("list", "ruleset").startswith(before)
        assert kernel.observe() == WANT
        kernel.apply(diff(WANT, {}))
        assert nft("list", "ruleset") == before

    with_kernel(check)


def test_the_families_are_apart() -> None:
    def body() -> None:
        four, six = BACKEND.open(Family.IPV4), BACKEND.open(Family.IPV6)
        want = {family: compile_plan(probe_plan(family), None).document for family in Family}
        four.apply(diff({}, want[Family.IPV4]))
        assert six.observe() == {}
        six.apply(diff({}, want[Family.IPV6]))
        four.apply(diff(want[Family.IPV4], {}))
        assert (four.observe(), six.observe()) == ({}, want[Family.IPV6])
        four.close()
        six.close()

    in_new_namespace(body)


def spoiled(document: Document, owner: str) -> Document:
    """The document with an element that the kernel must refuse (its data are too long), among good ones."""
    bad = element_id("cluster-pool-2", bytes(16))
    return {**document, owner: {**document[owner], bad: Element(bytes(12))}}


def test_a_refusal_names_object_and_service_and_the_rest_lands() -> None:
    def check(kernel: NftablesKernel) -> None:
        both = compiled(CART, OTHER).document
        (refusal,) = kernel.apply(diff({}, spoiled(both, "shop/cart"))).refusals
        assert refusal.owner == "shop/cart"
        assert "cluster-pool-2" in refusal.what
        assert "EINVAL" in refusal.reason
        found = kernel.observe()
        assert "shop/cart" not in found
        assert found["shop/other"] == both["shop/other"]

    with_kernel(check)


def test_a_service_that_is_refused_stays_as_it_was() -> None:
    def check(kernel: NftablesKernel) -> None:
        before = compiled(CART, OTHER)
        kernel.apply(diff({}, before.document))
        moved = [
            service(name, port(cluster_ip(at), cluster=endpoints("10.64.1.1", "10.64.1.9")))
            for name, at in (("cart", "10.96.0.10"), ("other", "10.96.0.11"))
        ]
        after = compile_plan(plan(*moved), before).document
        outcome = kernel.apply(diff(before.document, spoiled(after, "shop/cart")))
        assert [refusal.owner for refusal in outcome.refusals] == ["shop/cart"]
        found = kernel.observe()
        assert found["shop/cart"] == before.document["shop/cart"]
        assert found["shop/other"] == after["shop/other"]

    with_kernel(check)


@pytest.mark.parametrize(
    "tampering",
    [("flush", "map", "ip", "kproxy", "cluster-pool-2"), ("delete", "table", "ip", "kproxy")],
    ids=["emptied map", "deleted table"],
)
def test_what_others_took_away_is_blamed_on_no_service_and_healed_by_looking(tampering: tuple[str, ...]) -> None:
    def check(kernel: NftablesKernel) -> None:
        before = compiled(CART, OTHER)
        kernel.apply(diff({}, before.document))
        nft(*tampering)
        grown = [
            service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1"))),
            OTHER,
        ]
        want = compile_plan(plan(*grown), before).document
        with pytest.raises(ApplyRejected, match=r"table ip kproxy was changed by others: .* is gone") as refused:
            kernel.apply(diff(before.document, want))
        assert refused.value.owner == ""
        assert kernel.apply(diff(kernel.observe(), want)) == Outcome()
        assert kernel.observe() == want

    with_kernel(check)


def test_a_service_that_comes_after_the_table_is_gone_is_not_blamed() -> None:
    def check(kernel: NftablesKernel) -> None:
        before, after = compiled(OTHER).document, compiled(CART, OTHER).document
        kernel.apply(diff({}, before))
        nft("delete", "table", "ip", "kproxy")
        coming = diff({"shop/other": before["shop/other"]}, {key: after[key] for key in ("shop/cart", "shop/other")})
        with pytest.raises(ApplyRejected, match="all of it is gone") as refused:
            kernel.apply(coming)
        assert refused.value.owner == ""
        assert kernel.apply(diff(kernel.observe(), after)) == Outcome()

    with_kernel(check)


CRASHING = """
import sys
from backends.nftables import BACKEND
from kproxy.core.document import diff
from kproxy.core.values import Family
from tests.contract.test_nftables_kernel import STATES
kernel = BACKEND.open(Family.IPV4)
have = kernel.observe()
print("ready", flush=True)
for turn in range(100000):
    want = STATES[turn % 2]
    kernel.apply(diff(have, want))
    have = want
"""


def _state(count: int, shift: int) -> Document:
    return compiled(
        *(
            service(
                f"s{number}",
                port(
                    cluster_ip(f"10.96.{number // 200}.{number % 200 + 1}"),
                    cluster=endpoints(*(f"10.64.{shift}.{at + 1}" for at in range(1 + (number + shift) % 4))),
                ),
            )
            for number in range(count)
        )
    ).document


STATES = (_state(300, 1), _state(320, 2))


def test_a_kill_at_any_point_leaves_the_old_or_the_new_state() -> None:
    moments = random.Random(7)

    def check(kernel: NftablesKernel) -> None:
        kernel.apply(diff({}, STATES[1]))
        for _ in range(5):
            child = subprocess.Popen([sys.executable, "-c", CRASHING], stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(moments.uniform(0.01, 0.15))
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            assert kernel.observe() in STATES

    with_kernel(check)


def test_others_who_write_at_the_same_time_do_not_disturb() -> None:
    def check(kernel: NftablesKernel) -> None:
        stop = threading.Event()
        errors: list[str] = []

        def write() -> None:
            while not stop.is_set():
                done = subprocess.run(
                    ["nft", "-f", "-"],
                    input="add table ip busy; delete table ip busy; add table ip busy; add chain ip busy c",
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    errors.append(done.stderr)

        # A thread that is started here is in this namespace.
        writer = threading.Thread(target=write)
        writer.start()
        try:
            have: Document = {}
            for turn in range(20):
                kernel.apply(diff(have, STATES[turn % 2]))
                have = STATES[turn % 2]
                assert kernel.observe() == have
        finally:
            stop.set()
            writer.join()
        assert not errors

    with_kernel(check)


def test_the_distributions_nft_lists_our_table() -> None:
    def check(kernel: NftablesKernel) -> None:
        kernel.apply(diff({}, WANT))
        assert 'comment "kproxy/probe:plain"' in nft("list", "ruleset")
        assert json.loads(nft("-j", "list", "ruleset"))["nftables"]

    with_kernel(check)
