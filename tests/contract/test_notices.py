"""The door to the kernel's notifications, against a real kernel: who is heard and who is not, and a flood."""

from __future__ import annotations

import queue
import socket
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from backends.iptables.kernel import IptablesKernel
from backends.nftables import BACKEND as NFTABLES
from backends.nftables.kernel import NftablesKernel
from kproxy.core.document import diff
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.notices import Notices
from kproxy.effects.xtables import Tools, Variant
from kproxy.errors import KernelError
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Watched
from tests.fakes.namespace import in_new_namespace, ip
from tests.properties.strategies import Scene, histories

pytestmark = pytest.mark.root

PATIENCE_S = 60.0
LAST = Interest(Family.IPV6, frozenset({"last"}), link="last")
"""Its change says that all before it has been heard: the kernel tells of rules in order, and of links."""
VIP = Interest(Family.IPV4, link="vips")


def nft(*commands: str) -> None:
    text = "".join(f"{line}\n" for line in commands)
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


class Heard:
    """What is told."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Touch] = queue.Queue()
        self.errors: list[KernelError] = []

    def so_far(self) -> list[Touch]:
        """All touches since the last call."""
        nft("add table ip6 last", "delete table ip6 last")
        found: list[Touch] = []
        while not found or found[-1].family is not LAST.family:
            found.append(self.queue.get(timeout=PATIENCE_S))
        return found[:-1]


def hearing(check: Callable[[Heard], None], *interests: Interest) -> None:
    """Call while notifications are heard, in the namespace of the caller."""
    heard = Heard()
    notices = Notices([*interests, LAST])
    notices.start(heard.queue.put, heard.errors.append)
    try:
        check(heard)
    finally:
        notices.stop()
    assert heard.errors == []


def test_somebody_elses_change_of_our_table_is_told_with_the_name_of_the_program() -> None:
    def check(heard: Heard) -> None:
        nft("add table ip kproxy", "add chain ip kproxy ours")
        nft("add table ip theirs", "add table ip6 kproxy", "add table inet kproxy")
        nft("add rule ip kproxy ours accept")
        nft("flush ruleset")
        told = heard.so_far()
        assert [touch.family for touch in told] == [Family.IPV4] * 3
        assert all(touch.by == f"nft (process {touch.port})" for touch in told)

    in_new_namespace(lambda: hearing(check, Interest(Family.IPV4, frozenset({"kproxy"}))))


def test_of_our_own_writes_to_our_table_nothing_is_told_whatever_they_are() -> None:
    """Through random lives of a cluster: the kernel drops what came of our sockets before it fills a buffer."""

    def check(heard: Heard, kernel: NftablesKernel) -> None:
        @settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
        @given(histories(NFTABLES.traits))
        def each(history: list[Scene]) -> None:
            for scene in history:
                if scene.family is Family.IPV4:
                    kernel.apply(diff(kernel.observe(), NFTABLES.compile(scene.plan().plan, None).document))
            assert heard.so_far() == []

        each()
        nft("flush table ip kproxy")
        (touch,) = heard.so_far()
        assert not kernel.is_own(touch)

    def body() -> None:
        kernel = NFTABLES.open(Family.IPV4)
        assert isinstance(kernel, Watched)
        try:
            hearing(lambda heard: check(heard, kernel), kernel.interest())
        finally:
            kernel.close()

    in_new_namespace(body)


def test_a_program_of_ours_is_told_of_and_known() -> None:
    tools = Tools(Variant.NFT, "iptables-nft-save", "iptables-nft-restore")

    def check(heard: Heard) -> None:
        text = "*nat\n:KPROXY-A - [0:0]\n-I PREROUTING -j KPROXY-A\nCOMMIT\n"
        assert process.run([tools.restore, "--noflush"], text, PATIENCE_S).status == 0
        (touch,) = heard.so_far()
        assert kernel.is_own(touch)
        subprocess.run(["iptables-nft", "-t", "nat", "-D", "PREROUTING", "-j", "KPROXY-A"], check=True)
        subprocess.run(["iptables-nft", "-t", "nat", "-A", "PREROUTING", "-j", "ACCEPT"], check=True)
        (touch,) = heard.so_far()
        assert touch.by.startswith("iptables-nft (process ")
        assert not kernel.is_own(touch)

    kernel = IptablesKernel(tools, process.run, Family.IPV4)
    in_new_namespace(lambda: hearing(check, kernel.interest()))


def test_addresses_of_our_link_are_told_and_no_others() -> None:
    def check(heard: Heard) -> None:
        for command in (
            "link add vips type veth peer name other",
            "link set vips up",
            "address add 10.96.0.10/32 dev vips",
            "address add 10.96.0.11/32 dev lo",
            "address delete 10.96.0.11/32 dev lo",
            "address delete 10.96.0.10/32 dev vips",
            "link delete vips",
            "link add last type veth peer name first",
        ):
            ip(*command.split())
        told: list[Touch] = []
        while not told or told[-1].family is not LAST.family:
            told.append(heard.queue.get(timeout=PATIENCE_S))
        named = [(touch.address, touch.is_gone) for touch in told if touch.address]
        assert named == [("10.96.0.10", False), ("10.96.0.10", True)]
        assert told[-2] == Touch(Family.IPV4, told[-2].port, told[-2].by), "the link went"

    in_new_namespace(lambda: hearing(check, VIP))


def test_lost_notifications_are_a_touch_of_everything() -> None:
    """A buffer of the smallest size, and a transaction that does not fit in it while nobody listens."""

    def body() -> None:
        heard = Heard()
        notices = Notices([Interest(Family.IPV4, frozenset({"kproxy"})), LAST])
        assert notices._rules is not None
        notices._rules._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        nft("add table ip kproxy", "add chain ip kproxy ours", *["add rule ip kproxy ours accept"] * 3000)
        notices.start(heard.queue.put, heard.errors.append)
        try:
            assert [heard.queue.get(timeout=PATIENCE_S) for _ in Family] == [Touch(Family.IPV4), Touch(LAST.family)]
        finally:
            notices.stop()
        assert heard.errors == []

    in_new_namespace(body)
