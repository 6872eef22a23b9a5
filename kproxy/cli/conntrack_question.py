"""What all commands about connections share: their options, where Services come from, and how flows are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from conntrack.entry import FIELDS
from conntrack.query import Nat, Query, Seen, client_of, endpoint_of, look, protocol_of, state_of
from conntrack.services import NO_SERVICES, Services, index
from conntrack.table import Table
from conntrack.wire import Reader
from kproxy.cli.options import BACKEND_OFFLINE, CONFIG, FILES, INSTANCE, KUBECONFIG, NODE_IP, NODE_NAME, asked
from kproxy.cli.output import note
from kproxy.core.host import Host
from kproxy.core.plan import NodePlan
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.errors import ConfigError
from kproxy.report.connections import FORMATS
from kproxy.wiring.question import KUBERNETES, Asked

F = TypeVar("F", bound=Callable[..., Any])

SOURCE = click.option(
    "--source",
    default="",
    metavar="kubernetes|DIR",
    help="Where Services come from: an API server, or a directory of manifests. Default: addresses stay plain.",
)
SOURCE_OPTIONS = asked(FILES, SOURCE, KUBECONFIG, CONFIG, BACKEND_OFFLINE, INSTANCE, NODE_NAME, NODE_IP)

FILTERS: tuple[Callable[[F], F], ...] = (
    click.option("--service", metavar="NAMESPACE/NAME", help="Only flows to this Service. Needs -f or --source."),
    click.option("--endpoint", metavar="IP[:PORT]", help="Only flows that this address answers."),
    click.option("--client", metavar="IP|NETWORK", help="Only flows that began there."),
    click.option("--protocol", metavar="NAME", help="Only tcp, udp, sctp, icmp, icmpv6, … or a number."),
    click.option("--state", metavar="NAME", help="Only flows in it: ESTABLISHED, SYN_SENT, … UNREPLIED, ASSURED."),
    click.option("--nat", type=click.Choice([one.value for one in Nat]), help="Only flows translated so."),
    click.option("--stale", is_flag=True, help="Only flows that no serving endpoint answers. Needs -f or --source."),
)
OUTPUT = click.option(
    "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="The format."
)


def filters(function: F) -> F:
    """Adds the options that say which flows are meant; the command gets them by name."""
    for option in reversed(FILTERS):
        function = option(function)
    return function


class Known(Value, frozen=True):
    """What the source says: the Services as flows meet them, and the plans that they come from."""

    services: Services = NO_SERVICES
    plans: tuple[NodePlan, ...] = ()
    host: Host | None = None

    @property
    def any(self) -> bool:
        """Whether a source was given at all."""
        return self.host is not None


def query_of(given: dict[str, Any], known: Known) -> Query:
    """The conditions of the filter options; ConfigError for one that makes no sense."""
    query = Query(
        service=_service(given["service"], known) if given["service"] else None,
        endpoint=endpoint_of(given["endpoint"]) if given["endpoint"] else None,
        client=client_of(given["client"]) if given["client"] else None,
        protocol=protocol_of(given["protocol"]) if given["protocol"] else None,
        state=state_of(given["state"]) if given["state"] else "",
        nat=Nat(given["nat"]) if given["nat"] else None,
        stale=given["stale"],
    )
    if query.stale and not known.any:
        raise ConfigError(_NEEDS_SERVICES)
    return query


_NEEDS_SERVICES = "--service and --stale need to know Services: name manifests with -f, or --source kubernetes"


def _service(text: str, known: Known) -> ObjectKey:
    from kproxy.wiring.asked import service_key, unknown_service  # noqa: PLC0415 - only those who ask wait for it

    if not known.any:
        raise ConfigError(_NEEDS_SERVICES)
    service, names = service_key(text), {str(key) for plan in known.plans for key in plan.services}
    if str(service) not in names:
        raise unknown_service(service, names)
    return service


def known_services(question: Asked) -> Known:
    """Read the Services, if any source of them is given; remarks go to standard error."""
    if not (question.files or question.source or question.kubeconfig):
        return Known()
    from kproxy.wiring.asked import look_into  # noqa: PLC0415 - only where there is a source
    from kproxy.wiring.offline import plan_families  # noqa: PLC0415

    if not question.source:
        question = Asked(**{**_fields(question), "source": KUBERNETES})
    subject = look_into(question)
    for remark in subject.remarks:
        note(remark)
    backend = subject.offline_backend(question)
    node = subject.live_node(backend)
    plans = tuple(planned.plan for planned in plan_families(node, backend, tuple(Family)).values())
    return Known(index(plans, node.host.addresses), plans, node.host)


def _fields(question: Asked) -> dict[str, Any]:
    return {name: getattr(question, name) for name in question.__struct_fields__}


def flows(table: Table, query: Query, services: Services) -> Iterator[Seen]:
    """The flows that the query wants, one after the other; a word on standard error about those not understood."""
    reader = Reader(FIELDS)
    for entry in table.entries(query.selection(), reader):
        seen = look(services, entry)
        if query.wants(seen):
            yield seen
    note_undecodable(reader.undecodable)


def note_undecodable(number: int) -> None:
    """A word on standard error about flows that were not understood, if there are any."""
    if number:
        note(f"{number} flows could not be decoded and are left out")


def write(pieces: Iterable[str]) -> None:
    """Text to standard output in large pieces; BrokenPipeError if nobody reads on."""
    buffer: list[str] = []
    for piece in pieces:
        buffer.append(piece)
        if len(buffer) >= _PIECES:
            sys.stdout.write("".join(buffer))
            buffer.clear()
    sys.stdout.write("".join(buffer))
    sys.stdout.flush()


_PIECES = 512
