"""`kproxy cleanup` in kernels of its own: what kube-proxy and we left is gone, what others have stays to the letter."""

from __future__ import annotations

import base64
import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import ANY

import pytest

from kproxy.core.leftovers import KUBE_PROXY
from kproxy.core.values import Family
from kproxy.effects.netlink import NetlinkSocket
from kproxy.effects.xtables import TOOLS, Variant
from kproxy.netlink.attributes import read, string, text, u64
from kproxy.netlink.messages import NLM_F_CREATE, netfilter
from tests.fakes.namespace import in_new_namespace, ip
from tests.fakes.program import AS_NOBODY, COMMAND, Ran, run_program, running

pytestmark = pytest.mark.root

DATA = Path(__file__).parents[1] / "data"
CLEANUP = DATA / "cleanup"
MANIFESTS = DATA / "manifests"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a", "--source", str(MANIFESTS / "shop"))
NEW_COUNTER = 7 << 8
EVERY_VARIANT = pytest.mark.parametrize("variant", Variant)
EVERY_FAMILY = pytest.mark.parametrize("family", Family)

FOREIGN_TABLES = """\
table inet firewall { chain input { type filter hook input priority 0; policy accept; tcp dport 22 accept; }; }
table ip kube-proxy-not { set cluster-ips { type ipv4_addr; elements = { 10.96.0.1 }; }; }
table bridge kube-proxy { chain c { }; }
"""
PROXY_TABLES = """\
table ip kube-proxy { chain services { }; chain nat-prerouting { type nat hook prerouting priority -100; }; }
table ip6 kube-proxy { chain services { }; set hairpin-connections { type ipv6_addr . ipv6_addr; }; }
"""
FOREIGN_SETS = """\
create KUBE-SRC-ABCDEFGHIJKLMNOP hash:ip
add KUBE-SRC-ABCDEFGHIJKLMNOP 10.64.1.10
create KUBE-CLUSTER-IP-2 hash:ip,port
"""
SET_TYPES = {
    "KUBE-LOOP-BACK": "hash:ip,port,ip",
    "KUBE-LOAD-BALANCER-SOURCE-IP": "hash:ip,port,ip",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": "hash:ip,port,net",
    "KUBE-IPVS-IPS": "hash:ip",
}


class Seen(NamedTuple):
    """All that a cleanup could touch, but for what changes by itself."""

    rules: dict[str, list[str]]
    tables: str
    sets: str
    links: list[str]


def call(*argv: str, text: str = "") -> str:
    return subprocess.run(argv, input=text, text=True, check=True, capture_output=True).stdout


def look(variants: Sequence[Variant] = (Variant.NFT,)) -> Seen:
    rules = {
        f"{tool}-{variant.infix}": saved_rules(f"{tool}-{variant.infix}")
        for variant in variants
        for tool in TOOLS.values()
    }
    xtables = r"(?ms)^(?:# Warning.*?|table ip6? (?:nat|filter|mangle|raw)) .*?^}\n"
    own_tables = re.sub(xtables, "", call("nft", "list", "ruleset"))
    links = [line.split(": ")[1].split("@")[0] for line in ip("-o", "link").splitlines()]
    return Seen(rules, own_tables, call("ipset", "save"), sorted(links))


def saved_rules(program: str) -> list[str]:
    saved = call(f"{program}-save")
    return [re.sub(r" \[\d+:\d+\]", "", line) for line in saved.splitlines() if line[0] in "*:-"]


def load(name: str, variant: Variant, family: Family) -> None:
    rules = (CLEANUP / f"{name}.rules").read_text()
    infix = "KUBE-6-" if family is Family.IPV6 else "KUBE-"
    rules = re.sub(r"@KUBE-([A-Z-]+)@", lambda found: f"{infix}{found[1]}"[:31], rules)
    call(f"{TOOLS[family]}-{variant.infix}-restore", "--noflush", text=rules)


def make_sets() -> None:
    for name in KUBE_PROXY.sets:
        six = name.startswith("KUBE-6-")
        plain = next(one for one in KUBE_PROXY.sets if one == name or f"KUBE-6-{one[5:]}"[:31] == name)
        bitmap = plain.startswith(("KUBE-NODE-PORT-", "KUBE-HEALTH")) and "SCTP" not in plain
        kind = "bitmap:port" if bitmap else SET_TYPES.get(plain, "hash:ip,port")
        extra = ("range", "0-65535") if bitmap else ("family", "inet6" if six else "inet")
        call("ipset", "create", name, kind, *extra)


def make_counters(*names: str) -> None:
    with NetlinkSocket() as sock:
        for name in names:
            sock.request(NEW_COUNTER, netfilter(0, text(1, name), u64(2, 0), u64(3, 0)), NLM_F_CREATE)


