"""The laboratory is believed by the packet tests; so it is tested first, without any proxy in it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import LEASH, ROOT, LabError, Machine, Target, probe_all
from lab.topology import NODE_IPS, PODS, PORTS, REMOTE_POD, SECOND_OUTSIDE_IPS, Lab, laboratory

pytestmark = pytest.mark.root

PROTOCOLS = ("TCP", "UDP", "SCTP")
FAMILIES = (0, 1)
BLACK_HOLE, CLOSED, NOWHERE = "198.51.100.77", NODE_IPS[0], "198.51.100.78"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as built:
        built.node.ip([f"route add blackhole {BLACK_HOLE}", f"route add unreachable {NOWHERE}"])
        yield built


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", FAMILIES)
def test_pods_answer_with_their_own_address_and_the_source_that_they_saw(lab: Lab, protocol: str, family: int) -> None:
    here, there, remote = (PODS["pod-here"][family], PODS["pod-there"][family], REMOTE_POD[family])
    form = "[{}]:{} {}" if family else "{}:{} {}"
    for source, machine in ((here, lab.pod_here), (SECOND_OUTSIDE_IPS[family], lab.outside)):
        targets = [Target(address, PORTS[1], protocol, source, count=3) for address in (here, there, remote)]
        expected = [{form.format(address, PORTS[1], source): 3} for address in (here, there, remote)]
        assert machine.probe(*targets) == expected


@pytest.mark.parametrize(("protocol", "nowhere"), [("TCP", "UNREACHABLE"), ("UDP", "NONE")])
def test_refusal_silence_and_unreachability_are_told_apart(lab: Lab, protocol: str, nowhere: str) -> None:
    targets = [Target(address, 9, protocol, count=2) for address in (CLOSED, BLACK_HOLE, NOWHERE)]
    assert lab.pod_here.probe(*targets) == [{"REJECT": 2}, {"NONE": 2}, {nowhere: 2}]


def test_a_storm_of_probes_loses_none(lab: Lab) -> None:
    storm = [Target(REMOTE_POD[0], PORTS[0], protocol, count=1000) for protocol in ("TCP", "UDP")]
    answers = probe_all(dict.fromkeys((lab.pod_here, lab.pod_there, lab.outside), storm))
    assert [len(one) for machine in answers.values() for one in machine] == [1] * 6
    assert all(sum(one.values()) == 1000 and "NONE" not in one for machine in answers.values() for one in machine)


def test_silence_is_not_believed_when_the_control_is_silent_too(lab: Lab) -> None:
    silent = {lab.pod_here: [Target(BLACK_HOLE, 9)]}
    with pytest.raises(LabError, match="control"):
        probe_all(silent, {lab.pod_here: [Target(CLOSED, 9)]})
    assert probe_all(silent, lab.controls()) == {lab.pod_here: [{"NONE": 1}]}


def test_a_command_that_fails_says_where_and_why() -> None:
    with Machine("lonely") as machine, pytest.raises(LabError, match=r"lonely: ip -batch -: exit 1: .*nowhere"):
        machine.ip(["route add default via 192.0.2.1 dev nowhere"])


def test_an_order_that_cannot_be_obeyed_is_an_error_and_the_machine_lives_on() -> None:
    with Machine("lonely") as machine:
        with pytest.raises(LabError, match="lonely: FileNotFoundError"):
            machine.sysctl({"net/ipv4/no_such_thing": "1"})
        machine.sysctl({"net/ipv4/no_such_thing?": "1", "net/ipv4/ip_forward": "1"})
        assert machine.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


BUILD_AND_WAIT = """
import signal
from lab.topology import laboratory
with laboratory() as lab:
    agent = lab.node.start("sleep", "600")
    print(agent.pid, *(machine.process.pid for machine in lab.machines), flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_laboratory_dies(way: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUILD_AND_WAIT], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    with process, process.stdout:
        doors = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        process.send_signal(way)
        process.wait(10)
        # A pidfd is readable once its process has ended: waited for, not slept for.
        for door in doors:
            _wait_for_end(door)
            os.close(door)
    assert len(doors) == 6


def test_a_program_whose_laboratory_died_before_it_began_does_not_begin(tmp_path: Path) -> None:
    """The race of the test above, made certain: the process that is said to be the parent is not (any more)."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    marks = [tmp_path / "begun", tmp_path / "not begun"]
    done = [
        subprocess.run([*LEASH, str(parent), "touch", str(mark)], capture_output=True, text=True, check=False)
        for parent, mark in zip((os.getpid(), gone.pid), marks, strict=True)
    ]
    assert [mark.exists() for mark in marks] == [True, False]
    assert [one.returncode for one in done] == [0, 1]
    assert done[1].stderr == f"leash: process {gone.pid} is gone: touch is not started\n"


def test_ctrl_c_is_the_laboratorys_to_answer() -> None:
    """A terminal interrupts a whole process group; an inhabitant that has just begun would show a traceback."""
    with Machine("lonely") as machine:
        assert os.getpgid(machine.process.pid) == machine.process.pid != os.getpgrp()


def _wait_for_end(door: int) -> None:
    poll = select.poll()
    poll.register(door, select.POLLIN)
    assert poll.poll(10_000), "a process outlived its laboratory"


HOST_IS_UNTOUCHED = """
set -eu
mount -t tmpfs none /run
mkdir /run/netns
look() { ip -o link; ip -o address; ip rule; ip route show table all; ip netns list; nft list ruleset; ls /run/netns; }
look >"$1/before"
"$2" -c 'from lab.topology import laboratory
with laboratory() as lab: print(lab.node.run("ip", "-o", "link"))' | grep -c veth
look | diff "$1/before" -
"""


def test_the_host_sees_no_link_rule_or_name(tmp_path: Path) -> None:
    # A namespace of its own stands for the host, so that whatever else runs on this machine does not disturb.
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", HOST_IS_UNTOUCHED, "sh", str(tmp_path), sys.executable],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_machine_that_is_closed_in_the_middle_of_an_order_ends_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with Machine("lonely") as machine:
        for _ in range(3):
            machine.ask({"order": "sysctl", "values": {}})
    assert machine.process.returncode == 0
    assert capfd.readouterr() == ("", "")
