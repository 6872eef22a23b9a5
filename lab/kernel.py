"""What the running kernel can do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def is_ours() -> bool:
    """Whether it was started for us, by scripts/uml, and may be changed as a whole."""
    return "User Mode Linux" in Path("/proc/cpuinfo").read_text()


def has_ipvs() -> bool:
    """Whether it has ip_vs, loaded or to be loaded."""
    if Path("/proc/net/ip_vs").exists():
        return True
    modprobe = shutil.which("modprobe")
    return modprobe is not None and subprocess.run([modprobe, "-q", "ip_vs"], check=False).returncode == 0
