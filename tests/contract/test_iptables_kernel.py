"""The iptables door against real kernels, both variants: what it leaves alone, repairs, names and takes back."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from backends.iptables.kernel import PORTION, IptablesKernel, open_kernel
from backends.iptables.names import FILTER, NAT, SERVICES, VIPS
from backends.iptables.tree import DEEPEST
from kproxy.core.chains import ChainId
from kproxy.core.document import Change, Document, Replacement, diff
from kproxy.core.plan import Action, Client, Endpoint, Frontend, FrontendKind, Route, ServicePlan
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.xtables import TOOLS, Tools, Variant
from kproxy.errors import ApplyRejected, UnsupportedHost
from kproxy.ports import Outcome
from tests.fakes.kernel import objects
from tests.fakes.namespace import in_new_namespace, ip
from tests.unit.backends.iptables.plans import Chains, depth, document, lopsided
from tests.unit.backends.plans import TO_CLUSTER, cluster_ip, endpoints, node_port, port, service

pytestmark = pytest.mark.root
variants = pytest.mark.parametrize("variant", Variant)

CART = service("cart", port(cluster_ip("10.96.0.10"), node_port(30080), cluster=endpoints("10.64.1.1", "10.64.1.2")))
OTHER = service("other", port(cluster_ip("10.96.0.11"), cluster=endpoints("10.64.1.1", "10.64.1.3")))
WANT = document(CART, OTHER)
FOREIGN = """\
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A FORWARD -s 203.0.113.0/24 -j DROP
COMMIT
"""


def program(variant: Variant, name: str, family: Family = Family.IPV4) -> str:
    return f"{TOOLS[family]}-{variant.infix}{name}"


def call(*argv: str, text: str = "") -> str:
    return subprocess.run(argv, input=text, text=True, check=True, capture_output=True).stdout


def rules(variant: Variant) -> list[str]:
    """All chains and rules of the namespace, in order, without what changes by itself."""
    saved = call(program(variant, "-save"))
    return [re.sub(r" \[\d+:\d+\]", "", line) for line in saved.splitlines() if line[0] in "*:-"]


def foreign_rules(variant: Variant) -> list[str]:
    return [line for line in rules(variant) if "KPROXY" not in line]


def with_kernel(variant: Variant, check: Callable[[IptablesKernel], None], family: Family = Family.IPV4) -> None:
    tools = Tools(variant, program(variant, "-save", family), program(variant, "-restore", family))
    in_new_namespace(lambda: check(IptablesKernel(tools, process.run, family)))


def bring(kernel: IptablesKernel, want: Document) -> None:
    assert kernel.apply(diff(kernel.observe(), want)) == Outcome()


@variants
def test_what_others_have_stays_as_it_is_and_our_jumps_come_first(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        call(program(variant, "-restore"), text=FOREIGN)
        before = foreign_rules(variant)
        bring(kernel, WANT)
        assert foreign_rules(variant) == before
        first = next(line for line in rules(variant) if line.startswith("-A PREROUTING"))
        assert first == "-A PREROUTING -j KPROXY-SERVICES"
        bring(kernel, document(CART))
        assert foreign_rules(variant) == before
        bring(kernel, {})
        assert rules(variant) == before

    with_kernel(variant, check)


TAMPERING = {
    "a jump goes": ("-t", "nat", "-D", "PREROUTING", "-j", "KPROXY-SERVICES"),
    "a jump comes twice": ("-t", "nat", "-A", "OUTPUT", "-j", "KPROXY-SERVICES"),
    "a rule comes": ("-t", "nat", "-A", "KPROXY-SERVICES", "-d", "192.0.2.77", "-j", "ACCEPT"),
    "a rule goes": ("-t", "filter", "-D", "KPROXY-FORWARD", "1"),
    "a chain is emptied": ("-t", "nat", "-F", "KPROXY-VIPS"),
    "a chain comes": ("-t", "filter", "-N", "KPROXY-STRANGER"),
    "the table is emptied": ("-t", "nat", "-F"),
}


@variants
@pytest.mark.parametrize("tampering", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_seen_and_repaired(variant: Variant, tampering: tuple[str, ...]) -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, WANT)
        call(program(variant, ""), *tampering)
        assert diff(kernel.observe(), WANT)
        bring(kernel, WANT)
        assert objects(kernel.observe()) == objects(WANT)

    with_kernel(variant, check)


def with_chain(want: Document, key: ChainId, *content: str) -> Document:
    """The Document, with a chain that Service `shop/bad` wants and the kernel cannot take."""
    return {**want, "shop/bad": {key: content}}


REFUSED_BY_TOOL = "-p tcp -m tcp --dport 99999 -j ACCEPT"
REFUSED_BY_KERNEL = "-j REJECT --reject-with icmp-port-unreachable"
"""In the nat table, that is."""


@variants
def test_a_refused_change_names_line_and_service_and_changes_nothing(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, document(CART))
        before = rules(variant)
        bad = with_chain(WANT, ChainId(FILTER, "KPROXY-BAD"), REFUSED_BY_TOOL)
        # The nat table comes first, and is committed when the filter table is refused.
        with pytest.raises(ApplyRejected) as refusal:
            kernel.apply(diff(document(CART), bad))
        assert refusal.value.owner == "shop/bad"
        assert f"filter: -A KPROXY-BAD {REFUSED_BY_TOOL}" in str(refusal.value)
        assert "invalid port/service `99999' specified" in str(refusal.value)
        assert "the old rules are in force" in str(refusal.value)
        assert rules(variant) == before

    with_kernel(variant, check)


@variants
def test_a_check_finds_what_the_tool_would_refuse_and_writes_nothing(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, document(CART))
        before = rules(variant)
        assert kernel.check(diff(document(CART), WANT)) == Outcome()
        bad = with_chain(WANT, ChainId(NAT, "KPROXY-BAD"), REFUSED_BY_TOOL)
        with pytest.raises(ApplyRejected, match="shop/bad"):
            kernel.check(diff(document(CART), bad))
        assert rules(variant) == before

    with_kernel(variant, check)


def test_what_only_the_kernel_refuses_is_named_by_line_where_the_kernel_says_which() -> None:
    def check(kernel: IptablesKernel) -> None:
        bad = with_chain(WANT, ChainId(NAT, "KPROXY-BAD"), REFUSED_BY_KERNEL)
        with pytest.raises(ApplyRejected) as refusal:
            kernel.apply(diff({}, bad))
        if kernel.tools.variant is Variant.NFT:
            assert refusal.value.owner == "shop/bad"
        else:
            # The legacy kernel takes or refuses a whole table.
            assert "nat: COMMIT" in str(refusal.value)
        assert kernel.observe() == {}

    for variant in Variant:
        with_kernel(variant, check)


@variants
def test_a_change_that_does_not_fit_the_kernel_is_refused_and_the_next_one_repairs(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, WANT)
        hook = ChainId(NAT, "PREROUTING")
        untrue = Change({}, {hook: Replacement("base", ("-j KPROXY-GONE",), (f"-j {SERVICES.chain}",))}, {})
        with pytest.raises(ApplyRejected):
            kernel.apply(untrue)
        assert not diff(kernel.observe(), WANT)

    with_kernel(variant, check)


def many(count: int) -> Document:
    return document(
        *(
            service(
                f"s{number}", port(cluster_ip(f"10.96.{number >> 8}.{number & 255}"), cluster=endpoints("10.64.1.1"))
            )
            for number in range(count)
        )
    )


@variants
def test_large_loads_in_portions_end_where_small_ones_do(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        want = many(3 * PORTION)
        assert kernel.check(diff({}, want)) == Outcome()
        assert kernel.observe() == {}
        bring(kernel, want)
        assert objects(kernel.observe()) == objects(want)
        bring(kernel, many(10))
        assert objects(kernel.observe()) == objects(many(10))
        bring(kernel, want)
        bring(kernel, {})
        assert kernel.observe() == {}

    with_kernel(variant, check)


@variants
def test_the_deepest_tree_with_all_that_may_follow_it_is_not_too_deep_for_the_kernel(variant: Variant) -> None:
    local = (Route(Client.NODE, masquerade=True, action=Action.CLUSTER), *TO_CLUSTER)

    def behind_a_fence(number: int) -> ServicePlan:
        allowed = (ipaddress.ip_network("203.0.113.0/24"),)
        frontend = Frontend(FrontendKind.LOAD_BALANCER, str(ipaddress.IPv4Address(number)), 80, allowed)
        return service(f"s{number}", port(frontend, cluster=POOL[:1], external=local))

    def check(kernel: IptablesKernel) -> None:
        want = document(*map(behind_a_fence, lopsided(8 << DEEPEST)))
        # Below the tree come the chains of a fence, of a table, and of a pool.
        assert depth(cast("Chains", objects(want)), VIPS) == DEEPEST + 3
        bring(kernel, want)

    with_kernel(variant, check)


def test_a_refusal_after_the_first_portions_takes_them_back() -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, many(10))
        bad = with_chain(many(3 * PORTION), ChainId(FILTER, "KPROXY-BAD"), REFUSED_BY_TOOL)
        with pytest.raises(ApplyRejected, match="the old rules are in force"):
            kernel.apply(diff(many(10), bad))
        assert objects(kernel.observe()) == objects(many(10))

    with_kernel(Variant.NFT, check)


@contextlib.contextmanager
def answering(*addresses: str) -> Iterator[None]:
    """This namespace has the addresses, a route to everywhere, and on port 8080 says which address was reached."""
    ip("link", "add", "out0", "type", "veth", "peer", "name", "out1")
    for name in ("out0", "out1"):
        ip("link", "set", name, "up")
    ip("addr", "add", "192.0.2.11/24", "dev", "out0")
    ip("route", "add", "default", "dev", "out0")
    for address in addresses:
        ip("addr", "add", f"{address}/32", "dev", "lo")
    with socket.create_server(("0.0.0.0", 8080)) as listener:
        thread = threading.Thread(target=_answer, args=(listener,))
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.getsockname()[0].encode())


def reached(count: int, address: str = "10.96.0.10") -> list[str]:
    """Which endpoint each of so many connections got."""
    found = []
    for _ in range(count):
        with socket.create_connection((address, 80), timeout=5) as connection:
            found.append(connection.recv(64).decode())
    return found


POOL = tuple(Endpoint(f"10.64.1.{number}", 8080, is_local=False) for number in range(1, 9))


@variants
def test_connections_reach_all_endpoints_and_no_other(variant: Variant) -> None:
    def check(kernel: IptablesKernel) -> None:
        bring(kernel, document(service("cart", port(cluster_ip("10.96.0.10"), cluster=POOL))))
        with answering(*(one.address for one in POOL)):
            # Eight endpoints: one is missed by chance in 8 * (7/8) ** 250 < 1e-13 of all runs.
            assert set(reached(250)) == {one.address for one in POOL}

    with_kernel(variant, check)


@variants
def test_affinity_keeps_a_client_at_its_endpoint_and_lets_go_when_that_is_gone(variant: Variant) -> None:
    def sticky(*chosen: Endpoint) -> Document:
        return document(service("sticky", port(cluster_ip("10.96.0.10"), cluster=chosen, affinity_s=600)))

    def check(kernel: IptablesKernel) -> None:
        bring(kernel, sticky(*POOL))
        with answering(*(one.address for one in POOL)):
            (kept,) = set(reached(30))
            others = [one for one in POOL if one.address != kept]
            bring(kernel, sticky(*(one for one in POOL if one is not others[0])))
            assert set(reached(10)) == {kept}
            bring(kernel, sticky(*others))
            (moved,) = set(reached(10))
            assert moved != kept

    with_kernel(variant, check)


def legacy_tables() -> str:
    return Path("/proc/thread-self/net/ip_tables_names").read_text(encoding="ascii")


HINTED = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"


def found(*texts: tuple[Variant, str]) -> tuple[Tools, str]:
    """What is chosen where the variants' tables hold this, and which legacy tables stand afterwards."""

    def body() -> tuple[Tools, str]:
        for variant, text in texts:
            call(program(variant, "-restore"), text=text)
        return open_kernel(Family.IPV4).tools, legacy_tables()

    return in_new_namespace(body)


