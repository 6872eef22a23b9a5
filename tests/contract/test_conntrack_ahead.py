"""A dump by way of a child process is the same dump, with the same errors, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from conntrack.ahead import AheadSocket
from conntrack.entry import Entry
from conntrack.requests import ALL, Selection, dumps
from conntrack.table import Table
from kproxy.effects.netlink import NetlinkSocket
from kproxy.netlink.messages import first_sequence
from tests.bench.connections import fill
from tests.fakes import flows
from tests.fakes.namespace import in_new_namespace

pytestmark = [
    pytest.mark.root,
    # Python 3.12 and later: here a thread holds the namespace and waits; commands have none.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def entries(table: Table, selection: Selection = ALL) -> dict[int, Entry]:
    with table:
        return {entry.id: entry for entry in table.entries(selection)}


def no_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


def test_the_same_flows_filtered_or_not() -> None:
    def look() -> None:
        flows.prepare()
        fill(5000)
        for selection in (ALL, Selection(protocol=17), Selection(source="10.0.0.7")):
            direct = entries(Table(), selection)
            assert direct
            assert entries(Table(AheadSocket), selection).keys() == direct.keys()
        assert no_children()

    in_new_namespace(look)


def test_errors_of_the_kernel_are_the_callers() -> None:
    def look() -> None:
        (kind, payload), *_ = dumps(Selection(protocol=17))
        without_family = b"\0" + payload[1:]
        with AheadSocket() as socket, pytest.raises(OSError, match="not supported") as refused:
            list(socket.dump_buffers(kind, without_family))
        assert refused.value.errno == errno.EOPNOTSUPP
        assert no_children()

    in_new_namespace(look)


def test_whoever_wants_no_more_may_go() -> None:
    def look() -> None:
        flows.prepare()
        fill(20_000)
        with AheadSocket() as socket:
            buffers = socket.dump_buffers(*dumps(ALL)[0])
            assert first_sequence(next(buffers)) > 0
            buffers.close()
        assert no_children()

    in_new_namespace(look)


DYING = """
import os, signal
from conntrack import ahead

def hand_on(writer, buffers):
    os.kill(os.getpid(), signal.SIGKILL)

ahead._hand_on = hand_on
try:
    list(ahead.AheadSocket().dump_buffers(0x101, bytes(4)))
except OSError as error:
    print(error.errno)
"""


def test_a_child_that_dies_is_an_error_and_no_hang() -> None:
    done = subprocess.run([sys.executable, "-c", DYING], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == errno.EIO


def test_other_requests_go_straight_to_the_kernel() -> None:
    def look() -> None:
        with Table(AheadSocket) as ahead, Table(NetlinkSocket) as direct:
            assert ahead.limits() == direct.limits()

    in_new_namespace(look)
