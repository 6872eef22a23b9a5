"""`kproxy cleanup --kube-proxy` where kube-proxy ran in IPVS mode, and a load balancer of somebody else runs too."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import Ran, run_program

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

DATA = Path(__file__).parents[1] / "data"
RULES = DATA / "cleanup" / "kube-proxy-ipvs.rules"
SHOP = DATA / "manifests" / "shop"
NODE = ("--config", str(DATA / "manifests" / "config.yaml"), "--node-name", "node-a", "--source", str(SHOP))
FOREIGN = """\
ip link add uplink type dummy
ip address add 192.0.2.11/24 dev uplink
ip address add 2001:db8:2::11/64 dev uplink nodad
ip address add 203.0.113.9/32 dev uplink
ipvsadm -A -t 203.0.113.9:80 -s wlc
ipvsadm -a -t 203.0.113.9:80 -r 203.0.113.10:80 -g -w 3
ipvsadm -A -u 203.0.113.9:30053 -s rr
ipvsadm -A -t 192.0.2.11:8443 -s wlc
ipvsadm -A -t 198.51.100.1:30080 -s wlc
ipvsadm -A -t [2001:db8:2::11]:8443 -s wlc
ipvsadm -A -f 7 -s rr -p 50
ipset create theirs hash:ip
"""
KUBE_PROXY = """\
ip link add kube-ipvs0 type dummy
ip address add 10.96.0.10/32 dev kube-ipvs0
ip address add fd00:10:96::a/128 dev kube-ipvs0 nodad
ipset create KUBE-CLUSTER-IP hash:ip,port
ipset create KUBE-6-CLUSTER-IP hash:ip,port family inet6
ipset create KUBE-LOOP-BACK hash:ip,port,ip
ipset create KUBE-LOAD-BALANCER hash:ip,port
ipset create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
ipset create KUBE-6-NODE-PORT-TCP bitmap:port range 0-65535
ipset add KUBE-CLUSTER-IP 10.96.0.10,tcp:80
ipset add KUBE-NODE-PORT-TCP 30080
ipset add KUBE-6-NODE-PORT-TCP 30080
ipvsadm -A -t 10.96.0.10:80 -s rr
ipvsadm -a -t 10.96.0.10:80 -r 10.64.1.10:8080 -m
ipvsadm -A -u 10.96.0.10:53 -s rr -p 10800
ipvsadm -A -t [fd00:10:96::a]:80 -s rr
ipvsadm -a -t [fd00:10:96::a]:80 -r [fd00:10:64:1::10]:8080 -m
ipvsadm -A -t 192.0.2.11:30080 -s rr
ipvsadm -A -t [2001:db8:2::11]:30080 -s rr
"""


def run(command: str, text: str = "") -> str:
    done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def run_all(script: str) -> None:
    for line in script.splitlines():
        run(line)


def look() -> dict[str, list[str]]:
    """Everything that a cleanup could touch, in one order, without what changes by itself."""
    rules = re.sub(r"(?m)^#.*\n| \[\d+:\d+\]", "", run("iptables-legacy-save"))
    return {
        "servers": sorted(run("ipvsadm -S -n").splitlines()),
        "sets": sorted(run("ipset save").splitlines()),
        "links": sorted(line.split(": ")[1] for line in run("ip -o link").splitlines()),
        "rules": rules.splitlines(),
    }


def test_what_is_kube_proxys_goes_and_every_other_virtual_server_stays() -> None:
    def body() -> None:
        run_all(FOREIGN)
        # A legacy table comes into being when it is first asked for.
        run("iptables-legacy-restore", "".join(f"*{table}\nCOMMIT\n" for table in ("mangle", "nat", "filter")))
        before = look()
        run_all(KUBE_PROXY)
        run("iptables-legacy-restore --noflush", RULES.read_text().replace("@", ""))
        dirty = look()
        planned = run_program("cleanup", "--kube-proxy", "--plan")
        assert planned.code == 0, planned.err
        assert look() == dirty
        done = run_program("cleanup", "--kube-proxy")
        assert (done.code, done.out) == (0, planned.out), done.err
        assert sum(line.startswith("ipvsadm ") for line in done.out.splitlines()) == 5
        assert look() == before

    in_new_namespace(body)


def test_node_port_servers_stay_where_nothing_tells_them_from_others() -> None:
    def body() -> None:
        run_all(FOREIGN)
        run_all(KUBE_PROXY)
        run_all("ipset destroy KUBE-NODE-PORT-TCP\nipset destroy KUBE-6-NODE-PORT-TCP")
        done = run_program("cleanup", "--kube-proxy")
        assert done.code == 0, done.err
        left = run("ipvsadm -S -n")
        assert "10.96.0.10" not in left
        assert "192.0.2.11:30080" in left

    in_new_namespace(body)


def test_looking_for_ours_makes_no_table_that_was_not_there() -> None:
    def body() -> None:
        run("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT")
        tables = Path("/proc/thread-self/net/ip_tables_names")
        assert tables.read_text().split() == ["mangle"]
        done = run_program("cleanup")
        assert (done.code, done.out) == (0, ""), done.err
        assert tables.read_text().split() == ["mangle"]

    in_new_namespace(body)


def test_ours_go_by_the_backend_that_wrote_them() -> None:
    of_ours(run_program)


def test_ours_go_by_the_lines_of_the_plan() -> None:
    def by_hand(*words: str) -> Ran:
        planned = run_program(*words, "--plan")
        for line in planned.out.splitlines():
            subprocess.run(shlex.split(line), check=True)
        return planned

    of_ours(by_hand)


def of_ours(clean: Callable[..., Ran]) -> None:
    def body() -> None:
        run("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT")
        run("ip6tables-legacy -t mangle -N KUBE-IPTABLES-HINT")
        run_all(FOREIGN)
        for tool in ("iptables-legacy-restore", "ip6tables-legacy-restore"):
            run(f"{tool} --noflush", "".join(f"*{table}\nCOMMIT\n" for table in ("mangle", "nat", "filter")))
        before = look()
        ran = run_program("run", "--once", "--backend", "ipvs", *NODE)
        assert ran.code == 0, ran.err
        assert "kproxy-ipvs0" in look()["links"]
        done = clean("cleanup")
        assert done.code == 0, done.err
        assert look() == before

    in_new_namespace(body)
