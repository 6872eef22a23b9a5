"""The door to what /proc says of this machine: capabilities, processes, listening ports, kernel parameters. Read only.

Rules kept: only what is in the caller's network namespace counts; what an ordinary user may not see is left out, never
an error.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from kproxy.core.doctor.facts import Listening, Process
from kproxy.effects.network import PROC_SYS

PROC: Final = Path("/proc")
CAPABILITIES: Final = {
    12: "CAP_NET_ADMIN",
    13: "CAP_NET_RAW",
    16: "CAP_SYS_MODULE",
    21: "CAP_SYS_ADMIN",
}
"""By bit (capabilities(7)): those that change what kproxy can do."""
LISTEN: Final = "0A"
"""TCP_LISTEN, as /proc/net/tcp writes it."""


def effective_capabilities() -> frozenset[str]:
    """Those of this process that matter."""
    status = (PROC / "thread-self" / "status").read_text(encoding="ascii", errors="replace")
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    bits = int(line.split()[1], 16)
    return frozenset(name for bit, name in CAPABILITIES.items() if bits >> bit & 1)


def parameter(name: str) -> str | None:
    """A kernel parameter's value; None if there is none of this name, or it may not be read."""
    try:
        return _parameter_path(name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def is_writable(name: str) -> bool:
    """Whether this process could set a kernel parameter."""
    return os.access(_parameter_path(name), os.W_OK)


def _parameter_path(name: str) -> Path:
    return PROC_SYS / name.replace(".", "/")


def links() -> frozenset[str]:
    """The names of this namespace's interfaces."""
    return frozenset(name for _, name in socket.if_nameindex())


def processes(names: Collection[str]) -> tuple[Process, ...]:
    """The processes of these names (as the kernel has them, 15 characters) in this network namespace."""
    own = (PROC / "thread-self" / "ns" / "net").readlink()
    found = []
    for directory in _process_directories():
        try:
            name = (directory / "comm").read_text(encoding="utf-8", errors="replace").strip()
            if name in names and _namespace(directory) in (None, own):
                found.append(Process(int(directory.name), name))
        except OSError:  # it has ended
            continue
    return tuple(sorted(found, key=lambda one: one.pid))


def _process_directories() -> Iterator[Path]:
    return (directory for directory in PROC.iterdir() if directory.name.isdecimal())


def _namespace(directory: Path) -> Path | None:
    """None where we may not look."""
    try:
        return (directory / "ns" / "net").readlink()
    except PermissionError:
        return None


def listening(ports: Collection[int]) -> tuple[Listening, ...]:
    """Who listens on these TCP ports."""
    sockets: dict[str, tuple[str, int]] = {}
    for name in ("tcp", "tcp6"):
        try:
            sockets |= listeners((PROC / "thread-self" / "net" / name).read_text(encoding="ascii"))
        except FileNotFoundError:  # no IPv6
            continue
    wanted = {inode: place for inode, place in sockets.items() if place[1] in ports}
    owners = _owners(wanted) if wanted else {}
    return tuple(Listening(address, port, owners.get(inode)) for inode, (address, port) in wanted.items())


def listeners(table: str) -> dict[str, tuple[str, int]]:
    """Address and port by inode, of the sockets that listen in the text of /proc/net/tcp or tcp6."""
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN:
            address, _, port = fields[1].partition(":")
            found[fields[9]] = (_address(address), int(port, 16))
    return found


def _address(text: str) -> str:
    """An address as /proc/net/tcp writes it: words of 32 bits in the machine's order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words)))


def _owners(inodes: Collection[str]) -> dict[str, Process]:
    """The processes that hold these sockets, as far as we may see."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, Process] = {}
    for directory in _process_directories():
        try:
            mine = wanted.keys() & set(_held(directory / "fd"))
            if mine:
                name = (directory / "comm").read_text(encoding="utf-8", errors="replace").strip()
                found |= {wanted[one]: Process(int(directory.name), name) for one in mine}
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def _held(descriptors: Path) -> Iterator[str]:
    for one in descriptors.iterdir():
        try:
            yield str(one.readlink())
        except FileNotFoundError:  # it has been closed
            continue
