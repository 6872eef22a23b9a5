"""`deploy/seccomp/kproxy.json` leaves the agent and its commands all they need, with each backend, and nothing else."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.pages import HEALTHZ_PORT, get, is_ready, scraped, until
from tests.e2e.test_capabilities import GIVEN, NODE, load_modules
from tests.fakes import seccomp
from tests.fakes.namespace import in_new_namespace
from tests.fakes.program import COMMAND, TIMEOUT_S

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "deploy" / "seccomp" / "kproxy.json"
BOUNDING = ",".join(["-all", *(f"+{name}" for name in GIVEN)])
CONFINED = [
    *(sys.executable, str(seccomp.__file__), str(PROFILE)),
    *("setpriv", "--bounding-set", BOUNDING, "--inh-caps", "-all", "--no-new-privs"),
]
"""What the DaemonSet's container is held to."""
PACKETS, AUDIT = 17, 9
"""AF_PACKET, NETLINK_AUDIT."""


def confined(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CONFINED, *command], capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False, cwd=cwd
    )


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_an_agent_lives_its_life_under_it(backend: str, tmp_path: Path) -> None:
    """It starts, serves, hears of rules that are gone, follows a change, is asked by commands, and ends."""
    shop = tmp_path / "shop"
    shutil.copytree(NODE[-1], shop)
    options = ("--backend", backend, *NODE[:-1], str(shop))

    def synced() -> float:
        samples = scraped()["kubeproxy_sync_proxy_rules_duration_seconds"].samples
        return float(sum(one.value for one in samples if one.name.endswith("_count")))

    def body() -> str:
        with subprocess.Popen([*CONFINED, *COMMAND, "run", *options], stderr=subprocess.PIPE, text=True) as agent:
            try:
                until(is_ready)
                assert get(HEALTHZ_PORT, "/healthz")[0] == 200
                subprocess.run(["nft", "flush", "ruleset"], check=True)
                until(lambda: "10.96.0.10" in rules())
                before = synced()
                next(shop.iterdir()).unlink()
                until(lambda: synced() > before)
                for command in ["status"], ["conntrack", "list"], ["support-bundle", "--backend", backend]:
                    done = confined(*COMMAND, *command, cwd=tmp_path)
                    assert done.returncode == 0, done.stderr
                agent.send_signal(signal.SIGTERM)
                return agent.communicate(timeout=TIMEOUT_S)[1]
            finally:
                agent.kill()

    log = in_new_namespace(body)
    assert "stopped, the rules stay" in log
    assert '"level": "error"' not in log


def rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


@pytest.mark.ipvs
@pytest.mark.parametrize("backend", ["ipvs", "iptables"])
def test_the_backends_of_modules_work_under_it(backend: str) -> None:
    def body() -> str:
        load_modules(backend)
        done = confined(*COMMAND, "run", "--once", "--backend", backend, *NODE)
        assert done.returncode == 0, done.stderr
        shown = ["ipvsadm", "-Sn"] if backend == "ipvs" else ["iptables-save"]
        return subprocess.run(shown, capture_output=True, text=True, check=True).stdout

    assert "10.96.0.10" in in_new_namespace(body)


FORBIDDEN = {
    "a user namespace": "os.unshare(0x10000000)",
    "a mount": "assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "another process's memory": "assert libc.ptrace(16, 1, None, None) == 0",
    "a module": "assert libc.syscall(313, 0, b'', 0) == 0",
    "a program of eBPF": "assert libc.syscall(321, 0, None, 0) == 0",
    "packets that pass by": f"socket.socket({PACKETS}, socket.SOCK_RAW, 0)",
    "the audit of the kernel": f"socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {AUDIT})",
}
"""Numbers are x86-64's; the calls are made by what the standard library has not."""
ATTEMPT = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
os.unshare = getattr(os, 'unshare', lambda flags: 1 // (libc.unshare(flags) + 1))
try:
    {0}
except (OSError, AssertionError, ZeroDivisionError) as error:
    print(getattr(error, 'errno', None) or ctypes.get_errno())
"""


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_rest_does_not_exist_for_it(what: str) -> None:
    source = ATTEMPT.format(FORBIDDEN[what])
    held = [sys.executable, str(seccomp.__file__), str(PROFILE), sys.executable, "-c", source]
    tried = subprocess.run(held, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert tried.stdout.strip() == "38", (what, tried)


def test_it_is_in_the_form_that_container_runtimes_read() -> None:
    profile = json.loads(PROFILE.read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {rule["action"] for rule in profile["syscalls"]} == {"SCMP_ACT_ALLOW"}
    for rule in profile["syscalls"]:
        assert rule["names"] == sorted(set(rule["names"]))
    families = {rule["args"][0]["value"] for rule in profile["syscalls"] if "socket" in rule["names"]}
    assert families == {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
