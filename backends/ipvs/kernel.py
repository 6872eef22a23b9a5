"""The door: reads what of ours stands in this network namespace, and makes changes, most of them by netlink.

Every message stands for itself: what the kernel refuses is a Refusal of its
owner, and the rest is in force. A virtual server that another program made
where we want one is left alone, and refused.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, cast

import msgspec

from backends.ipvs import drain, servers, sets, steps
from backends.ipvs.glance import fingerprint, read_table
from backends.ipvs.names import LINK, SETS, TABLES
from backends.ipvs.objects import Balance, Drain, Fallback, Real, Server, Sysctl, Timeouts, Vip
from backends.ipvs.parameters import read_sysctls, refusal, set_sysctls
from backends.ipvs.schedulers import Schedulers
from backends.ipvs.sockets import Refusals, Sockets, note
from backends.ipvs.steps import Request
from backends.ipvs.vip_link import VipLink
from kproxy.core.chains import is_of_ipvs, parse_chains
from kproxy.core.document import LEAVING, OBSERVED, Change, Content, Document, ObjectId, Owner
from kproxy.core.values import Family
from kproxy.effects import chain_watch
from kproxy.effects.process import ProcessFailed, ProcessTimeout, Run
from kproxy.effects.xtables import LEGACY_TABLES, Tools, Variant, read_proc
from kproxy.errors import ApplyRejected, ApplyTimeout, ObserveFailed, UnsupportedHost
from kproxy.netlink.attributes import Malformed
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Outcome, Refusal

TIMEOUT_S: Final = 60.0
LOCK_WAIT_S: Final = 5
LATEST: Final = 0xFFFFFFFF
"""The last deadline that a threshold holds."""


class IpvsKernel:
    """One family's virtual servers, sets, addresses and chains of ours."""

    def __init__(
        self,
        family: Family,
        sockets: Sockets,
        tools: Tools,
        run: Run,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives Unix time."""
        self._family = family
        self._sockets = sockets
        self._vips = VipLink(family, sockets)
        self._tools = tools
        self._run = run
        self._clock = clock
        self._drains: dict[Server, int] = {}
        self._schedulers = Schedulers(family, sockets)
        self._fallback: str = ""
        self._sysctls: frozenset[Sysctl] = frozenset()
        self._unwritten: dict[Sysctl, str] = {}
        self._refused: tuple[Refusal, ...] = ()
        self._timeouts = False

    def close(self) -> None:
        """Close the sockets; everything stays."""
        self._sockets.close()

    def observe(self) -> Document:
        """What of ours stands; a leaving real server is shown when it is to be removed. ObserveFailed if unreadable."""
        due: dict[ObjectId, Content] = {}
        try:
            found = dict(self._read(due))
        except (OSError, Malformed, KeyError, ProcessFailed, UnsupportedHost) as error:
            raise ObserveFailed(f"IPVS of {self._family.label} cannot be read: {error!r}") from error
        return {owner: fragment for owner, fragment in ((OBSERVED, found), (LEAVING, due)) if fragment}

    def interest(self) -> Interest:
        """Our chains and jumps, and our link with its addresses; of servers, sets and parameters nothing is told."""
        told = chain_watch.interest_in(self._family, self._tools.variant, TABLES)
        return msgspec.structs.replace(told, link=LINK, is_partial=True)

    def is_own(self, touch: Touch) -> bool:
        """Whether it is as our addresses are to be, or came of our sockets or programs."""
        if touch.address:
            return (touch.address in self._vips.standing) != touch.is_gone
        return touch.port == self._sockets.route.port or chain_watch.is_of_our_program(touch)

    def glance(self) -> Hashable:
        """Virtual servers without their counters, members of our sets, parameters, and legacy chains."""
        try:
            own = SETS[self._family].prefix.encode()
            sets_now = b"".join(one.payload for one in self._sockets.dump_sets() if own in one.payload)
            parameters = tuple(read_sysctls(sorted(self._sysctls)))
            return fingerprint(self._family, read_table(), sets_now), parameters, self._glance_at_chains()
        except (OSError, Malformed) as error:
            raise ObserveFailed(f"IPVS of {self._family.label} cannot be read: {error!r}") from error

    def _glance_at_chains(self) -> bytes:
        return chain_watch.glance_at(self._family, self._tools.variant, TABLES)

    def connections(self) -> int:
        """What all of our real servers have, closing ones too: they end with their virtual server."""
        try:
            return sum(found.connections for server, _ in self._servers() for found in self._reals(server))
        except (OSError, Malformed) as error:
            raise ObserveFailed(f"IPVS of {self._family.label} cannot be read: {error!r}") from error

    def apply(self, change: Change) -> Outcome:
        """Make the change; ApplyRejected if something is refused that is not one Service's alone."""
        refusals: Refusals = {}
        try:
            self._make(change, refusals)
        except TimeoutError as error:
            raise ApplyTimeout("IPVS: no answer from the kernel") from error
        except (OSError, Malformed) as error:
            raise ApplyRejected(f"IPVS: {error}") from error
        shared = next((one for owner, one in refusals.items() if "/" not in owner), None)
        if shared is not None:
            raise ApplyRejected(f"{shared.what}: {shared.reason}", shared.owner)
        made = ((server, one.owner) for server, one in steps.wanted(change, Server))
        return Outcome(tuple(refusals.values()), (*self._refused, *self._schedulers.findings(made)))

    def check(self, _change: Change) -> Outcome:
        """Nothing: IPVS has no way of trying a change without its being in force."""
        return Outcome()

    def _read(self, due: dict[ObjectId, Content]) -> Iterator[tuple[ObjectId, Content]]:
        """What stands; leaving real servers whose time has come go to `due`."""
        yield from ((Drain(server), drain_s) for server, drain_s in self._drains.items())
        if self._fallback:
            yield Fallback(), self._fallback
        now_s = int(self._clock())
        for server, balance in self._servers():
            yield server, self._schedulers.asked_for(server, balance)
            for found in self._reals(server):
                if not found.deadline:
                    yield found.real, found.weight
                elif drain.is_due(found, now_s):
                    due[found.real] = found.weight
        yield from self._read_sets()
        for table in TABLES:
            yield from parse_chains(self._save(table), is_of_ipvs).items()
        yield from {**dict(read_sysctls(self._sysctls)), **self._unwritten}.items()
        if self._timeouts:
            yield Timeouts(), servers.read_timeouts(self._sockets.ipvs(servers.timeouts_query()))

    def _read_sets(self) -> Iterator[tuple[ObjectId, Content]]:
        """Sets and members, and addresses."""
        listed: set[str] = set()
        for key, content in sets.read_sets(self._sockets.dump_sets(), SETS[self._family].prefix):
            if isinstance(key, Vip):
                listed.add(key.address)
            else:
                yield key, content
        yield from self._vips.read(listed)

    def _servers(self) -> list[tuple[Server, Balance]]:
        dump = self._sockets.dump_ipvs(servers.servers_request())
        return [found for one in dump if (found := servers.read_server(one, self._family)) is not None]

    def _reals(self, server: Server) -> list[servers.Found]:
        dump = self._sockets.dump_ipvs(servers.reals_request(server, self._family))
        return [servers.read_real(one, server, self._family) for one in dump]

    def _save(self, table: str) -> str:
        """What a table holds; one of the legacy variant that is not there would be made by asking."""
        if self._tools.variant is Variant.LEGACY and table not in read_proc(LEGACY_TABLES[self._family]).split():
            return ""
        result = self._run([self._tools.save, "-t", table], "", TIMEOUT_S)
        if result.status:
            raise OSError(errno.EIO, f"{self._tools.save} -t {table}: {result.errors.strip()}")
        return result.output

    def _make(self, change: Change, refusals: Refusals) -> None:
        """The change, in order; see `steps`."""
        family = self._family
        for key, one in steps.wanted(change, Drain):
            self._drains[key.server] = one.content if isinstance(one.content, int) else 0
        for _, one in steps.wanted(change, Fallback):
            self._fallback = self._schedulers.default = str(one.content)
        self._parameters(change)
        self._sockets.send(steps.make_sets(change, family), refusals)
        failed = self._sockets.send(steps.make_servers(change, family, self._schedulers.fitted), refusals)
        refused = frozenset(one.subject for one in failed if isinstance(one.subject, Server))
        self._send_reals(steps.make_reals(change, family, refused), refusals)
        self._sockets.send(steps.make_members(change), refusals)
        self._restore(change)
        self._vips.make(change, refusals)
        self._sockets.send(steps.remove_members(change), refusals)
        self._vips.remove(change, refusals)
        self._sockets.send(self._release(change), refusals)
        self._sockets.send(steps.remove_servers(change, family), refusals)
        self._sockets.send(steps.remove_sets(change, family), refusals)
        for drained, _ in steps.unwanted(change, Drain):
            self._drains.pop(drained.server, None)
        self._schedulers.forget(server for server, _ in steps.unwanted(change, Server))
        if Fallback() in change.removed:
            self._fallback = ""

    def _parameters(self, change: Change) -> None:
        """Kernel parameters; one that cannot be written is told once and taken as it is."""
        sysctls = {key: str(one.content) for key, one in steps.wanted(change, Sysctl)}
        refused = {Sysctl(one.sysctl.name): one for one in set_sysctls(sysctls)}
        self._refused = tuple(map(refusal, refused.values()))
        self._unwritten.update({key: sysctls[key] for key in refused if key in sysctls})
        self._sysctls = (self._sysctls | sysctls.keys()) - {key for key, _ in steps.unwanted(change, Sysctl)}
        for _, timeouts in steps.wanted(change, Timeouts):
            self._sockets.ipvs(servers.timeouts_request(cast("tuple[int, int, int]", timeouts.content)))
            self._timeouts = True
        self._timeouts &= Timeouts() not in change.removed

    def _send_reals(self, requests: Iterable[Request], refusals: Refusals) -> None:
        """Real servers; one that is there already was leaving, and comes back."""
        back = []
        for request, error in self._sockets.answers(requests):
            if error == errno.EEXIST and isinstance(request.subject, Real):
                back.append(steps.revive(request.subject, request.owner, self._family))
            else:
                note(refusals, request, error)
        self._sockets.send(back, refusals)

    def _restore(self, change: Change) -> None:
        text = steps.restore_input(change)
        if not text:
            return
        argv = [self._tools.restore, "--noflush", "-w", str(LOCK_WAIT_S)]
        try:
            result = self._run(argv, text, TIMEOUT_S)
        except ProcessTimeout as error:
            raise ApplyTimeout(str(error)) from error
        except (ProcessFailed, UnsupportedHost) as error:
            raise ApplyRejected(str(error)) from error
        if result.status:
            raise ApplyRejected(f"{self._tools.restore}: {' '.join(result.errors.split())}")

    def _release(self, change: Change) -> Iterator[Request]:
        """Real servers that go: at once, or with weight 0 and a deadline, while connections are under way."""
        leaving: dict[Server, list[tuple[Real, Owner]]] = {}
        for real, owner in steps.unwanted(change, Real):
            if real.server not in change.removed:
                leaving.setdefault(real.server, []).append((real, owner))
        now_s = int(self._clock())
        for server, several in leaving.items():
            drain_s = self._drains.get(server, drain.default_s(server))
            standing = {found.real: found for found in self._reals(server)} if drain_s else {}
            for real, owner in several:
                step = drain.step(standing.get(real), drain_s, now_s)
                if step is drain.Step.REMOVE:
                    yield steps.remove_real(real, owner, self._family)
                elif step is drain.Step.BEGIN:
                    yield steps.retire(real, owner, self._family, min(now_s + drain_s, LATEST))
