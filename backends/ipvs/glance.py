"""A cheap look at what the kernel tells nobody about: virtual servers, as /proc shows them, and the members of sets.

Reading every virtual server's real servers by netlink takes a request for each; the file shows all in one. What is in
it of the moment, the counts of connections, is left out.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from kproxy.core.values import Family

TABLE: Final = Path("/proc/thread-self/net/ip_vs")
COUNTS: Final = re.compile(rb" +\d+ +\d+ *$", re.MULTILINE)
"""The last two columns of a real server's line: active and inactive connections."""


def read_table() -> bytes:
    """The table of virtual servers of the calling thread's network namespace; empty if IPVS is not there."""
    try:
        return TABLE.read_bytes()
    except FileNotFoundError:
        return b""


def fingerprint(family: Family, table: bytes, sets: bytes) -> bytes:
    """A digest of both, of one family's lines.

    The file does not say of a server that is known by a mark what family it is of, only of its real servers; so these
    stand for it.
    """
    is_v6 = family is Family.IPV6
    lines = [line for line in COUNTS.sub(b"", table).split(b"\n") if (b"[" in line) is is_v6 and line[:3] != b"FWM"]
    digest = hashlib.blake2b(b"\n".join(lines), digest_size=16)
    digest.update(sets)
    return digest.digest()
