"""The doors by which what a proxy left in this kernel is found, and removed by name.

Each kind says what stands, line by line, and removes what stands when it is told to, looking anew. An object that is
gone in between is no error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from kproxy.core.leftovers import (
    Signs,
    TableRemains,
    VirtualServer,
    carried,
    remains,
    removal_input,
    servers_of,
    virtual_servers,
)
from kproxy.core.values import Family, Value
from kproxy.core.values import Protocol as Transport
from kproxy.effects.netlink import NetlinkSocket
from kproxy.effects.network import link_addresses, local_addresses
from kproxy.effects.process import ProcessFailed, Run, run
from kproxy.effects.xtables import Tools, Variant
from kproxy.errors import ApplyRejected, ObserveFailed
from kproxy.netlink import removals
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.generic import NETLINK_GENERIC, family_request, read_family
from kproxy.netlink.virtual_servers import FAMILY_NAME, delete_server

TIMEOUT_S: Final = 120.0
LOCK_WAIT_S: Final = 5
PORTION: Final = 200
"""iptables-nft-restore looks each chain up in a sorted list of those it has read since the last commit."""
NFTABLES: Final = 10
NETLINK_ROUTE: Final = 0
IP_VS: Final = Path("/proc/thread-self/net/ip_vs")
FAMILY_WORDS: Final = {Family.IPV4: "ip", Family.IPV6: "ip6"}
ABSENT: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL})
"""What the kernel says where there is no such object, or no such subsystem."""


class Remains(Protocol):
    """One kind of objects that a proxy may have left."""

    def find(self) -> Sequence[str]:
        """What is to be removed, one line each; ObserveFailed if it cannot be read."""

    def kept(self) -> Sequence[str]:
        """What stays although it is the proxy's, and why."""

    def remove(self) -> None:
        """Remove what stands now; ApplyRejected if the kernel refuses."""


class Chains(Value, frozen=True):
    """Its chains in one variant's tables of one family."""

    signs: Signs
    tools: Tools
    run: Run = run

    def find(self) -> Sequence[str]:
        """Jumps and chains."""
        return [
            line
            for one in self._remains()
            for line in (
                *(f"{self._label} -t {one.table} -D {jump}" for jump in one.jumps),
                *(f"{self._label} -t {one.table} -X {chain}" for chain in one.chains),
            )
        ]

    def kept(self) -> Sequence[str]:
        """Chains that others lead to, or have themselves."""
        return [
            f"{self._label} -t {one.table}: {chain} stays, {why}"
            for one in self._remains()
            for chains, why in ((one.kept, "rules of somebody else need it"), (one.shared, "kubelet has it too"))
            for chain in chains
        ]

    def remove(self) -> None:
        """Jumps first, then nothing leads to the chains any more."""
        text = removal_input(self._remains(), PORTION if self.tools.variant is Variant.NFT else None)
        if not text:
            return
        try:
            result = self.run([self.tools.restore, "--noflush", "-w", str(LOCK_WAIT_S)], text, TIMEOUT_S)
        except ProcessFailed as error:
            raise ApplyRejected(str(error)) from error
        if result.status:
            raise ApplyRejected(f"{self.tools.restore}: {' '.join(result.errors.split())}")

    @property
    def _label(self) -> str:
        return self.tools.save.removesuffix("-save")

    def _remains(self) -> list[TableRemains]:
        try:
            result = self.run([self.tools.save], "", TIMEOUT_S)
        except ProcessFailed as error:
            raise ObserveFailed(str(error)) from error
        if result.status:
            raise ObserveFailed(f"{self.tools.save}: {' '.join(result.errors.split())}")
        return remains(result.output, self.signs)


class Table(Value, frozen=True):
    """Its table of nf_tables in one family."""

    name: str
    family: Family

    def find(self) -> Sequence[str]:
        """The table, if it stands."""
        with _netlink("nf_tables") as sock:
            payload = removals.table_name(self.name, self.family)
            there = _is_there(sock, (removals.GET_TABLE, payload))
        return [f"nft delete table {FAMILY_WORDS[self.family]} {self.name}"] if there else []

    def kept(self) -> Sequence[str]:
        """Nothing: a table is one proxy's."""
        return ()

    def remove(self) -> None:
        """The table with all that is in it, in one transaction."""
        payload = removals.table_name(self.name, self.family)
        with _netlink("nf_tables") as sock:
            failures = sock.batch(NFTABLES, [(removals.DELETE_TABLE, 0, payload)])
        if failures and failures[0].error not in ABSENT:
            raise ApplyRejected(f"table {FAMILY_WORDS[self.family]} {self.name}: {os.strerror(failures[0].error)}")


