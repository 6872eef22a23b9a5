"""A machine: one network namespace, seen from outside, that lives as long as its inhabitant.

Namespaces have no name and are reached through the inhabitant's process; nothing
is left to clean up after a crash, and two laboratories never meet.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parent.parent
ANSWER_TIMEOUT_S = 120.0
"""More than any order takes; past it the laboratory is broken."""
STOP_TIMEOUT_S = 10.0

PYTHON = (sys.executable, "-E", "-s", "-S")
"""Without site packages: it starts in a twentieth of a second."""
INHABITANT = (*PYTHON, "-m", "lab.inhabitant")
LEASH = (*PYTHON, str(ROOT / "lab" / "leash.py"))


class LabError(Exception):
    """The laboratory itself does not work; says nothing about what is tested in it."""


@dataclass(frozen=True)
class Target:
    """Where to send probes: `count` new connections from `source` (None: as the machine's routes say)."""

    to: str
    port: int
    protocol: str = "TCP"
    source: str | None = None
    count: int = 1


Answers = Counter[str]
"""How often each answer came: `10.64.1.10:8080 192.0.2.100`, REJECT, UNREACHABLE or NONE."""


@dataclass
class Machine:
    """A running machine; a context manager that ends it."""

    name: str
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", *INHABITANT]
        with theirs:
            # A group of its own: Ctrl-C is the laboratory's to answer, not each inhabitant's.
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=ROOT, process_group=0)
        ours.settimeout(ANSWER_TIMEOUT_S)
        self._socket = ours
        self._lines = ours.makefile("rb")
        self._ask({"order": "sysctl", "values": {}})  # an answer means that the namespace is there

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the inhabitant; the kernel removes the namespace with the last process in it."""
        self._lines.close()
        self._socket.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def namespace(self) -> str:
        """The namespace's path, for `nsenter --net=`."""
        return f"/proc/{self.process.pid}/ns/net"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs a program in this namespace; once it runs, it dies with the laboratory."""
        return ["setpriv", "--pdeathsig", "TERM", *self._inside(arguments)]

    def _inside(self, arguments: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.namespace}", "--", *arguments]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a program to its end and return what it printed; LabError with its complaint if it fails."""
        done = subprocess.run(
            self.command(arguments), input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise LabError(f"{self.name}: {' '.join(arguments)}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def start(self, *arguments: str, output: IO[bytes] | int | None = None) -> subprocess.Popen[bytes]:
        """Start a program that stays; what it prints, errors too, goes to `output` (None: where ours goes)."""
        errors = subprocess.STDOUT if output is not None else None
        command = [*LEASH, str(os.getpid()), *self._inside(arguments)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)

    def ip(self, lines: Iterable[str]) -> None:
        """Carry out `ip` commands, all or LabError."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, values: Mapping[str, str]) -> None:
        """Set sysctls of this namespace (`net/ipv4/ip_forward`); a `?` at a name's end: where the kernel has it."""
        self._ask({"order": "sysctl", "values": dict(values)})

    def listen(self, protocol: str, *ports: int) -> None:
        """Answer on these ports of every address from now on, both families."""
        self._ask({"order": "listen", "protocol": protocol, "ports": ports})

    def probe(self, *targets: Target) -> list[Answers]:
        """Probe all the targets side by side; one count of answers for each."""
        return probe_all({self: targets})[self]

    def ask(self, order: Mapping[str, Any]) -> None:
        """Send an order without waiting for its answer."""
        try:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
        except OSError as error:
            raise LabError(f"{self.name}: its inhabitant is gone: {error}") from error

    def answer(self) -> Any:  # noqa: ANN401 - JSON
        """The answer to the oldest order that has none yet; LabError if it is a complaint."""
        try:
            line = self._lines.readline()
        except OSError as error:
            raise LabError(f"{self.name}: its inhabitant does not answer: {error}") from error
        if not line:
            raise LabError(f"{self.name}: its inhabitant is gone, exit status {self.process.poll()}")
        reply = json.loads(line)
        if "error" in reply:
            raise LabError(f"{self.name}: {reply['error']}")
        return reply["answer"]

    def _ask(self, order: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        self.ask(order)
        return self.answer()

    def __hash__(self) -> int:
        return id(self)


def probe_all(
    probes: Mapping[Machine, Sequence[Target]], controls: Mapping[Machine, Sequence[Target]] | None = None
) -> dict[Machine, list[Answers]]:
    """Let several machines probe at the same time; `controls` must answer before silence is believed."""
    for machine, targets in probes.items():
        checks = [vars(control) for control in (controls or {}).get(machine, ())]
        machine.ask({"order": "probe", "probes": [vars(target) for target in targets], "controls": checks})
    return {machine: [Counter(answer) for answer in machine.answer()] for machine in probes}


def require_root() -> None:
    """LabError without the right to make namespaces."""
    if os.geteuid() != 0:
        raise LabError("network namespaces need root: run this with sudo")
