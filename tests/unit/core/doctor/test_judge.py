"""What the doctor says of facts: each row is a machine, and the one thing that it has to hear."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kproxy.core.doctor import Check, Facts, Status, judge
from kproxy.core.doctor.facts import (
    NET_ADMIN,
    NET_RAW,
    AgentFact,
    ClusterFact,
    ConfigFact,
    Listening,
    Parameter,
    Place,
    Probe,
    Process,
    Remnant,
    Tool,
    Usage,
)
from kproxy.core.doctor.judge import counts

OK, WARNING, FAILURE, NOT = Status
NO_IPVS = "this kernel has no IPVS: load the module ip_vs"
HEALTHY = Facts(
    kernel="6.1.0",
    user_id=0,
    capabilities=frozenset({NET_ADMIN, NET_RAW}),
    node="node-a",
    probes=(Probe("nftables", "IPv4", ""), Probe("nftables", "IPv6", ""), Probe("ipvs", "IPv4", NO_IPVS)),
    tools=(Tool("nft", "nftables v1.0.6"), Tool("iptables-restore", "")),
    rules={"IPv4": {"nf_tables": 3}, "IPv6": {}},
    parameters=(Parameter("net.ipv4.ip_forward", "1", "1", False, "nothing is forwarded", True, False),),
    ephemeral_ports=(32768, 60999),
    usage=Usage(10, 1000),
    places=(Place("metrics", "127.0.0.1", 10249),),
)
AGENT = AgentFact(7, "nftables", True, True)
METRICS = Place("metrics", "127.0.0.1", 10249)


def found(name: str, **facts: Any) -> Check:
    """The one check of a name, on a healthy machine with other facts."""
    (check,) = [one for one in judge(msgspec.structs.replace(HEALTHY, **facts)) if one.name == name]
    return check


def parameter(name: str, now: str | None, wanted: str, *, writable: bool = True, least: bool = False) -> Parameter:
    return Parameter(name, now, wanted, least, "it is slow", writable, set_by_agent=True)


def test_a_healthy_machine_hears_nothing_bad() -> None:
    checks = judge(HEALTHY)
    assert {one.status for one in checks} == {OK, NOT}
    assert counts(checks) == {OK: sum(one.status is OK for one in checks), WARNING: 0, FAILURE: 0, NOT: 5}


SAID: dict[str, tuple[str, dict[str, Any], Status, str]] = {
    "an ordinary user": ("capabilities", {"user_id": 1000, "capabilities": frozenset()}, WARNING, "ordinary user"),
    "a bare container": ("capabilities", {"capabilities": frozenset()}, FAILURE, "although this is root"),
    "no raw sockets": ("capabilities", {"capabilities": frozenset({NET_ADMIN})}, WARNING, NET_RAW),
    "nobody may look": ("backend", {"capabilities": frozenset()}, NOT, "not known without"),
    "a backend that others replace": ("backend/ipvs/IPv4", {}, NOT, "nftables can be used"),
    "a backend that is asked for": ("backend/ipvs/IPv4", {"backend": "ipvs"}, FAILURE, "asked for"),
    "the last backend": ("backend/ipvs/IPv4", {"probes": (Probe("ipvs", "IPv4", NO_IPVS),)}, FAILURE, "no IPVS"),
    "no backend": ("backend", {"probes": (Probe("ipvs", "IPv4", NO_IPVS),)}, FAILURE, "no backend works"),
    "one family": (
        "backend/a/IPv6",
        {"probes": (Probe("a", "IPv4", ""), Probe("a", "IPv6", "no; get it"))},
        FAILURE,
        "no",
    ),
    "no IPv6 at all": (
        "backend/a/IPv6",
        {"probes": (Probe("a", "IPv4", ""), Probe("a", "IPv6", "no; get it")), "has_ipv6": False},
        NOT,
        "has no IPv6",
    ),
    "a tool that is needed": ("tool/iptables-restore", {"backend": "iptables"}, FAILURE, "missing"),
    "a tool for people": ("tool/iptables-restore", {"backend": "nftables"}, NOT, "not installed"),
    "kube-proxy before": ("conflict/process/kube-proxy", {"processes": (Process(9, "kube-proxy"),)}, WARNING, "9"),
    "kube-proxy beside": (
        "conflict/process/kube-proxy",
        {"processes": (Process(9, "kube-proxy"),), "agent": AGENT},
        FAILURE,
        "beside kproxy (process 7)",
    ),
    "a network plugin": (
        "conflict/process/cilium-agent",
        {"processes": (Process(9, "cilium-agent"),), "agent": AGENT},
        WARNING,
        "runs",
    ),
    "rules left over": (
        "conflict/rules/kube-proxy",
        {"remnants": (Remnant("kube-proxy", 4, "iptables -X KUBE-SERVICES"),)},
        WARNING,
        "nobody keeps them up to date",
    ),
    "rules unreadable": ("conflict/rules", {"remnants_error": "no tool"}, NOT, "no tool"),
    "two of ours": (
        "conflict/rules/kproxy (ipvs)",
        {"remnants": (Remnant("kproxy (nftables)", 1, "x"), Remnant("kproxy (ipvs)", 1, "y"))},
        WARNING,
        "1 objects",
    ),
    "a link left over": ("conflict/link", {"links": frozenset({"kube-ipvs0"})}, FAILURE, "kube-ipvs0 stands"),
    "both variants": (
        "conflict/iptables-variants/IPv4",
        {"rules": {"IPv4": {"nf_tables": 3, "legacy": 2}}},
        WARNING,
        "2 rules in legacy tables and 3 rules in nf_tables tables",
    ),
    "no forwarding": (
        "sysctl/net.ipv4.ip_forward",
        {"parameters": (Parameter("net.ipv4.ip_forward", "0", "1", False, "nothing passes", True, False),)},
        FAILURE,
        "nothing passes",
    ),
    "what the agent will set": ("sysctl/a", {"parameters": (parameter("a", "5", "9"),)}, OK, "the agent sets it to 9"),
    "what nobody can set": (
        "sysctl/a",
        {"parameters": (parameter("a", "5", "9", writable=False),)},
        WARNING,
        "5, not 9: it is slow",
    ),
    "more than enough": (
        "sysctl/a",
        {"parameters": (parameter("a", "10", "9", writable=False, least=True),)},
        OK,
        "10",
    ),
    "an old kernel": ("sysctl/a", {"parameters": (parameter("a", None, "9"),)}, NOT, "does not have it"),
    "NodePorts given away": (
        "sysctl/net.ipv4.ip_local_port_range",
        {"ephemeral_ports": (10000, 60999)},
        WARNING,
        "30000 to 32767",
    ),
    "NodePorts shielded": (
        "sysctl/net.ipv4.ip_local_port_range",
        {"ephemeral_ports": (10000, 60999), "reserved_ports": ((30000, 32767),)},
        OK,
        "10000",
    ),
    "a nearly full table": ("conntrack", {"usage": Usage(850, 1000)}, WARNING, "85%"),
    "a full table": ("conntrack", {"usage": Usage(1000, 1000)}, FAILURE, "100%"),
    "no table": ("conntrack", {"usage": None}, NOT, "nf_conntrack"),
    "a bad file": ("config", {"config": ConfigFact("c", "c:1:1: mode")}, FAILURE, "c:1:1: mode"),
    "a file to mend": ("config", {"config": ConfigFact("c", "", (("text", "cure"),))}, WARNING, "text"),
    "a good file": ("config", {"config": ConfigFact("c")}, OK, "nothing to say"),
    "a bad name": ("node-name", {"node": "node_a"}, FAILURE, "cannot be"),
    "a name of nobody": ("node-name", {"node": "localhost.localdomain"}, WARNING, "hardly"),
    "a server that refuses": ("api-server", {"cluster": ClusterFact("403 Forbidden")}, FAILURE, "403"),
    "a server that answers": ("api-server", {"cluster": ClusterFact("", 3, True)}, OK, "3 Services"),
    "a node that nobody knows": ("node-name/cluster", {"cluster": ClusterFact("", 3, False)}, FAILURE, "node-a"),
    "an agent in trouble": ("agent", {"agent": AgentFact(7, "ipvs", False, True)}, FAILURE, "not healthy"),
    "an agent that cannot read its source": (
        "agent",
        {"agent": AgentFact(7, "ipvs", True, True, ("web.yaml:5: no ']'",))},
        WARNING,
        "its source is in trouble: web.yaml:5",
    ),
    "an agent at its start": ("agent", {"agent": AgentFact(7, "ipvs", True, False)}, FAILURE, "not ready"),
    "an agent that is silent": ("agent", {"agent_error": "no answer"}, FAILURE, "no answer"),
    "a port that is taken": (
        "port/metrics",
        {"listening": (Listening("127.0.0.1", 10249, Process(9, "kube-proxy")),)},
        FAILURE,
        "kube-proxy (process 9)",
    ),
    "a port that is taken, by whom is not seen": (
        "port/metrics",
        {"listening": (Listening("127.0.0.1", 10249),)},
        FAILURE,
        "another process",
    ),
    "the agent's own port": (
        "port/metrics",
        {"listening": (Listening("127.0.0.1", 10249, Process(7, "kproxy")),), "agent": AGENT},
        OK,
        "the running agent's",
    ),
}


@pytest.mark.parametrize("case", SAID, ids=lambda case: case.replace(" ", "-"))
def test_a_machine_hears_what_is_the_matter(case: str) -> None:
    name, facts, status, words = SAID[case]
    check = found(name, **facts)
    assert (check.status, words in check.found) == (status, True), check
    assert check.remedy or status in (OK, NOT), "what is wrong comes with a remedy"


@pytest.mark.parametrize(
    ("listens", "wanted", "status"),
    [
        ("0.0.0.0", "127.0.0.1", FAILURE),
        ("::", "127.0.0.1", FAILURE),
        ("::", "::1", FAILURE),
        ("127.0.0.1", "0.0.0.0", FAILURE),
        ("192.0.2.1", "::", FAILURE),
        ("0.0.0.0", "::1", OK),
        ("192.0.2.1", "127.0.0.1", OK),
    ],
)
def test_whether_two_addresses_share_a_port(listens: str, wanted: str, status: Status) -> None:
    check = found("port/metrics", listening=(Listening(listens, 10249),), places=(Place("metrics", wanted, 10249),))
    assert check.status is status


def test_another_port_is_nobody_s_business() -> None:
    assert found("port/metrics", listening=(Listening("0.0.0.0", 10250),)).status is OK