def counters() -> list[str]:
    with NetlinkSocket() as sock:
        return sorted(string(read(one.payload[4:])[1]) for one in sock.dump(7 << 8 | 1, netfilter(0)))


def removed(ran: Ran) -> Iterator[str]:
    assert ran.code == 0, ran.err
    yield from ran.out.splitlines()


@EVERY_FAMILY
@EVERY_VARIANT
@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_kube_proxys_chains_go_and_everybody_elses_stay(variant: Variant, family: Family, mode: str) -> None:
    def body() -> None:
        load("foreign", variant, family)
        make_sets()
        before = look((variant,))
        load(f"kube-proxy-{mode}", variant, family)
        dirty = look((variant,))
        planned = run_program("cleanup", "--kube-proxy", "--plan")
        assert look((variant,)) == dirty
        done = run_program("cleanup", "--kube-proxy")
        assert (done.code, done.out) == (0, planned.out)
        assert "KUBE-FIREWALL stays, kubelet has it too" in done.err
        after = look((variant,))
        assert after.rules == before.rules
        assert after.sets == ""
        again = run_program("cleanup", "--kube-proxy")
        assert (again.code, again.out) == (0, "")
        assert "nothing is left to remove" in again.err

    in_new_namespace(body)


def test_a_chain_that_others_lead_to_stays_whole_with_what_it_needs() -> None:
    def body() -> None:
        load("kube-proxy-iptables", Variant.NFT, Family.IPV4)
        foreign = "*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n"
        call("iptables-nft-restore", "--noflush", text=foreign)
        before = saved_rules("iptables-nft")
        done = run_program("cleanup", "--kube-proxy")
        assert done.code == 0, done.err
        names = ("KUBE-MARK-MASQ", "KUBE-POSTROUTING")
        for name in names:
            assert f"{name} stays, rules of somebody else need it" in done.err
        left = [line for line in saved_rules("iptables-nft") if "KUBE" in line]
        chains = [f":{name} -" for name in sorted(names)]
        of_them = [line for line in before if line.startswith(tuple(f"-A {name} " for name in names))]
        jumps = [one for one in before if one.startswith(("-A POSTROUTING", "-A CNI-HOSTPORT-SETMARK"))]
        assert sorted(left) == sorted(chains + of_them + jumps)

    in_new_namespace(body)


