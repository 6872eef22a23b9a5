"""The few verbs by which the layers meet: what a backend is, and what a source is.

A backend has a pure half (compile, render, trace) that needs neither root nor
a kernel, and a door, `Kernel`, that reads and writes one family.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from kproxy.core.document import Change, Content, Document, ObjectId, Owner
from kproxy.core.flow import Packet, Trace
from kproxy.core.host import Host, Traits
from kproxy.core.instance import Instance
from kproxy.core.model import Event
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.netlink.notices import Interest, Touch


class Unsupported(Value, frozen=True):
    """Something that a plan asks for and a backend cannot do."""

    what: str
    """The frontend or setting, for people."""
    instead: str
    """What happens, and why."""
    service: ObjectKey | None = None
    """Whose wish it is; None: the node's own settings ask for it."""


class Compiled(Value, frozen=True):
    """A plan and the Document made of it; given back to `compile` as its cache."""

    plan: NodePlan
    document: Document

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        """What of the plan the Document leaves out; nothing unless a backend says so."""
        return ()


class Refusal(Value, frozen=True):
    """A part of a change that the kernel would not take, while the rest landed."""

    owner: Owner
    what: str
    """The object, as its tool writes it."""
    reason: str


class Outcome(Value, frozen=True):
    """What became of a change: all of it is in force but for the refusals."""

    refusals: tuple[Refusal, ...] = ()
    otherwise: tuple[Refusal, ...] = ()
    """What is in force in another way than it was asked for; each says in which, and why."""


class Kernel(Protocol):
    """One family's rules in this kernel, ours only."""

    def observe(self) -> Document:
        """What of ours stands there now; ObserveFailed if it cannot be read."""

    def apply(self, change: Change) -> Outcome:
        """Make the change; ApplyRejected or ApplyTimeout if it is not in force."""

    def check(self, change: Change) -> Outcome:
        """Like apply, up to the point where it would take effect."""

    def close(self) -> None:
        """Release sockets; the rules stay."""


@runtime_checkable
class Watched(Protocol):
    """What a Kernel has besides where it can tell that others may have changed its rules, short of observing them.

    The three are for the thread that observes and applies, and are right between two such calls.
    """

    def interest(self) -> Interest:
        """Which of the kernel's notifications may be about our rules, and whether some of them are told to nobody."""

    def is_own(self, touch: Touch) -> bool:
        """Whether a notification is of what this door did itself; when in doubt, it is not."""

    def glance(self) -> Hashable:
        """A fingerprint of what no notification tells of, cheap to take; another one means: observe.

        It may change without need. KernelError if it cannot be taken.
        """


@runtime_checkable
class Carrier(Protocol):
    """What a Kernel has besides where established connections end when its objects are removed."""

    def connections(self) -> int:
        """How many connections go through its objects now; ObserveFailed if it cannot be told."""


@runtime_checkable
class Counting(Protocol):
    """What a Kernel has besides where its rules count packets for metrics that kube-proxy has too."""

    def counts(self) -> Mapping[str, int]:
        """Packets by the metric's name; KernelError if they cannot be read. Any thread may ask."""


class Subject(Value, frozen=True):
    """An object of a Document, for people and dashboards."""

    kind: str
    """One of a few words: `chain`, `element`, `virtual server`."""
    name: str


class Backend(Protocol):
    """A way to program the kernel; registered as an entry point of group `kproxy.backends`."""

    @property
    def name(self) -> str:
        """`iptables`, `nftables`, …."""

    @property
    def traits(self) -> Traits:
        """In what its plans differ from other backends'."""

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        """The Document for a plan; `previous` only saves work."""

    def render(self, documents: Mapping[Family, Document]) -> str:
        """The documents as input for the backend's own tool, loadable as it stands."""

    def render_change(self, family: Family, change: Change) -> str:
        """A change for people, one line per object line: `+ …`, `- …`."""

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:
        """What kind of object this is, and its name as the backend's own tools know it."""

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:
        """Walk what was compiled (or observed), rule by rule."""

    def open(self, family: Family) -> Kernel:
        """A door to this kernel; UnsupportedHost if it cannot."""


@runtime_checkable
class Instanced(Protocol):
    """What a Backend has besides if several agents on a node can use it, each with names of its own."""

    def of(self, instance: Instance) -> Backend:
        """The same backend, with the names of an instance wherever it meets the kernel or people."""


class Source(Protocol):
    """Where events come from; runs in threads of its own."""

    def start(self, put: Callable[[Sequence[Event]], None], fail: Callable[[Exception], None]) -> None:
        """Begin to deliver events, from any thread; `fail` reports an error that was met and will be retried."""

    def stop(self) -> None:
        """End delivery and join the threads."""
