"""`kproxy audit` in a kernel of its own: what stands of both proxies, whole and tampered with, and left as it was."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kproxy.effects.netlink import NetlinkSocket
from kproxy.netlink.attributes import number, read
from kproxy.netlink.messages import NFGENMSG, netfilter
from tests.fakes.namespace import in_new_namespace, ip
from tests.fakes.program import COMMAND, TIMEOUT_S, Ran, run_program, running

pytestmark = pytest.mark.root

DATA = Path(__file__).parents[1] / "data" / "audit"
NODE = ("--config", str(DATA / "config.yaml"), "--node-name", "node-a")
SHOP = ("-f", str(DATA / "cluster.yaml"), *NODE)
ONE = ("setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all", "--no-new-privs")
NONE = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs")
GETGEN = 10 << 8 | 16


class Audited(NamedTuple):
    """What the command said, and whether the kernel's rules are of the same generation and text as before."""

    ran: Ran
    is_untouched: bool

    @property
    def only(self) -> Any:
        (found,) = json.loads(self.ran.out)
        return found

    @property
    def differences(self) -> set[tuple[str, str, str]]:
        return {
            (one["service"], difference["kind"], difference["where"])
            for one in self.only["services"]
            for difference in one["differences"]
        }


def state() -> tuple[int, str, str]:
    """What any write would change: the generation of nf_tables' rules, the rules, and the links with addresses."""
    with NetlinkSocket() as socket:
        (answer,) = socket.request(GETGEN, netfilter(0))
    rules = subprocess.run(["nft", "-n", "-s", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    return number(read(answer.payload[NFGENMSG.size :])[1]), rules, ip("address")


def audited(*options: str, limits: tuple[str, ...] = ()) -> Audited:
    before = state()
    command = [*limits, *COMMAND, "audit", *SHOP, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return Audited(Ran(done.returncode, done.stdout, done.stderr), state() == before)


def load_iptables() -> None:
    ip("address", "add", "192.0.2.11/24", "dev", "lo")
    subprocess.run(["iptables-restore"], input=(DATA / "kube-proxy-iptables.rules").read_bytes(), check=True)


def load_nftables() -> None:
    ip("address", "add", "192.0.2.11/24", "dev", "lo")
    subprocess.run(["nft", "-f", str(DATA / "kube-proxy-nftables.nft")], check=True)


def iptables(*words: str) -> Callable[[], object]:
    return lambda: subprocess.run(["iptables", *words], check=True)


REPLACED = (
    "delete element ip kube-proxy no-endpoint-services { 10.96.0.83 . tcp . 443 } ; "
    "add element ip kube-proxy no-endpoint-services { 10.96.0.83 . tcp . 443 : drop }"
)


def nft(words: str) -> Callable[[], object]:
    return lambda: subprocess.run(["nft", words], check=True)


def chain_to(port: str) -> str:
    """The chain that a NodePort of kube-proxy's leads to."""
    saved = subprocess.run(["iptables-save", "-t", "nat"], check=True, capture_output=True, text=True).stdout
    (line,) = [one for one in saved.splitlines() if f"--dport {port} " in one and one.startswith("-A KUBE-NODEPORTS")]
    return line.split()[-1]


def run_once(backend: str) -> None:
    ip("address", "add", "192.0.2.11/24", "dev", "lo")
    # A source is a directory; the configuration beside the manifest is no manifest, and is told and skipped.
    ran = run_program("run", "--once", "--backend", backend, "--source", str(DATA), *NODE)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_what_kproxy_wrote_is_as_it_should_be(backend: str) -> None:
    def body() -> Audited:
        run_once(backend)
        return audited(limits=(*ONE[:2], "-all,+net_admin,+net_raw", *ONE[3:]))

    found = in_new_namespace(body)
    assert found.ran == (0, f"kproxy, {backend} (IPv4, IPv6): 10 frontends, all as they should be\n", "")
    assert found.is_untouched


def test_an_agent_that_runs_is_left_alone() -> None:
    def body() -> tuple[Audited, int | None]:
        ip("address", "add", "192.0.2.11/24", "dev", "lo")
        with running("run", "--backend", "nftables", "--source", str(DATA), *NODE) as process:
            assert process.stderr is not None
            synced = 0
            while synced < 2:
                line = process.stderr.readline()
                assert line, "the agent ended"
                synced += "synced for the first time" in line
            return audited(), process.poll()

    found, ended = in_new_namespace(body)
    assert (found.ran.code, ended) == (0, None)


def test_a_flushed_chain_of_kproxys_is_told_by_service() -> None:
    def body() -> tuple[Audited, Audited]:
        run_once("iptables")
        iptables("-t", "nat", "-F", "KPROXY-VIPS")()
        return audited("-o", "json"), audited()

    found, shown = in_new_namespace(body)
    assert (found.ran.code, shown.ran.code) == (1, 1)
    services = {f"shop/{name}" for name in ("web", "login", "far", "idle", "dns")}
    assert {service for service, _, _ in found.differences} == services
    assert {(kind, where) for _, kind, where in found.differences} == {("missing", "chain nat KPROXY-VIPS")}
    assert "shop/web\n  missing  IPv4  chain nat KPROXY-VIPS: nat -A KPROXY-VIPS -d 10.96.0.80/32" in shown.ran.out
    assert found.is_untouched


def test_a_foreign_element_in_kproxys_table_is_told() -> None:
    def body() -> Audited:
        run_once("nftables")
        nft("delete element ip kproxy cluster-ips { 10.96.0.81 }")()
        nft("add element ip kproxy cluster-ips { 10.96.0.99 }")()
        return audited("-o", "json")

    found = in_new_namespace(body)
    assert found.ran.code == 1
    assert {kind for _, kind, _ in found.differences} == {"missing", "extra"}
    assert "shop/login" in {service for service, _, _ in found.differences}


@pytest.mark.parametrize(("load", "mode"), [(load_iptables, "iptables"), (load_nftables, "nftables")])
def test_what_kube_proxy_wrote_is_as_it_should_be(load: Callable[[], None], mode: str) -> None:
    def body() -> Audited:
        load()
        return audited(limits=ONE)

    found = in_new_namespace(body)
    assert found.ran == (0, f"kube-proxy, {mode} mode (IPv4): 10 frontends, all as they should be\n", "")
    assert found.is_untouched


def missing_endpoint() -> None:
    chain = chain_to("30080").replace("EXT", "SVC")
    iptables("-t", "nat", "-D", chain, "2")()


def own_drop() -> None:
    iptables("-t", "nat", "-F", chain_to("30081"))()


IPTABLES_TAMPERING: dict[str, tuple[Callable[[], object], set[tuple[str, str, str]]]] = {
    "a frontend is gone": (
        iptables("-t", "nat", "-D", "KUBE-SERVICES", "1"),
        {("shop/web", "missing", "10.96.0.80:80/TCP")},
    ),
    "an endpoint is gone": (
        missing_endpoint,
        {
            ("shop/web", "missing", place)
            for place in ("10.96.0.80:80/TCP", "198.51.100.80:80/TCP", "NodePort 30080/TCP")
        },
    ),
    "the policy is gone": (
        own_drop,
        {
            ("shop/login", kind, place)
            for kind in ("missing",)
            for place in ("198.51.100.81:80/TCP", "NodePort 30081/TCP")
        },
    ),
    "a refusal is gone": (
        iptables("-D", "KUBE-SERVICES", "1"),
        {("shop/idle", "missing", "10.96.0.83:443/TCP")},
    ),
}


@pytest.mark.parametrize("how", IPTABLES_TAMPERING)
def test_what_somebody_did_to_kube_proxys_chains_is_told(how: str) -> None:
    tamper, expected = IPTABLES_TAMPERING[how]

    def body() -> Audited:
        load_iptables()
        tamper()
        return audited("-o", "json")

    found = in_new_namespace(body)
    assert found.ran.code == 1
    assert found.differences == expected
    assert found.is_untouched


def test_a_rule_of_kube_proxys_that_nobody_knows_is_counted_not_guessed() -> None:
    def body() -> Audited:
        load_iptables()
        iptables("-t", "nat", "-A", "KUBE-SERVICES", "-m", "length", "--length", "1:2", "-j", "RETURN")()
        return audited("-o", "json")

    found = in_new_namespace(body)
    assert found.ran.code == 0
    assert found.only["unread"] == ["nat KUBE-SERVICES -m length --length 1:2 -j RETURN"]


NFTABLES_TAMPERING: dict[str, tuple[str, set[tuple[str, str, str]]]] = {
    "a frontend is gone": (
        "delete element ip kube-proxy service-ips { 10.96.0.80 . tcp . 80 }",
        {("shop/web", "missing", "10.96.0.80:80/TCP")},
    ),
    "the source ranges are gone": (
        "delete element ip kube-proxy firewall-ips { 198.51.100.80 . tcp . 80 }",
        {("shop/web", "policy", "198.51.100.80:80/TCP")},
    ),
    "a refusal has become another": (
        REPLACED,
        {("shop/idle", "policy", "10.96.0.83:443/TCP")},
    ),
    "a frontend is nobody's": (
        "add element ip kube-proxy no-endpoint-services { 10.96.0.99 . tcp . 443 : drop }",
        {("unknown", "extra", "10.96.0.99:443/TCP")},
    ),
}


@pytest.mark.parametrize("how", NFTABLES_TAMPERING)
def test_what_somebody_did_to_kube_proxys_table_is_told(how: str) -> None:
    tampering, expected = NFTABLES_TAMPERING[how]

    def body() -> Audited:
        load_nftables()
        nft(tampering)()
        return audited("-o", "json")

    found = in_new_namespace(body)
    assert found.ran.code == 1
    assert found.differences == expected
    assert found.is_untouched


def test_both_proxies_are_told_of_and_each_can_be_asked_for() -> None:
    def body() -> tuple[Ran, Ran, Ran]:
        run_once("nftables")
        subprocess.run(["iptables-restore"], input=(DATA / "kube-proxy-iptables.rules").read_bytes(), check=True)
        return audited().ran, audited("--proxy", "kproxy").ran, audited("--proxy", "kube-proxy").ran

    both, ours, theirs = in_new_namespace(body)
    assert both.out == ours.out + theirs.out
    assert (ours.out.count("\n"), theirs.out.count("\n")) == (1, 1)


def test_where_nothing_stands_that_is_said() -> None:
    ran = in_new_namespace(lambda: run_program("audit", *SHOP))
    assert (ran.code, ran.out) == (4, "")
    assert "no rules of kproxy or kube-proxy" in ran.err


def test_without_the_capability_nothing_is_guessed() -> None:
    def body() -> Audited:
        load_nftables()
        return audited(limits=NONE)

    found = in_new_namespace(body)
    assert (found.ran.code, found.ran.out) == (3, "")
    assert "CAP_NET_ADMIN" in found.ran.err
