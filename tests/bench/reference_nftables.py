"""kube-proxy's nftables layout for the same cluster: a chain and an anonymous map per Service, loaded by `nft -f`.

Written as kube-proxy 1.36 does (pkg/proxy/nftables): `service-ips` leads to a
chain per Service port; a change flushes and refills the changed Service's chain.
kube-proxy lists the table's objects before each change (`nft --json list`);
that is not in these figures.
"""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

from tests.bench import cluster, packets

CHANGES = 5
TABLE = "ip kube-proxy"
STATIC = f"""\
add table {TABLE}
add chain {TABLE} services
add chain {TABLE} mark-for-masquerade {{ }}
add rule {TABLE} mark-for-masquerade meta mark set meta mark | 0x4000
add chain {TABLE} cluster-ips-check
add chain {TABLE} nat-prerouting {{ type nat hook prerouting priority -100; }}
add chain {TABLE} nat-output {{ type nat hook output priority -100; }}
add chain {TABLE} nat-postrouting {{ type nat hook postrouting priority 100; }}
add chain {TABLE} filter-forward {{ type filter hook forward priority 0; }}
add chain {TABLE} filter-output {{ type filter hook output priority 0; }}
add set {TABLE} cluster-ips {{ type ipv4_addr; }}
add set {TABLE} hairpin-connections {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; }}
add map {TABLE} service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
add map {TABLE} no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
add rule {TABLE} nat-prerouting jump services
add rule {TABLE} nat-output jump services
add rule {TABLE} nat-postrouting meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random
add rule {TABLE} services ip daddr . meta l4proto . th dport vmap @service-ips
add rule {TABLE} cluster-ips-check ip daddr @cluster-ips reject
add rule {TABLE} cluster-ips-check ip daddr {cluster.SERVICE_RANGE} drop
add rule {TABLE} filter-forward ct state new jump cluster-ips-check
add rule {TABLE} filter-output ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule {TABLE} filter-output ct state new jump cluster-ips-check
"""


def _chain(number: int) -> str:
    namespace, name = cluster.names(number)
    digest = base64.b32encode(hashlib.sha256(f"{namespace}/{name}:http:tcp".encode()).digest())[:8].decode()
    return f"service-{digest}-{namespace}/{name}/tcp/http"


def _rules(number: int, ip: str, endpoints: Iterable[int]) -> Iterator[str]:
    targets = [f"{cluster.endpoint_address(endpoint)} . {cluster.TARGET_PORT}" for endpoint in endpoints]
    choices = ", ".join(f"{place} : {target}" for place, target in enumerate(targets))
    match = f"ip daddr {ip} tcp dport {cluster.PORT} ip saddr != {cluster.POD_RANGE}"
    yield f"add rule {TABLE} {_chain(number)} {match} jump mark-for-masquerade"
    dnat = f"meta l4proto tcp dnat ip to numgen random mod {len(targets)} map {{ {choices} }}"
    yield f"add rule {TABLE} {_chain(number)} {dnat}"


def layout(services: int, endpoints: int) -> str:
    """All of it."""
    lines = [STATIC.rstrip()]
    for number, ip in enumerate(cluster.cluster_ips(services)):
        lines.append(f"add chain {TABLE} {_chain(number)}")
        lines += _rules(number, ip, range(number * endpoints, (number + 1) * endpoints))
        lines.append(f"add element {TABLE} cluster-ips {{ {ip} }}")
        lines.append(f"add element {TABLE} service-ips {{ {ip} . tcp . {cluster.PORT} : goto {_chain(number)} }}")
    return "\n".join([*lines, ""])


def change(services: int, endpoints: int, number: int) -> str:
    """One endpoint of a Service replaced."""
    ip = cluster.cluster_ips(services)[number]
    first, fresh = number * endpoints, cluster.fresh_endpoint(services, endpoints, number)
    rules = _rules(number, ip, [fresh, *range(first + 1, first + endpoints)])
    return "\n".join([f"flush chain {TABLE} {_chain(number)}", *rules, ""])


def load_s(text: str) -> float:
    """How long `nft -f` takes for it."""
    began = time.monotonic()
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Arguments: Services, endpoints per Service."""
    services, endpoints = map(int, sys.argv[1:])
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
