"""Where IPVS is measured: in this kernel, or, where it has none, in the one that scripts/uml boots."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMORY = "UML_MEMORY=2G"


def in_user_mode_linux(arguments: Sequence[str]) -> int:
    """Measure there; the exit status."""
    sys.stderr.write("bench: this kernel has no IPVS, so everything is measured in User Mode Linux (scripts/uml)\n")
    command = ["env", MEMORY, str(ROOT / "scripts" / "uml"), sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def kernel() -> str:
    """The kernel's release, and that it is an emulated one if it is."""
    emulated = "User Mode Linux" in Path("/proc/cpuinfo").read_text(encoding="ascii")
    return f"{platform.release()}{' (User Mode Linux: emulated, one processor)' if emulated else ''}"
