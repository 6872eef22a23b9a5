"""This namespace's addresses and sysctls, read and watched for real."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from kproxy.core.node_facts import VIP_LINK
from kproxy.effects.network import AddressWatch, Refused, Sysctl, ensure, local_addresses
from tests.fakes.namespace import in_new_namespace, ip

LO = {"127.0.0.1", "::1"}
WAIT_S = 5.0


@pytest.mark.root
def test_a_new_namespace_has_its_loopback_and_what_is_added() -> None:
    def look() -> tuple[frozenset[str], frozenset[str]]:
        before = local_addresses()
        ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
        ip("address", "add", "192.0.2.11/24", "dev", "d0")
        ip("address", "add", "2001:db8::11/64", "dev", "d0")
        ip("address", "add", "198.51.100.1", "peer", "198.51.100.2", "dev", "d0")
        return before, local_addresses()

    before, after = in_new_namespace(look)
    assert before == LO
    assert after == LO | {"192.0.2.11", "2001:db8::11", "198.51.100.1"}


@pytest.mark.root
def test_more_addresses_than_one_buffer_are_all_read() -> None:
    def look() -> frozenset[str]:
        ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
        for number in range(1, 251):
            ip("address", "add", f"192.0.2.{number}/32", "dev", "d0")
        return local_addresses()

    assert in_new_namespace(look) == LO | {f"192.0.2.{number}" for number in range(1, 251)}


@pytest.mark.root
def test_addresses_of_services_are_none_of_the_nodes_own() -> None:
    def look() -> frozenset[str]:
        ip("link", "add", VIP_LINK, "type", "veth", "peer", "name", "d1")
        ip("address", "add", "10.96.0.1/32", "dev", VIP_LINK)
        return local_addresses()

    assert in_new_namespace(look) == LO


@pytest.mark.root
def test_addresses_are_told_as_they_come_and_go_and_once_for_a_burst() -> None:
    def watch() -> list[frozenset[str]]:
        told: queue.Queue[frozenset[str]] = queue.Queue()
        errors: list[Exception] = []
        watching = AddressWatch()
        watching.start(told.put, errors.append)
        seen = [told.get(timeout=WAIT_S)]
        ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
        ip("address", "add", "192.0.2.11/24", "dev", "d0")
        seen.append(told.get(timeout=WAIT_S))
        ip("address", "del", "192.0.2.11/24", "dev", "d0")
        seen.append(told.get(timeout=WAIT_S))
        watching.stop()
        assert errors == []
        return seen

    assert in_new_namespace(watch) == [LO, LO | {"192.0.2.11"}, LO]


def test_a_watch_that_never_started_can_be_stopped() -> None:
    AddressWatch().stop()


SYSCTL = Sysctl("net.ipv4.conf.all.route_localnet", "1")


def tree(root: Path, value: str) -> Path:
    path = root / "net/ipv4/conf/all/route_localnet"
    path.parent.mkdir(parents=True)
    path.write_text(value)
    return path


def test_a_sysctl_is_written_where_it_differs(tmp_path: Path) -> None:
    path = tree(tmp_path, "0\n")
    assert ensure(SYSCTL, tmp_path) is None
    assert path.read_text() == "1"


def test_a_sysctl_that_is_right_is_not_written(tmp_path: Path) -> None:
    path = tree(tmp_path, "1\n")
    written = path.stat().st_mtime_ns
    assert ensure(SYSCTL, tmp_path) is None
    assert path.stat().st_mtime_ns == written


def test_a_sysctl_that_does_not_exist_is_a_value_with_the_reason(tmp_path: Path) -> None:
    assert ensure(SYSCTL, tmp_path) == Refused(SYSCTL, "", "No such file or directory")


def test_a_sysctl_that_may_not_be_written_says_what_stands_there() -> None:
    refused = ensure(Sysctl("kernel.ostype", "Plan 9"))
    assert refused is not None
    assert (refused.found, bool(refused.reason)) == ("Linux", True)
