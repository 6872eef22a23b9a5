"""Starts a program under a seccomp profile, as a container runtime does: `python seccomp.py PROFILE COMMAND...`.

The profile is compiled by libseccomp, which runc, crun and apt use too. A program of its own: what it takes away does
not come back. Standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

PR_SET_NO_NEW_PRIVS = 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
COMPARISONS = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}
UNKNOWN = -1
"""__NR_SCMP_ERROR: no system call of this name on any architecture."""


class Comparison(ctypes.Structure):
    """scmp_arg_cmp."""

    _fields_ = (
        ("index", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_two", ctypes.c_uint64),
    )


def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_init.argtypes = [ctypes.c_uint32]
    loaded.seccomp_load.argtypes = [ctypes.c_void_p]
    loaded.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison),
    ]  # fmt: skip
    return loaded


def load(profile: dict[str, Any]) -> None:
    """Put it in force for this process and all that it starts."""
    seccomp = library()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO", "the only form that is used here"
    context = seccomp.seccomp_init(ERRNO | profile["defaultErrnoRet"])
    for rule in profile["syscalls"]:
        assert rule["action"] == "SCMP_ACT_ALLOW", "the only form that is used here"
        arguments = [
            Comparison(one["index"], COMPARISONS[one["op"]], one["value"], one.get("valueTwo", 0))
            for one in rule.get("args", ())
        ]
        for name in rule["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            assert number != UNKNOWN, f"{name} is no system call that libseccomp knows"
            result = seccomp.seccomp_rule_add_array(
                context, ALLOW, number, len(arguments), (Comparison * len(arguments))(*arguments)
            )
            assert result == 0, f"{name}: {os.strerror(-result)}"
    assert ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    result = seccomp.seccomp_load(context)
    assert result == 0, os.strerror(-result)


if __name__ == "__main__":
    load(json.loads(Path(sys.argv[1]).read_text()))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - the program under test
