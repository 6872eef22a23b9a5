"""Connections: `kproxy conntrack stats` and `list -o json` against `conntrack -L`, over one table in one run.

`scripts/bench conntrack [--flows N]`, as root. The flows are entered by
netlink into a namespace of their own. The limit is one for the whole machine
(nf_conntrack_max); where it is too low it is raised for that moment and put back, whatever happens.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from conntrack import layout
from conntrack.layout import AF_INET, SUBSYSTEM, TCP, UDP, Status
from kproxy.effects.netlink import NetlinkSocket
from kproxy.netlink.attributes import attribute, nested, u8, u16, u32
from kproxy.netlink.messages import NLM_F_CREATE, NLM_F_EXCL, netfilter
from tests.fakes.namespace import in_new_namespace

FLOWS = 300_000
CLIENTS, SERVICES, ENDPOINTS = 50_000, 1000, 5
ROUNDS = 5
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
NAT_DST = 13
TCP_PORTION = 3
"""Of so many flows all but one are TCP."""
KPROXY = Path(sys.executable).with_name("kproxy")
COMMANDS: dict[str, Sequence[str]] = {
    "conntrack -L": ("conntrack", "-L"),
    "kproxy conntrack stats": (str(KPROXY), "conntrack", "stats"),
    "kproxy conntrack list": (str(KPROXY), "conntrack", "list"),
    "kproxy conntrack list -o json": (str(KPROXY), "conntrack", "list", "-o", "json"),
}


class Measured(NamedTuple):
    """The best of some runs."""

    wall_s: float
    processor_s: float
    peak_mib: float


def report(flows: int = FLOWS) -> str:
    """The figures, and each as a multiple of conntrack's own."""
    with raised_limit(flows + flows // 4):
        results = in_new_namespace(lambda: _fill_and_measure(flows))
    reference = results["conntrack -L"]
    lines = [f"{flows} flows, best of {ROUNDS} runs in turn"]
    for name, one in results.items():
        ratio = one.wall_s / reference.wall_s
        figures = f"{one.wall_s:6.2f} s  {one.processor_s:6.2f} s cpu  {one.peak_mib:6.0f} MiB  {ratio:5.2f} x"
        lines.append(f"{name:<32} {figures}")
    return "\n".join(lines)


@contextlib.contextmanager
def raised_limit(flows: int) -> Iterator[None]:
    """Room for so many flows while the block runs."""
    before = LIMIT.read_text()
    if int(before) >= flows:
        yield
        return
    LIMIT.write_text(str(flows))
    try:
        yield
    finally:
        LIMIT.write_text(before)


def _fill_and_measure(flows: int) -> dict[str, Measured]:
    rules = "table ip nat {\n chain output {\n type nat hook output priority -100\n }\n}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    fill(flows)
    runs: dict[str, list[Measured]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            runs[name].append(_measure(command))
    return {name: Measured(*map(min, zip(*found, strict=True))) for name, found in runs.items()}


def _measure(command: Sequence[str]) -> Measured:
    """One run, started by a process of its own: the kernel tells the peak of memory of all children together."""
    wrapped = [sys.executable, "-S", "-c", _WRAPPER, *command]
    done = subprocess.run(wrapped, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    wall, spent, peak = done.stderr.split()[-3:]
    return Measured(float(wall), float(spent), int(peak) / 1024)


_WRAPPER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


def fill(flows: int) -> None:
    """Enter that many translated flows of many clients to many Services."""
    kind = SUBSYSTEM << 8 | layout.NEW
    with NetlinkSocket() as socket:
        for number in range(flows):
            socket.request(kind, _flow(number), NLM_F_CREATE | NLM_F_EXCL)


def _flow(number: int) -> bytes:
    service = number % SERVICES
    client = struct.pack(">I", 0x0A000000 + number // 7 % CLIENTS)
    vip = struct.pack(">I", 0x0A600000 + service)
    endpoint = struct.pack(">I", 0x0A400000 + service * ENDPOINTS + number % ENDPOINTS)
    protocol = TCP if number % TCP_PORTION else UDP
    source_port = 1024 + number // CLIENTS * 5000 + number % 5000
    target = u16(1, 8080) + u16(2, 8080)
    parts = [
        _tuple(layout.TUPLE_ORIG, client, vip, protocol, source_port, 80),
        _tuple(layout.TUPLE_REPLY, vip, client, protocol, 80, source_port),
        u32(layout.TIMEOUT, 864000),
        u32(layout.STATUS, Status.SEEN_REPLY | Status.ASSURED | Status.CONFIRMED),
        nested(NAT_DST, attribute(1, endpoint), attribute(2, endpoint), nested(3, target)),
    ]
    if protocol == TCP:
        flags = attribute(4, b"\x0a\x00"), attribute(5, b"\x0a\x00")
        parts.append(nested(layout.PROTOINFO, nested(layout.PROTOINFO_TCP, u8(1, 3), *flags)))
    return netfilter(AF_INET, *parts)


def _tuple(kind: int, source: bytes, destination: bytes, protocol: int, source_port: int, port: int) -> bytes:
    return nested(
        kind,
        nested(layout.TUPLE_IP, attribute(layout.IP_V4_SRC, source), attribute(layout.IP_V4_DST, destination)),
        nested(
            layout.TUPLE_PROTO,
            u8(layout.PROTO_NUM, protocol),
            u16(layout.PROTO_SRC_PORT, source_port),
            u16(layout.PROTO_DST_PORT, port),
        ),
    )
