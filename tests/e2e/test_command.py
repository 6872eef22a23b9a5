"""The program on a kernel of its own: run, diff, explain --live, signals, and what is missing said in a sentence."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fakes.namespace import in_new_namespace, ip
from tests.fakes.program import COMMAND, Ran, run_program, running

pytestmark = pytest.mark.root

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
SHOP = MANIFESTS / "shop"
NODE = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a")
BACKENDS = pytest.mark.parametrize("backend", ["iptables", "nftables"])
READY = "synced for the first time"
WAIT_S = 2.0
"""How long ending may take."""
LISTING = {"iptables": ["iptables-save", "-t", "nat"], "nftables": ["nft", "list", "ruleset"]}


def rules(backend: str) -> str:
    return subprocess.run(LISTING[backend], check=True, capture_output=True, text=True).stdout


def read_until_ready(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """The log's lines until both families have been synced."""
    lines: list[dict[str, object]] = []
    assert process.stderr is not None
    while sum(line["event"] == READY for line in lines) < 2:
        text = process.stderr.readline()
        assert text, f"ended too early: {lines}"
        lines.append(json.loads(text))
    return lines


@BACKENDS
def test_run_once_programs_and_diff_says_so_before_and_after(backend: str) -> None:
    def life() -> tuple[Ran, Ran, Ran, Ran]:
        diff = ("diff", "--backend", backend, "-f", str(SHOP), *NODE)
        before = run_program(*diff)
        once = run_program("run", "--once", "--backend", backend, "--source", str(SHOP), *NODE)
        after = run_program(*diff)
        question = ("explain", "--live", "--backend", backend, "-f", str(SHOP), *NODE, "-o", "json")
        return before, once, after, run_program(*question, "--flow", "203.0.113.7,198.51.100.10:80/TCP")

    before, once, after, explained = in_new_namespace(life)
    assert before.code == 1
    assert before.out.startswith(f"IPv4, {backend}: ")
    assert all(line[:2] in ("+ ", "IP") for line in before.out.splitlines())
    assert (once.code, once.out) == (0, "")
    assert (after.code, after.out) == (0, "")
    assert "nothing would change" in after.err
    assert explained.code == 0
    assert json.loads(explained.out)[0]["endpoints"] == [{"address": "10.64.1.10", "port": 8080, "probability": 1.0}]


def test_a_mixed_host_is_told_of_beside_the_answer() -> None:
    """A warning on standard output would spoil what other programs read."""

    def life() -> tuple[Ran, Ran]:
        for variant in ("nft", "legacy"):
            for arguments in (("-N", "ADMIN"), ("-A", "ADMIN", "-j", "RETURN")):
                subprocess.run([f"iptables-{variant}", *arguments], check=True)
        options = ("--backend", "iptables", *NODE)
        flow = ("--flow", "203.0.113.7,198.51.100.10:80/TCP", "-o", "json")
        explained = run_program("explain", "--live", "-f", str(SHOP), *options, *flow)
        return explained, run_program("run", "--once", "--source", str(SHOP), *options)

    explained, once = in_new_namespace(life)
    assert json.loads(explained.out)[0]["verdict"] == "PASS"
    assert (once.code, once.out) == (0, "")
    for told in (explained, once):
        (line,) = (line for line in told.err.splitlines() if "mixes iptables variants" in line)
        assert json.loads(line)["level"] == "warning"


@BACKENDS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_soon_and_leaves_the_rules(backend: str, number: signal.Signals, code: int) -> None:
    def life() -> tuple[int, str, str]:
        with running("run", "--backend", backend, "--source", str(SHOP), *NODE) as process:
            read_until_ready(process)
            process.send_signal(number)
            ended = process.wait(timeout=WAIT_S)
            assert process.stderr is not None
            return ended, process.stderr.read(), rules(backend)

    ended, log, left = in_new_namespace(life)
    assert ended == code
    assert json.loads(log.splitlines()[-1])["event"] == "stopped, the rules stay"
    assert "10.64.1.10" in left


