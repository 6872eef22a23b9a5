"""The laboratory's virtual machines, seen from their host: commands by ssh, probes from them and from their pods."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lab.machine import Answers, Target

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "vagrant" / "lab"
INVENTORY: Mapping[str, Any] = json.loads((ROOM / "machine" / "inventory.json").read_text())["machines"]
T = TypeVar("T")
PORT = 8080
KPROXY = "/opt/kproxy/bin/kproxy"
COMMAND_S = 300.0
"""An emulated machine on a loaded host is slow; past this it is broken."""
PATIENCE_S = 180.0
"""How long something that is under way may take until it is seen."""


class GuestError(Exception):
    """A machine did not do as it was told."""


@dataclass(frozen=True)
class Guest:
    """A virtual machine; `pod` None: the machine itself, else one of its pods."""

    name: str
    ssh_config: Path
    pod: str | None = None

    def inside(self, pod: str) -> Guest:
        return Guest(self.name, self.ssh_config, pod)

    def run(self, *command: str, stdin: str = "", expected: Iterable[int] = (0,)) -> str:
        """What a program prints there, as root; GuestError with its complaint for another exit status."""
        where = ("ip", "netns", "exec", self.pod) if self.pod else ()
        remote = shlex.join(("sudo", "-n", *where, *command))
        ssh = ("ssh", "-F", str(self.ssh_config), "-o", "ConnectTimeout=60", self.name, remote)
        done = subprocess.run(ssh, input=stdin, capture_output=True, text=True, check=False, timeout=COMMAND_S)
        if done.returncode not in expected:
            raise GuestError(f"{self.name}: {remote}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def probe(self, *targets: Target) -> list[Answers]:
        """Probe all the targets side by side; one count of answers for each."""
        order = {"probes": [vars(target) for target in targets]}
        answer = self.run("env", "-C", "/opt/lab", "python3", "-m", "lab.once", stdin=json.dumps(order))
        return [Counter(one) for one in json.loads(answer)]

    def write(self, path: str, text: str) -> None:
        """Make a file, whole at once."""
        self.run("tee", f"{path}.new", stdin=text)
        self.run("mv", f"{path}.new", path)

    def status(self) -> Any:
        """What `kproxy status -o json` says; None while no agent answers."""
        text = self.run(KPROXY, "status", "-o", "json", expected=range(4))
        return json.loads(text) if text.startswith("{") else None


def eventually(look: Callable[[], T], is_good: Callable[[T], bool]) -> T:
    """What `look` gives as soon as it is good, else the last of it after PATIENCE_S. A look takes a second itself."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_good(found := look()) and time.monotonic() < deadline:
        pass
    return found


def endpoint(address: str) -> str:
    """As the pods' answers name them."""
    return f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"


def pods_of(*machines: str) -> dict[str, tuple[str, str]]:
    """The pods of these machines and their addresses, IPv4 and IPv6."""
    return {pod: tuple(both) for name in machines for pod, both in INVENTORY[name]["pods"].items()}


def servers(answers: Answers) -> set[str]:
    """Who answered, or what came instead."""
    return {answer.partition(" ")[0] for answer in answers}


def sources(answers: Answers, server: str) -> set[str]:
    """Whom this endpoint saw."""
    return {answer.partition(" ")[2] for answer in answers if answer.partition(" ")[0] == server}
