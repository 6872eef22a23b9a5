"""kube-proxy's IPVS layout for the same cluster: a virtual server and an address per ClusterIP, two IP sets, few rules.

kube-proxy writes by netlink, one request and answer per virtual server,
endpoint and address, and starts `ipset` for each member. Here the tools' own
restore does all of it at once, which is faster than kube-proxy is.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench import cluster, packets

CHANGES = 5
LINK = "kube-ipvs0"
SETS = """\
create KUBE-CLUSTER-IP hash:ip,port maxelem 65536
create KUBE-LOOP-BACK hash:ip,port,ip maxelem 65536
"""
RULES = f"""\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-SERVICES ! -s {cluster.POD_RANGE} -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-I PREROUTING -j KUBE-SERVICES
-I OUTPUT -j KUBE-SERVICES
-I POSTROUTING -j KUBE-POSTROUTING
COMMIT
"""


def layout(services: int, endpoints: int) -> dict[str, str]:
    """The input of each program, in their order."""
    ips = cluster.cluster_ips(services)
    members = "".join(f"add KUBE-CLUSTER-IP {ip},tcp:{cluster.PORT}\n" for ip in ips)
    servers = "".join(line for number, ip in enumerate(ips) for line in _server(number, ip, endpoints))
    addresses = f"link add {LINK} type dummy\n" + "".join(f"address add {ip}/32 dev {LINK}\n" for ip in ips)
    return {
        "ipset restore": SETS + members,
        "iptables-restore --noflush": RULES,
        "ipvsadm --restore": servers,
        "ip -batch -": addresses,
    }


def _server(number: int, ip: str, endpoints: int) -> Iterator[str]:
    yield f"-A -t {ip}:{cluster.PORT} -s rr\n"
    for endpoint in range(number * endpoints, (number + 1) * endpoints):
        yield f"-a {_real(ip, endpoint)} -m -w 1\n"


def change(services: int, endpoints: int, number: int) -> dict[str, str]:
    """One endpoint of a Service replaced."""
    ip = cluster.cluster_ips(services)[number]
    fresh = cluster.fresh_endpoint(services, endpoints, number)
    return {"ipvsadm --restore": f"-a {_real(ip, fresh)} -m -w 1\n-d {_real(ip, number * endpoints)}\n"}


def _real(ip: str, endpoint: int) -> str:
    return f"-t {ip}:{cluster.PORT} -r {cluster.endpoint_address(endpoint)}:{cluster.TARGET_PORT}"


def load_s(texts: dict[str, str]) -> float:
    """How long the programs take for them."""
    began = time.monotonic()
    for program, text in texts.items():
        subprocess.run(program.split(), input=text, text=True, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Arguments: Services, endpoints per Service."""
    services, endpoints = map(int, sys.argv[1:])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["sysctl", "-qw", "net.ipv4.vs.conntrack=1"], check=True)
    result = {
        "programmed_s": load_s(layout(services, endpoints)),
        "change_ms": 1000
        * statistics.median(
            load_s(change(services, endpoints, place * services // CHANGES)) for place in range(CHANGES)
        ),
        "connect_us": packets.measure(services, endpoints),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
