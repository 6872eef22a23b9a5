"""What is seen of a machine before it is judged. Every fact may be missing: whoever gathers may be an ordinary user."""

from __future__ import annotations

from collections.abc import Mapping

from kproxy.core.values import Value

NET_ADMIN, NET_RAW = "CAP_NET_ADMIN", "CAP_NET_RAW"


class Probe(Value, frozen=True):
    """What a backend says of this kernel, for one family."""

    backend: str
    family: str
    obstacle: str
    """Why it does not work, with the remedy; empty if it does."""


class Tool(Value, frozen=True):
    """A program."""

    name: str
    version: str
    """As it says itself; empty if there is none."""


class Process(Value, frozen=True):
    """A program that runs and programs Services too."""

    pid: int
    name: str


class Remnant(Value, frozen=True):
    """What a proxy left in the kernel."""

    owner: str
    """`kube-proxy`, or a backend of ours: `kproxy (nftables)`."""
    count: int
    first: str
    """One of them, as the command that would remove it."""


class AgentFact(Value, frozen=True):
    """The agent that runs here."""

    pid: int
    backend: str
    healthy: bool
    ready: bool
    faults: tuple[str, ...] = ()
    """What of its source it cannot read."""


class ConfigFact(Value, frozen=True):
    """The configuration file, read."""

    path: str
    error: str = ""
    """Why it cannot be used."""
    remarks: tuple[tuple[str, str], ...] = ()
    """What it leaves to be desired, each with its remedy."""


class Parameter(Value, frozen=True):
    """A kernel parameter: what it is, what it is to be, and what comes of it otherwise."""

    name: str
    found: str | None
    """None: this kernel does not have it (yet), or does not let us read it."""
    wanted: str
    at_least: bool
    """Whether a higher value is as good."""
    consequence: str
    is_writable: bool
    """By whoever asked."""
    set_by_agent: bool


class Listening(Value, frozen=True):
    """A TCP port that somebody listens on."""

    address: str
    port: int
    owner: Process | None = None
    """None: not known to an ordinary user."""


class Place(Value, frozen=True):
    """An address that the agent is to listen on, and what for."""

    purpose: str
    address: str
    port: int


class Usage(Value, frozen=True):
    """How full the table of connections is."""

    entries: int
    maximum: int


class ClusterFact(Value, frozen=True):
    """What the API server says, where a kubeconfig is named."""

    error: str = ""
    """Why it could not be asked, or refused us."""
    services: int = 0
    knows_node: bool = False
    """Whether there is a Node object of this node's name."""


class Facts(Value, frozen=True):
    """Everything that was seen."""

    kernel: str
    """`uname -r`."""
    user_id: int
    capabilities: frozenset[str]
    """The effective ones, `CAP_…`."""
    node: str
    backend: str = ""
    """The one that is asked for; empty: the best there is."""
    has_ipv6: bool = True
    probes: tuple[Probe, ...] = ()
    tools: tuple[Tool, ...] = ()
    processes: tuple[Process, ...] = ()
    agent: AgentFact | None = None
    agent_error: str = ""
    """Why an agent that is there could not be asked."""
    remnants: tuple[Remnant, ...] = ()
    remnants_error: str = ""
    links: frozenset[str] = frozenset()
    rules: Mapping[str, Mapping[str, int]] = {}
    """How many rules each variant of iptables holds, by family: `IPv4` → `nf_tables` → 12."""
    parameters: tuple[Parameter, ...] = ()
    ephemeral_ports: tuple[int, int] | None = None
    """net.ipv4.ip_local_port_range."""
    reserved_ports: tuple[tuple[int, int], ...] = ()
    """net.ipv4.ip_local_reserved_ports."""
    usage: Usage | None = None
    config: ConfigFact | None = None
    cluster: ClusterFact | None = None
    places: tuple[Place, ...] = ()
    listening: tuple[Listening, ...] = ()

    @property
    def may_program(self) -> bool:
        """Whether whoever asks could program this kernel."""
        return NET_ADMIN in self.capabilities
