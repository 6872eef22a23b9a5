"""While the doors are locked, nothing that could write gets out; what reads does."""

from __future__ import annotations

import threading

import pytest

from kproxy.effects.only_reading import WouldWrite, check_messages, check_program, is_held, only_reading
from kproxy.netlink.messages import NLM_F_REQUEST, batch_begin, message

ROUTE, NETFILTER, GENERIC = 0, 12, 16
NFTABLES, IPSET = 10 << 8, 6 << 8


def sent(protocol: int, *kinds: int, payload: bytes = b"") -> None:
    check_messages(protocol, b"".join(message(kind, NLM_F_REQUEST, 1, payload) for kind in kinds))


READS = [
    *((NETFILTER, NFTABLES | kind, b"") for kind in (1, 4, 7, 10, 13, 16, 19)),
    *((NETFILTER, IPSET | kind, b"") for kind in (1, 7, 12, 13)),
    *((ROUTE, kind, b"") for kind in (18, 22, 26)),
    (GENERIC, 16, b"\3\1\0\0"),
    *((GENERIC, 30, bytes([command, 1, 0, 0])) for command in (4, 8, 13)),
]
WRITES = [
    *((NETFILTER, NFTABLES | kind, b"") for kind in (0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 25)),
    *((NETFILTER, IPSET | kind, b"") for kind in (2, 3, 4, 5, 6, 9, 10)),
    *((NETFILTER, 1 << 8 | kind, b"") for kind in (0, 2, 3)),
    *((ROUTE, kind, b"") for kind in (16, 17, 19, 20, 21)),
    (GENERIC, 16, b"\4\1\0\0"),
    *((GENERIC, 30, bytes([command, 1, 0, 0])) for command in (1, 2, 3, 5, 6, 7, 12, 16, 17)),
    (GENERIC, 30, b""),
    (9, 1, b""),
]


@pytest.mark.parametrize(("protocol", "kind", "payload"), READS)
def test_what_reads_passes(protocol: int, kind: int, payload: bytes) -> None:
    with only_reading():
        sent(protocol, kind, payload=payload)


@pytest.mark.parametrize(("protocol", "kind", "payload"), WRITES)
def test_what_could_write_does_not(protocol: int, kind: int, payload: bytes) -> None:
    sent(protocol, kind, payload=payload)
    with only_reading(), pytest.raises(WouldWrite, match="could write"):
        sent(protocol, kind, payload=payload)


def test_a_write_behind_a_read_is_seen() -> None:
    with only_reading(), pytest.raises(WouldWrite):
        sent(NETFILTER, NFTABLES | 1, NFTABLES | 2)


def test_not_even_a_batch_that_would_not_be_committed_is_begun() -> None:
    with only_reading(), pytest.raises(WouldWrite):
        check_messages(NETFILTER, batch_begin(1, 10))


@pytest.mark.parametrize(
    "argv", [["iptables-save", "-t", "nat"], ["/usr/sbin/ip6tables-nft-save"], ["iptables-restore", "--version"]]
)
def test_programs_that_read_pass(argv: list[str]) -> None:
    with only_reading():
        check_program(argv)


@pytest.mark.parametrize(
    "argv", [["iptables-restore", "--noflush"], ["iptables", "-F"], ["nft", "--version", "-f"], ["ip"]]
)
def test_programs_that_could_write_do_not(argv: list[str]) -> None:
    check_program(argv)
    with only_reading(), pytest.raises(WouldWrite, match=argv[0]):
        check_program(argv)


def test_the_lock_is_one_threads_own_and_ends_with_its_block() -> None:
    seen: list[bool] = []
    with only_reading():
        assert is_held()
        thread = threading.Thread(target=lambda: seen.append(is_held()))
        thread.start()
        thread.join()
    assert (seen, is_held()) == ([False], False)