def test_tables_sets_counters_and_the_link_go_by_their_whole_names() -> None:
    def body() -> None:
        call("nft", "-f", "-", text=FOREIGN_TABLES)
        call("ipset", "restore", text=FOREIGN_SETS)
        make_counters("mine_ct_state_invalid")
        ip("link", "add", "kube-ipvs01", "type", "veth", "peer", "name", "elsewhere")
        before = look()
        call("nft", "-f", "-", text=PROXY_TABLES)
        make_sets()
        make_counters(*KUBE_PROXY.counters)
        ip("link", "add", "kube-ipvs0", "type", "bridge")
        ip("address", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
        lines = list(removed(run_program("cleanup", "--kube-proxy")))
        assert look() == before
        assert counters() == ["mine_ct_state_invalid"]
        assert "ip link delete kube-ipvs0" in lines
        assert {"nft delete table ip kube-proxy", "nft delete table ip6 kube-proxy"} <= set(lines)
        assert sum(line.startswith("ipset destroy ") for line in lines) == len(KUBE_PROXY.sets)
        assert sum(line.startswith("nfacct delete ") for line in lines) == len(KUBE_PROXY.counters)

    in_new_namespace(body)


def test_a_set_that_somebody_elses_rule_names_is_told_and_the_rest_goes() -> None:
    def body() -> None:
        make_sets()
        call("iptables-nft", "-A", "INPUT", "-m", "set", "--match-set", "KUBE-CLUSTER-IP", "dst,dst", "-j", "DROP")
        done = run_program("cleanup", "--kube-proxy")
        assert done.code == 1
        assert "left: ipset destroy KUBE-CLUSTER-IP" in done.err
        assert call("ipset", "list", "-n").split() == ["KUBE-CLUSTER-IP"]

    in_new_namespace(body)


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_ours_go_and_nothing_of_kube_proxy_unless_it_is_asked_for(backend: str) -> None:
    def body() -> None:
        for family in Family:
            load("foreign", Variant.NFT, family)
            load("kube-proxy-iptables", Variant.NFT, family)
        call("nft", "-f", "-", text=FOREIGN_TABLES + PROXY_TABLES)
        before = look()
        assert run_program("run", "--once", "--backend", backend, *NODE).code == 0
        assert look() != before
        lines = list(removed(run_program("cleanup")))
        assert look() == before
        assert all("kproxy" in line.lower() for line in lines)

    in_new_namespace(body)


@EVERY_VARIANT
def test_the_lines_of_the_plan_do_it_when_they_are_run_one_by_one(variant: Variant) -> None:
    def body() -> None:
        for family in Family:
            load("kube-proxy-iptables", variant, family)
            load("foreign", variant, family)
        before = look((variant,))
        for backend in ("nftables", "iptables"):
            assert run_program("run", "--once", "--backend", backend, *NODE).code == 0
            assert look((variant,)) != before
            lines = list(removed(run_program("cleanup", "--plan")))
            assert lines
            for line in lines:
                call(*shlex.split(line))
            assert look((variant,)) == before
        call("nft", "-f", "-", text=PROXY_TABLES)
        make_sets()
        for line in list(removed(run_program("cleanup", "--kube-proxy", "--plan"))):
            call(*shlex.split(line))
        again = run_program("cleanup", "--kube-proxy")
        assert (again.code, again.out) == (0, ""), again.err

    in_new_namespace(body)


def test_without_the_right_to_look_the_remedy_is_named() -> None:
    done = subprocess.run(
        [*AS_NOBODY, *COMMAND, "cleanup", "--plan"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "run as root with CAP_NET_ADMIN" in done.stderr


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_a_node_that_we_have_taken_over_keeps_ours(backend: str) -> None:
    def body() -> None:
        assert run_program("run", "--once", "--backend", backend, *NODE).code == 0
        before = look()
        load("kube-proxy-iptables", Variant.NFT, Family.IPV4)
        call("nft", "-f", "-", text=PROXY_TABLES)
        list(removed(run_program("cleanup", "--kube-proxy", "--keep-ours")))
        after = look()
        empty = {":INPUT ACCEPT", ":OUTPUT ACCEPT", ":FORWARD ACCEPT", ":PREROUTING ACCEPT", ":POSTROUTING ACCEPT"}
        of_rules = [
            set(seen.rules["iptables-nft"]) - empty - {"*mangle", "*nat", "*filter"} for seen in (before, after)
        ]
        assert of_rules[0] == of_rules[1]
        assert after.tables == before.tables
        assert run_program("diff", "--backend", backend, *NODE).code == 0

    in_new_namespace(body)


def test_ours_stay_while_an_agent_runs() -> None:
    def body() -> None:
        with running("run", "--backend", "nftables", *NODE) as process:
            assert process.stderr is not None
            synced = (line for line in process.stderr if "synced for the first time" in line)
            assert len(list(itertools.islice(synced, 2))) == 2
            before = call("nft", "list", "tables")
            planned, refused = run_program("cleanup", "--plan"), run_program("cleanup")
            assert (planned.code, planned.out, planned.err) == (refused.code, refused.out, refused.err) == (1, "", ANY)
            assert call("nft", "list", "tables") == before
            assert f"kproxy: an agent runs on this node (process {process.pid})" in refused.err
            call("nft", "-f", "-", text=PROXY_TABLES)
            assert run_program("cleanup", "--kube-proxy", "--keep-ours").code == 0
            assert call("nft", "list", "tables") == before

    in_new_namespace(body)


def test_our_chains_go_from_the_variant_that_the_host_has_left() -> None:
    def body() -> None:
        before = look(tuple(Variant))
        ours = "*nat\n:KPROXY-SERVICES - [0:0]\n-I PREROUTING -j KPROXY-SERVICES\nCOMMIT\n"
        ours += "*mangle\n:KPROXY-SERVICES - [0:0]\n-I PREROUTING -j KPROXY-SERVICES\nCOMMIT\n"
        for variant in Variant:
            call(f"iptables-{variant.infix}-restore", "--noflush", text=ours)
        list(removed(run_program("cleanup")))
        after = look(tuple(Variant))
        assert [line for lines in after.rules.values() for line in lines if "KPROXY" in line] == []
        assert after.links == before.links

    in_new_namespace(body)


def test_many_chains_go_in_portions() -> None:
    count = 2000

    def body() -> None:
        chains = [f"KUBE-SEP-{base64.b32encode(number.to_bytes(10)).decode()}" for number in range(count)]
        rules = [f"-A {one} -j {other}" for one, other in itertools.pairwise(chains)]
        text = "\n".join(["*nat", *(f":{name} - [0:0]" for name in chains), *rules, "COMMIT", ""])
        call("iptables-nft-restore", "--noflush", text=text)
        done = run_program("cleanup", "--kube-proxy")
        assert (done.code, len(done.out.splitlines())) == (0, 2 * count), done.err
        assert f"removed: {count}" in done.err
        assert "KUBE-SEP" not in call("iptables-nft-save")

    in_new_namespace(body)
