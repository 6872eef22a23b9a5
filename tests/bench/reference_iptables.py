"""kube-proxy's iptables layout for the same cluster: per Service six chains and seventeen rules (five endpoints).

Written as kube-proxy 1.36 does with more than 1,000 endpoints: without
per-endpoint comments; a change rewrites KUBE-SERVICES and the chains of the
changed Service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.bench import cluster, packets

CHANGES = 5
RESTORE = ["iptables-restore", "--noflush", "--counters", "-w", "5"]
STATIC = """\
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
"""
HOOKS = """\
-I PREROUTING -j KUBE-SERVICES
-I OUTPUT -j KUBE-SERVICES
-I POSTROUTING -j KUBE-POSTROUTING
"""


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:16].decode()


def _dispatch(number: int, ip: str) -> tuple[str, str]:
    """The rule of KUBE-SERVICES and the Service's chain."""
    port = f"{'/'.join(cluster.names(number))}:http"
    chain = f"KUBE-SVC-{_hash(port + 'tcp')}"
    match = f'-m comment --comment "{port} cluster IP" -m tcp -p tcp -d {ip} --dport {cluster.PORT}'
    return f"-A KUBE-SERVICES {match} -j {chain}", chain


def _service_chains(number: int, ip: str, endpoints: list[int]) -> Iterator[str]:
    """The chains of a Service with their rules."""
    rule, chain = _dispatch(number, ip)
    match = rule.removeprefix("-A KUBE-SERVICES ").rpartition(" -j ")[0]
    yield f":{chain} - [0:0]"
    yield f"-A {chain} {match} ! -s {cluster.POD_RANGE} -j KUBE-MARK-MASQ"
    for place, endpoint in enumerate(endpoints):
        address = cluster.endpoint_address(endpoint)
        target = f"KUBE-SEP-{_hash(f'{chain} {address}')}"
        chance = f"-m statistic --mode random --probability {1 / (len(endpoints) - place):.10f} "
        yield f":{target} - [0:0]"
        yield f"-A {chain} {chance if place < len(endpoints) - 1 else ''}-j {target}"
        yield f"-A {target} -s {address} -j KUBE-MARK-MASQ"
        yield f"-A {target} -m tcp -p tcp -j DNAT --to-destination {address}:{cluster.TARGET_PORT}"


def layout(services: int, endpoints: int) -> str:
    """All of it."""
    lines = ["*nat", *STATIC.splitlines()]
    for number, ip in enumerate(cluster.cluster_ips(services)):
        lines += _service_chains(number, ip, list(range(number * endpoints, (number + 1) * endpoints)))
        lines.append(_dispatch(number, ip)[0])
    return "\n".join([*_chains_first(lines), HOOKS.rstrip(), "COMMIT", ""])


def change(services: int, endpoints: int, number: int) -> str:
    """One endpoint of a Service replaced."""
    ips = cluster.cluster_ips(services)
    first, fresh = number * endpoints, cluster.fresh_endpoint(services, endpoints, number)
    lines = ["*nat", ":KUBE-SERVICES - [0:0]"]
    lines += _service_chains(number, ips[number], [fresh, *range(first + 1, first + endpoints)])
    lines += [_dispatch(place, ip)[0] for place, ip in enumerate(ips)]
    return "\n".join([*_chains_first(lines), "COMMIT", ""])


def _chains_first(lines: list[str]) -> list[str]:
    return sorted(lines, key=lambda line: not line.startswith(("*", ":")))


def restore_s(text: str) -> float:
    """How long iptables-restore takes for it."""
    began = time.monotonic()
    subprocess.run(RESTORE, input=text, text=True, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Arguments: Services, endpoints per Service."""
    services, endpoints = map(int, sys.argv[1:])
    result = {
        "programmed_s": restore_s(layout(services, endpoints)),
        "change_ms": 1000
        * statistics.median(
            restore_s(change(services, endpoints, place * services // CHANGES)) for place in range(CHANGES)
        ),
        "connect_us": packets.measure(services, endpoints),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
