"""A whole backend of kproxy: Services as lines of a text file, for a load balancer that reads such a file.

`10.96.0.80:80/TCP cluster 10.64.1.10:8080 10.64.2.1:8080` says who listens and who serves; `*` stands for NodePorts.
The file knows no clients, so a frontend has its last route, the one for anybody; source ranges are left out, loudly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kproxy.core.document import OBSERVED, Change, Content, Document, Fragment, ObjectId
from kproxy.core.flow import Answer, Choice, Packet, Step, Trace, Verdict
from kproxy.core.host import Host, Traits
from kproxy.core.plan import NodePlan, PortPlan, ServicePlan, Unallocated, Unlisted
from kproxy.core.values import Family
from kproxy.errors import ApplyRejected, ObserveFailed
from kproxy.ports import Compiled, Kernel, Outcome, Subject, Unsupported

VERDICTS = {"reject": Verdict.REJECT, "drop": Verdict.DROP}


class Made(Compiled, frozen=True):
    """A Document, and what of its plan it leaves out."""

    left_out: tuple[Unsupported, ...] = ()

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        return self.left_out


def place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def fragment(service: ServicePlan) -> Fragment:
    """An object for each frontend: its key is how it is reached, its content what becomes of who comes."""
    return {
        f"{place(frontend.address or '*', frontend.port)}/{port.protocol}": line(
            port, is_internal=frontend.kind.is_internal
        )
        for port in service.ports
        for frontend in port.frontends
        if frontend.allow_from is None
    }


def line(port: PortPlan, *, is_internal: bool) -> str:
    route = (port.internal if is_internal else port.external)[-1]
    return " ".join([route.action, *(place(one.address, one.port) for one in port.pool(route.action))])


class File:
    """The door: one file for each family, read whole and replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def observe(self) -> Document:
        try:
            lines = self.path.read_text().splitlines() if self.path.exists() else []
        except OSError as error:
            raise ObserveFailed(f"{self.path}: {error.strerror}") from error
        return {OBSERVED: {key: rest for key, _, rest in (one.partition(" ") for one in lines)}}

    def apply(self, change: Change) -> Outcome:
        standing = {key: rest for part in self.observe().values() for key, rest in part.items()}
        standing |= {key: one.content for key, one in change.added.items()}
        standing |= {key: one.new for key, one in change.changed.items()}
        text = "".join(f"{key} {rest}\n" for key, rest in standing.items() if key not in change.removed)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_suffix(".new")
            fresh.write_text(text)
            fresh.replace(self.path)  # whoever reads has the old file or the new one
        except OSError as error:
            raise ApplyRejected(f"{self.path}: {error.strerror}") from error
        return Outcome()

    def check(self, change: Change) -> Outcome:  # noqa: ARG002 - a file takes anything
        return Outcome()

    def close(self) -> None:
        """Nothing is kept open."""


class Textfile:
    """The verbs of kproxy.ports.Backend."""

    name = "textfile"
    traits = Traits(Unlisted.PASS, Unallocated.PASS, False, (), True)

    def compile(self, plan: NodePlan, previous: Compiled | None) -> Compiled:
        document: dict[str, Fragment] = {}
        for key, service in plan.services.items():
            kept = previous is not None and previous.plan.services.get(key) is service
            document[str(key)] = previous.document[str(key)] if previous and kept else fragment(service)
        ports = [(key, port) for key, service in plan.services.items() for port in service.ports]
        fenced = {key for key, port in ports for one in port.frontends if one.allow_from is not None}
        reason = "left out: a text file cannot ask who comes"
        return Made(plan, document, tuple(Unsupported(f"source ranges of {key}", reason) for key in sorted(fenced)))

    def render(self, documents: Mapping[Family, Document]) -> str:
        parts = [part for document in documents.values() for part in document.values()]
        return "".join(f"{key} {rest}\n" for part in parts for key, rest in part.items())

    def render_change(self, family: Family, change: Change) -> str:  # noqa: ARG002 - one form for both
        lines = [f"- {key} {one.content}" for key, one in change.removed.items()]
        lines += [
            f"{sign} {key} {text}"
            for key, one in change.changed.items()
            for sign, text in (("-", one.old), ("+", one.new))
        ]
        lines += [f"+ {key} {one.content}" for key, one in change.added.items()]
        return "".join(f"{line}\n" for line in lines)

    def subject(self, family: Family, key: ObjectId, content: Content) -> Subject:  # noqa: ARG002 - as above
        return Subject("line", str(key))

    def trace(self, family: Family, document: Document, packet: Packet, host: Host) -> Trace:  # noqa: ARG002 - as above
        lines = {key: str(rest) for part in document.values() for key, rest in part.items()}
        keys = [f"{place(packet.destination, packet.port)}/{packet.protocol}"]
        keys += [f"*:{packet.port}/{packet.protocol}"] * (packet.destination in host.addresses)
        for key in keys:
            if key in lines:
                action, *pool = lines[key].split()
                parts = [one.rpartition(":") for one in pool]
                choices = [Choice(at.strip("[]"), int(port), 1 / len(pool), False) for at, _, port in parts]
                answer = Answer(VERDICTS.get(action, Verdict.DNAT), tuple(choices))
                return Trace(answer, (Step("services.txt", f"{key} {lines[key]}", answer.verdict.value),))
        return Trace(Answer(Verdict.PASS), ())

    def open(self, family: Family) -> Kernel:
        return File(Path(os.environ.get("KPROXY_TEXTFILE", "/run/kproxy-textfile")) / f"{family.label}.txt")


BACKEND = Textfile()
