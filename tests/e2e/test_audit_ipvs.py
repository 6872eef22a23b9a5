"""`kproxy audit` of virtual servers: ours and kube-proxy's, whole and tampered with, and left as they were."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.fakes.namespace import in_new_namespace, ip
from tests.fakes.program import Ran, run_program

pytestmark = [pytest.mark.root, pytest.mark.ipvs]

DATA = Path(__file__).parents[1] / "data" / "audit"
NODE = ("--config", str(DATA / "config.yaml"), "--node-name", "node-a")
SHOP = ("-f", str(DATA / "cluster.yaml"), *NODE)
VIPS = (*(f"10.96.0.{number}" for number in range(80, 85)), "198.51.100.80", "198.51.100.81")
SERVER = re.compile(r"(TCP|UDP) +([0-9A-F]{8}):([0-9A-F]{4}) rr *(?:persistent (\d+))?.*")
DESTINATION = re.compile(r"  -> ([0-9A-F]{8}):([0-9A-F]{4}).*")


def state() -> str:
    """All that a write would change."""
    texts = [
        ip("address"),
        *(_output(*words) for words in (["ipvsadm-save", "-n"], ["ipset", "save"], ["iptables-save"])),
    ]
    return re.sub(r"(?m)^#.*\n|\[[0-9]+:[0-9]+\]", "", "".join(texts))


def _output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def audited() -> tuple[Ran, bool]:
    before = state()
    return run_program("audit", *SHOP), state() == before


def kube_proxy() -> None:
    """The virtual servers of the listing, in one go: this kernel is slow to start programs in."""
    links = ["address add 192.0.2.11/24 dev lo", "link add kube-ipvs0 type dummy"]
    links += [f"address add {address}/32 dev kube-ipvs0" for address in VIPS]
    servers: list[str] = []
    server = ""
    for line in (DATA / "ip_vs.txt").read_text().splitlines():
        if found := SERVER.fullmatch(line):
            server = f"{'-t' if found[1] == 'TCP' else '-u'} {at(found[2], found[3])}"
            servers.append(f"-A {server} -s rr{f' -p {found[4]}' if found[4] else ''}")
        elif found := DESTINATION.fullmatch(line):
            servers.append(f"-a {server} -r {at(found[1], found[2])} -m")
    subprocess.run(["ip", "-batch", "-"], input="\n".join(links), text=True, check=True)
    subprocess.run(["ipvsadm", "--restore"], input="\n".join([*servers, ""]), text=True, check=True)


def at(address: str, port: str) -> str:
    return f"{'.'.join(str(one) for one in bytes.fromhex(address))}:{int(port, 16)}"


def test_our_virtual_servers_are_as_they_should_be_until_one_is_gone() -> None:
    def body() -> tuple[Ran, tuple[Ran, bool], Ran, Ran, Ran]:
        ip("address", "add", "192.0.2.11/24", "dev", "lo")
        ran = run_program("run", "--once", "--backend", "ipvs", "--source", str(DATA), *NODE)
        whole, same = audited(), run_program("diff", "--backend", "ipvs", *SHOP)
        subprocess.run(["ipvsadm", "-D", "-t", "10.96.0.80:80"], check=True)
        return ran, whole, same, run_program("audit", *SHOP), run_program("diff", "--backend", "ipvs", *SHOP)

    ran, (whole, untouched), same, missing, different = in_new_namespace(body)
    assert (same.code, same.out) == (0, "")
    assert different.code == 1
    assert "10.96.0.80:80" in different.out
    assert ran.code == 0, ran.err
    assert whole.out == "kproxy, ipvs (IPv4, IPv6): 10 frontends, all as they should be\n"
    assert whole.code == 0
    assert missing.code == 1
    assert "shop/web\n" in missing.out
    assert "10.96.0.80:80" in missing.out
    assert untouched


def test_kube_proxys_virtual_servers_are_read_and_what_its_mode_cannot_do_is_told() -> None:
    def body() -> tuple[tuple[Ran, bool], Ran]:
        kube_proxy()
        whole = audited()
        subprocess.run(["ipvsadm", "-d", "-t", "10.96.0.80:80", "-r", "10.64.2.1:8080"], check=True)
        return whole, run_program("audit", *SHOP)

    (whole, untouched), missing = in_new_namespace(body)
    assert whole.code == 0, whole.out
    assert whole.out.startswith(
        "kube-proxy, ipvs mode (IPv4): 0 differences, 1 more by design, of 10 frontends\nshop/far\n"
    )
    assert missing.code == 1
    assert "  missing  IPv4  10.96.0.80:80/TCP: does not lead to endpoint 10.64.2.1:8080\n" in missing.out
    assert untouched