@BACKENDS
def test_a_manifest_that_changes_is_in_the_kernel_soon(backend: str, tmp_path: Path) -> None:
    text = (SHOP / "shop.yaml").read_text()
    (tmp_path / "shop.yaml").write_text(text)

    def life() -> tuple[dict[str, object], str, str]:
        with running("run", "--backend", backend, "--source", str(tmp_path), *NODE) as process:
            read_until_ready(process)
            assert process.stderr is not None
            (tmp_path / "shop.yaml").write_text(text.replace("10.64.2.10", "10.64.2.77"))
            changed = json.loads(process.stderr.readline())
            before = rules(backend)
            (tmp_path / "shop.yaml").write_text("kind: [")
            broken = json.loads(process.stderr.readline())
            assert rules(backend) == before
            return changed, before, str(broken)

    changed, left, broken = in_new_namespace(life)
    assert (changed["event"], changed["family"]) == ("synced", "IPv4")
    assert "10.64.2.77" in left
    assert "10.64.2.10" not in left
    assert "shop.yaml:" in broken


def test_an_address_that_comes_takes_node_ports_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        "nodePortAddresses: [198.18.0.0/15, 192.0.2.0/24]\n"
    )

    def life() -> tuple[str, str]:
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("address", "add", "192.0.2.11/24", "dev", "v0")
        arguments = ("--backend", "nftables", "--source", str(SHOP), "--config", str(config), "--node-name", "node-a")
        with running("run", *arguments) as process:
            read_until_ready(process)
            before = rules("nftables")
            ip("address", "add", "198.18.0.11/15", "dev", "v0")
            assert process.stderr is not None
            process.stderr.readline()
            return before, rules("nftables")

    before, after = in_new_namespace(life)
    assert "192.0.2.11" in before
    assert "198.18.0.11" not in before
    assert "198.18.0.11" in after


def test_localhost_node_ports_set_their_sysctl() -> None:
    def look() -> str:
        return subprocess.run(
            ["sysctl", "-n", "net.ipv4.conf.all.route_localnet"], check=True, capture_output=True, text=True
        ).stdout.strip()

    def life() -> tuple[str, str]:
        before = look()
        run_program("run", "--once", "--backend", "iptables", "--source", str(SHOP), *NODE)
        return before, look()

    assert in_new_namespace(life) == ("0", "1")


def test_the_backend_is_chosen_and_the_reason_is_in_the_log() -> None:
    def life() -> list[dict[str, object]]:
        with running("run", "--source", str(SHOP), *NODE) as process:
            return read_until_ready(process)

    first = in_new_namespace(life)[0]
    assert (first["event"], first["backend"], first["why"]) == ("backend chosen", "nftables", "nftables works here")


def wrapped(wrapper: list[str], *arguments: str) -> Ran:
    """The program, started by another one."""
    done = subprocess.run([*wrapper, *COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
WITHOUT_TOOLS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh"]


@BACKENDS
@pytest.mark.parametrize("command", [("run", "--source"), ("diff", "-f")])
def test_without_privileges_one_sentence_says_what_is_missing(backend: str, command: tuple[str, str]) -> None:
    done = wrapped(POWERLESS, command[0], "--backend", backend, command[1], str(SHOP), *NODE)
    assert (done.code, done.out) == (3, "")
    (line,) = done.err.splitlines()
    assert line.startswith("kproxy: ")
    assert "root" in line


def test_without_iptables_one_sentence_says_how_to_get_it() -> None:
    arguments = ("run", "--once", "--backend", "iptables", "--source", str(SHOP), *NODE)
    done = in_new_namespace(lambda: wrapped(WITHOUT_TOOLS, *arguments))
    assert (done.code, done.out) == (3, "")
    (line,) = done.err.splitlines()
    assert line.startswith("kproxy: ")
    assert "iptables" in line
    assert "install" in line


def test_without_iptables_nftables_needs_none() -> None:
    arguments = ("run", "--once", "--source", str(SHOP), *NODE)
    assert in_new_namespace(lambda: wrapped(WITHOUT_TOOLS, *arguments)).code == 0


def test_render_can_be_loaded() -> None:
    def life() -> list[int]:
        codes = []
        text = run_program("render", "--backend", "nftables", "-f", str(SHOP), *NODE).out
        codes.append(subprocess.run(["nft", "-f", "-"], input=text, text=True, check=False).returncode)
        for family, program in (("ipv4", "iptables-restore"), ("ipv6", "ip6tables-restore")):
            text = run_program("render", "--backend", "iptables", "-f", str(SHOP), *NODE, "--family", family).out
            codes.append(subprocess.run([program, "--noflush"], input=text, text=True, check=False).returncode)
        return codes

    assert in_new_namespace(life) == [0, 0, 0]
