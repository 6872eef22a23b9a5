"""What /proc says of a machine."""

from __future__ import annotations

import os
import socket

import pytest

from kproxy.core.doctor.facts import Listening, Process
from kproxy.effects import machine
from tests.fakes.namespace import in_new_namespace

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2809 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:2809 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000001000000:2810 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 103 1
   1: B80D0120000000000000000001000000:2810 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 104 1
"""


def test_listeners_are_those_that_listen() -> None:
    assert machine.listeners(TCP) == {"101": ("127.0.0.1", 10249)}
    assert machine.listeners(TCP6) == {"103": ("::1", 10256), "104": ("2001:db8::1", 10256)}


def test_a_table_without_sockets() -> None:
    assert machine.listeners(TCP.splitlines()[0]) == {}


@pytest.mark.root
def test_who_listens_in_this_namespace_and_nowhere_else() -> None:
    def look() -> tuple[tuple[Listening, ...], frozenset[str]]:
        with socket.create_server(("127.0.0.1", 10249)):
            return machine.listening({10249, 10256}), machine.links()

    name = machine.PROC.joinpath("self", "comm").read_text().strip()
    assert in_new_namespace(look) == ((Listening("127.0.0.1", 10249, Process(os.getpid(), name)),), {"lo"})


def test_parameters() -> None:
    assert machine.parameter("kernel.ostype") == "Linux"
    assert machine.parameter("net.no.such") is None
    assert not machine.is_writable("net.no.such")


def test_capabilities_are_known_by_name() -> None:
    assert machine.effective_capabilities() <= set(machine.CAPABILITIES.values())


def test_processes_are_found_by_their_kernel_name() -> None:
    name = machine.PROC.joinpath("self", "comm").read_text().strip()
    assert Process(os.getpid(), name) in machine.processes([name])
    assert machine.processes(["no-such-process"]) == ()
