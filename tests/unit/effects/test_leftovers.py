"""The doors of what a proxy left, where the kernel is real, and where a program or IPVS is not."""

from __future__ import annotations

import subprocess

import pytest

from kproxy.core.leftovers import KUBE_PROXY, OURS
from kproxy.core.values import Family
from kproxy.effects.leftovers import Chains, Table, VirtualServers, named_sets
from kproxy.effects.process import ProcessTimeout, Result
from kproxy.effects.xtables import Tools, Variant
from kproxy.errors import ApplyRejected, ObserveFailed
from tests.fakes.namespace import in_new_namespace, ip

TOOLS = Tools(Variant.NFT, "iptables-nft-save", "iptables-nft-restore")
SAVED = "*nat\n:KPROXY-SERVICES - [0:0]\nCOMMIT\n"
LISTED = """\
TCP  0A600001:01BB rr 
TCP  C000020B:7530 rr 
TCP  C000020B:0050 wlc 
"""  # noqa: W291 - as the kernel prints it


def answering(save: Result, restore: Result):  # noqa: ANN201 - a Run
    return lambda argv, _text, _timeout: restore if "restore" in argv[0] else save


def test_a_program_that_cannot_read_or_write_is_quoted() -> None:
    good, bad = Result(0, SAVED, ""), Result(4, "", "Fatal: not\nallowed\n")
    with pytest.raises(ObserveFailed, match="iptables-nft-save: Fatal: not allowed"):
        Chains(OURS, TOOLS, answering(bad, good)).find()
    with pytest.raises(ApplyRejected, match="iptables-nft-restore: Fatal: not allowed"):
        Chains(OURS, TOOLS, answering(good, bad)).remove()


def test_a_program_that_does_not_end_is_no_answer() -> None:
    def silent(argv: list[str], text: str, _timeout: float) -> Result:
        if text or "restore" in argv[0] or not saved:
            raise ProcessTimeout("killed")
        return saved[0]

    saved: list[Result] = []
    with pytest.raises(ObserveFailed, match="killed"):
        Chains(OURS, TOOLS, silent).find()
    saved.append(Result(0, SAVED, ""))
    with pytest.raises(ApplyRejected, match="killed"):
        Chains(OURS, TOOLS, silent).remove()


def test_nothing_is_written_where_nothing_stands() -> None:
    started: list[str] = []

    def run(argv: list[str], _text: str, _timeout: float) -> Result:
        started.append(argv[0])
        return Result(0, "*nat\n:DOCKER - [0:0]\nCOMMIT\n", "")

    Chains(OURS, TOOLS, run).remove()
    assert started == ["iptables-nft-save"]


@pytest.mark.root
def test_virtual_servers_on_the_link_and_for_the_ports_in_the_sets_are_found() -> None:
    def look() -> list[str]:
        ip("link", "add", "kube-ipvs0", "type", "bridge")
        ip("address", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
        ip("link", "add", "uplink", "type", "bridge")
        ip("address", "add", "192.0.2.11/24", "dev", "uplink")
        found = list(VirtualServers(KUBE_PROXY, lambda: LISTED).find())
        subprocess.run(["ipset", "create", "KUBE-NODE-PORT-TCP", "bitmap:port", "range", "0-65535"], check=True)
        subprocess.run(["ipset", "add", "KUBE-NODE-PORT-TCP", "30000"], check=True)
        return [*found, "and", *VirtualServers(KUBE_PROXY, lambda: LISTED).find()]

    line = "ipvsadm --delete-service"
    one, two = f"{line} --tcp-service 10.96.0.1:443", f"{line} --tcp-service 192.0.2.11:30000"
    assert in_new_namespace(look) == [one, "and", one, two]


@pytest.mark.root
def test_removing_what_is_not_there_is_no_error() -> None:
    def remove() -> None:
        Table("kube-proxy", Family.IPV6).remove()
        named_sets(KUBE_PROXY.sets).remove()
        VirtualServers(KUBE_PROXY, str).remove()

    in_new_namespace(remove)
