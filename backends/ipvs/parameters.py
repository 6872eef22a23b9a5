"""Kernel parameters that IPVS needs: set where they differ, and read back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from backends.ipvs.objects import Sysctl
from kproxy.effects import network

REUSE_MODE: Final = network.Sysctl("net.ipv4.vs.conn_reuse_mode", "0")
REUSE_HARMFUL: Final = ((4, 1), (5, 9))
"""Kernels on which a reused port waits a second for a real server (torvalds/linux f0a5e4d7a594, in 5.9)."""


def wants_reuse_off(release: str) -> bool:
    """Whether a kernel of this release (`uname -r`) needs conn_reuse_mode 0."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return found is not None and REUSE_HARMFUL[0] <= (int(found[1]), int(found[2])) < REUSE_HARMFUL[1]


def set_sysctls(wanted: Mapping[Sysctl, str], release: str = os.uname().release) -> None:
    """Write parameters where they differ; what cannot be written is found by `read_sysctls`."""
    several = [network.Sysctl(key.name, value) for key, value in wanted.items()]
    if several and wants_reuse_off(release):
        several.append(REUSE_MODE)
    for one in several:
        network.ensure(one)


def read_sysctls(names: Iterable[Sysctl]) -> Iterator[tuple[Sysctl, str]]:
    """The parameters as they stand."""
    for key in names:
        yield key, (network.PROC_SYS / key.name.replace(".", "/")).read_text(encoding="ascii").strip()
