"""Which backend is found and chosen, with the reason."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from backends.iptables import BACKEND as IPTABLES
from backends.ipvs import BACKEND as IPVS
from backends.nftables import BACKEND as NFTABLES
from kproxy.core.values import Family
from kproxy.errors import ConfigError, ObserveFailed, UnsupportedHost
from kproxy.ports import Backend, Kernel
from kproxy.wiring.backends import OURS, backend_names, choose, close_all, find_backend
from tests.fakes.kernel import FakeKernel

BOTH = tuple(Family)


class Doors:
    """A backend whose doors open for some families only."""

    def __init__(self, name: str, *families: Family) -> None:
        self.name = name
        self.families = families

    def open(self, family: Family) -> Kernel:
        if family not in self.families:
            raise UnsupportedHost(f"{self.name} lacks {family.label} here; install it")
        return FakeKernel()


def finder(*backends: Doors) -> Any:
    return {backend.name: backend for backend in backends}.__getitem__


def test_ours_are_found_by_name_and_nftables_comes_first() -> None:
    assert find_backend("iptables") is IPTABLES
    assert find_backend("nftables") is NFTABLES
    assert find_backend("ipvs") is IPVS
    assert backend_names()[:3] == tuple(OURS) == ("nftables", "iptables", "ipvs")


def test_the_entry_points_of_this_distribution_are_the_same_backends() -> None:
    from importlib.metadata import entry_points  # noqa: PLC0415 - as the code does

    ours = {entry.name: entry.load() for entry in entry_points(group="kproxy.backends") if entry.name in OURS}
    assert ours == {"iptables": IPTABLES, "nftables": NFTABLES, "ipvs": IPVS}


def test_an_unknown_backend_is_named_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no backend 'nftable' \(did you mean nftables\?\); installed are nftables, ip"
    ):
        find_backend("nftable")
    with pytest.raises(ConfigError, match="no backend 'ebpf'; installed are"):
        find_backend("ebpf")


def entries(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    known = [EntryPoint(name, value, "kproxy.backends") for name, value in values.items()]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: known if group == "kproxy.backends" else [])


def test_another_distribution_can_add_a_backend_but_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, other="backends.iptables:BACKEND", nftables="nowhere:BACKEND")
    assert backend_names() == ("nftables", "iptables", "ipvs", "other")
    assert find_backend("other") is IPTABLES
    assert find_backend("nftables") is NFTABLES


def test_a_broken_backend_of_somebody_else_is_named_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    entries(monkeypatch, broken="no_such_module:BACKEND")
    with pytest.raises(
        ConfigError, match=r"backend 'broken' \(no_such_module:BACKEND\) cannot be loaded: ModuleNotFound"
    ):
        find_backend("broken")
    assert find_backend("iptables") is IPTABLES


def test_the_named_backend_is_opened_for_both_families() -> None:
    chosen = choose("a", BOTH, finder(Doors("a", *BOTH)))
    assert chosen.kernels.keys() == set(BOTH)
    assert (chosen.why, chosen.missing) == ("a was asked for", {})


def test_a_family_that_cannot_be_done_is_told_and_the_other_is_done() -> None:
    chosen = choose("a", BOTH, finder(Doors("a", Family.IPV4)))
    assert chosen.kernels.keys() == {Family.IPV4}
    assert chosen.missing == {Family.IPV6: "a lacks IPv6 here; install it"}


def test_a_named_backend_that_cannot_is_no_reason_to_take_another() -> None:
    with pytest.raises(UnsupportedHost, match="iptables lacks IPv4 here; install it"):
        choose("iptables", BOTH, finder(Doors("iptables"), Doors("nftables", *BOTH)))


def test_with_none_named_nftables_is_taken_where_it_can() -> None:
    chosen = choose("", BOTH, finder(Doors("nftables", *BOTH), Doors("iptables", *BOTH)))
    assert (chosen.backend.name, chosen.why) == ("nftables", "nftables works here")


def test_with_none_named_iptables_is_taken_where_nftables_cannot_and_the_reason_is_kept() -> None:
    chosen = choose("", BOTH, finder(Doors("nftables"), Doors("iptables", *BOTH)))
    assert chosen.backend.name == "iptables"
    assert chosen.why == "nftables does not: nftables lacks IPv4 here; install it; iptables works here"


def test_where_nothing_works_all_reasons_are_told() -> None:
    with pytest.raises(UnsupportedHost, match=r"no backend works here; nftables does not: .*; iptables does not: "):
        choose("", BOTH, finder(Doors("nftables"), Doors("iptables"), Doors("ipvs", *BOTH)))


def test_doors_are_closed_whatever_they_say() -> None:
    class Stuck(FakeKernel):
        def close(self) -> None:
            raise ObserveFailed("stuck")

    last = FakeKernel()
    close_all([Stuck(), last])
    assert last.closed


def test_the_fake_and_the_real_ones_are_backends() -> None:
    backends: list[Backend] = [IPTABLES, NFTABLES]
    assert [backend.name for backend in backends] == ["iptables", "nftables"]
