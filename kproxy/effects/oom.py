"""How soon the kernel ends this process when memory runs out (proc_pid_oom_score_adj(5))."""

from __future__ import annotations

from pathlib import Path

OWN = Path("/proc/self/oom_score_adj")


def adjust(score: int, path: Path = OWN) -> str:
    """Set the score, -1000 (never) to 1000; the reason if it may not be, else nothing.

    Lowering it takes CAP_SYS_RESOURCE. In a pod the kubelet has set it already, by the pod's priority and limits.
    """
    try:
        if path.read_text().strip() != str(score):
            path.write_text(str(score))
    except OSError as error:
        return error.strerror or str(error)
    return ""