class Named(Value, frozen=True):
    """Objects that are known and removed by name alone: IP sets, counters, a link."""

    names: tuple[str, ...]
    line: str
    """The command that would remove one: `ipset destroy`."""
    there: Callable[[str], bool]
    delete: Callable[[str], removals.Request]
    protocol: int | None = None

    def find(self) -> Sequence[str]:
        """Those that stand."""
        return [f"{self.line} {name}" for name in self.names if self.there(name)]

    def kept(self) -> Sequence[str]:
        """Nothing; one that is still in use is refused by the kernel."""
        return ()

    def remove(self) -> None:
        """Those that stand, as far as the kernel lets them go."""
        refused = []
        with _netlink(self.line, self.protocol) as sock:
            for name in filter(self.there, self.names):
                try:
                    sock.request(*self.delete(name))
                except OSError as error:
                    if error.errno not in ABSENT:
                        refused.append(f"{self.line} {name}: {error.strerror}; a rule may still name it")
        if refused:
            raise ApplyRejected("; ".join(refused))


def named_sets(names: tuple[str, ...]) -> Named:
    """IP sets; one that a rule still names is refused."""
    return Named(names, "ipset destroy", lambda name: _stands(removals.find_set(name)), removals.destroy_set)


def named_counters(names: tuple[str, ...]) -> Named:
    """Objects of nfacct."""
    return Named(names, "nfacct delete", lambda name: _stands(removals.find_counter(name)), removals.delete_counter)


def named_link(name: str) -> Named:
    """A link, with its addresses."""
    names = (name,) if name else ()
    return Named(
        names, "ip link delete", lambda one: link_addresses(one) is not None, removals.delete_link, NETLINK_ROUTE
    )


class VirtualServers(Value, frozen=True):
    """The virtual servers on the addresses of its link, and on the node's addresses for the ports in its sets."""

    signs: Signs
    listed: Callable[[], str]
    """The text of /proc/net/ip_vs."""

    def find(self) -> Sequence[str]:
        """Its virtual servers."""
        return [f"ipvsadm --delete-service {one}" for one in self._servers()]

    def kept(self) -> Sequence[str]:
        """Those that are not on its addresses are not spoken of: they are somebody else's."""
        return ()

    def remove(self) -> None:
        """Its virtual servers, one by one, with their real servers."""
        servers = self._servers()
        if not servers:
            return
        with _netlink("IPVS", NETLINK_GENERIC) as sock:
            try:
                kind = read_family(sock.request(*family_request(FAMILY_NAME)))
                for one in servers:
                    sock.request(kind, delete_server(one.protocol, one.address, one.port))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise ApplyRejected(f"virtual servers: {error.strerror or error}") from error

    def connections(self) -> int:
        """How many connections go through them, closing ones too."""
        return carried(self.listed(), frozenset(self._servers()))

    def _servers(self) -> list[VirtualServer]:
        servers = virtual_servers(self.listed())
        if not servers:
            return []
        on_link = link_addresses(self.signs.link) or frozenset()
        return servers_of(servers, on_link, local_addresses(), _node_ports(self.signs))


def read_ip_vs() -> str:
    """What IPVS lists in this network namespace; empty without IPVS."""
    try:
        return IP_VS.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _node_ports(signs: Signs) -> dict[Transport, frozenset[int]]:
    found: dict[Transport, frozenset[int]] = {}
    with _netlink("ipset") as sock:
        for name in signs.node_port_sets:
            if _is_there(sock, removals.find_set(name)):
                transport = next(one for one in Transport if one in name)
                members = removals.set_ports(sock.dump(*removals.dump_set(name)))
                found[transport] = found.get(transport, frozenset()) | members
    return found


def _stands(request: removals.Request) -> bool:
    with _netlink("netfilter") as sock:
        return _is_there(sock, request)


def _is_there(sock: NetlinkSocket, request: removals.Request) -> bool:
    try:
        sock.request(*request)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise
    return True


@contextmanager
def _netlink(what: str, protocol: int | None = None) -> Iterator[NetlinkSocket]:
    try:
        with NetlinkSocket() if protocol is None else NetlinkSocket(protocol) as sock:
            yield sock
    except (OSError, Malformed) as error:
        raise ObserveFailed(
            f"{what} cannot be reached by netlink: {error}; kproxy needs root (CAP_NET_ADMIN)"
        ) from error