def test_on_an_untouched_host_the_default_is_used_and_no_legacy_table_appears() -> None:
    tools, legacy = found()
    assert tools.variant is Variant.NFT
    assert not tools.warning
    assert not legacy


def test_the_variant_with_the_rules_is_used() -> None:
    assert found((Variant.LEGACY, FOREIGN))[0].variant is Variant.LEGACY
    assert found((Variant.NFT, FOREIGN))[0].variant is Variant.NFT


def test_a_hint_of_kubelet_outweighs_rules_and_a_mixed_host_is_told_of() -> None:
    tools, _ = found((Variant.LEGACY, FOREIGN), (Variant.NFT, HINTED))
    assert tools.variant is Variant.NFT
    assert not tools.warning
    tools, _ = found((Variant.LEGACY, HINTED), (Variant.LEGACY, FOREIGN), (Variant.NFT, FOREIGN))
    assert tools.variant is Variant.LEGACY
    assert "4 rules in nf_tables and 4 in legacy tables" in tools.warning


def test_without_the_capability_the_host_is_unsupported_and_the_remedy_is_said() -> None:
    source = "from backends.iptables import BACKEND; from kproxy.core.values import Family; BACKEND.open(Family.IPV4)"
    done = in_new_namespace(
        lambda: subprocess.run(
            ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-c", source],
            check=False,
            capture_output=True,
            text=True,
        )
    )
    assert UnsupportedHost.__name__ in done.stderr
    assert "run as root with CAP_NET_ADMIN (a container: capabilities.add: [NET_ADMIN])" in done.stderr
