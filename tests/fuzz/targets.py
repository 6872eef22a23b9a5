"""What is fuzzed: each target takes any bytes, and lets only those errors through that its caller reacts to.

`test_fuzz.py` feeds them by hypothesis for a bounded time, `scripts/fuzz` by atheris for as long as is asked.
`seeds` gives well-formed input of each, from which both begin.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from backends.iptables.parse import parse as parse_iptables
from backends.ipvs import servers, sets
from backends.ipvs.objects import Server
from backends.nftables import parse as nftables
from conntrack.entry import FIELDS, entry_of
from conntrack.wire import Reader, split
from kproxy.config import read_config
from kproxy.core.chains import is_ours, parse_chains
from kproxy.core.envelope import decode_event, decode_list, decode_status, read_object, trigger_time
from kproxy.core.model import Kind
from kproxy.core.values import Family, Protocol
from kproxy.effects.manifest_text import read_text
from kproxy.errors import ApiError, ConfigError
from kproxy.netlink import addresses, messages, notices
from kproxy.netlink.attributes import Malformed, read
from kproxy.netlink.messages import Message

DATA: Final = Path(__file__).parents[1] / "data"
SERVER: Final = Server(Protocol.TCP, "10.96.0.10", 80)
INTERESTS: Final = tuple(
    notices.Interest(family, frozenset({"nat", "kproxy"}), b"KPROXY", "kproxy-ipvs0") for family in Family
)


def manifests(data: bytes) -> None:
    """A file of manifests: documents or problems, never an error; each document is an object or is not."""
    for document in read_text("fuzz.yaml", data).documents:
        for kind in Kind:
            read_object(kind, msgspec.Raw(document.raw))


def watch(data: bytes) -> None:
    """Lines of a watch stream, then the objects in them."""
    for line in data.split(b"\n"):
        with contextlib.suppress(ApiError):
            event = decode_event(line)
            for kind in Kind:
                read_object(kind, event.object, timed=True)
                trigger_time(kind, event.object)
            decode_status(event.object)


def lists(data: bytes) -> None:
    """The answer to a list."""
    with contextlib.suppress(ApiError):
        for item in decode_list(data).items or ():
            for kind in Kind:
                read_object(kind, item)
    decode_status(data)


def config(data: bytes) -> None:
    """A configuration file."""
    with contextlib.suppress(ConfigError):
        read_config(data.decode(errors="replace"), "fuzz.yaml")


def rules(data: bytes) -> None:
    """What iptables-save printed."""
    text = data.decode(errors="replace")
    parse_iptables(text)
    parse_chains(text, is_ours)


def netlink(data: bytes) -> None:
    """Answers and notifications that concern no backend alone."""
    for reading in (_acknowledgements, _attributes, _links, _addresses, _notices):
        with contextlib.suppress(Malformed):
            reading(data)


def _acknowledgements(data: bytes) -> None:
    for received in messages.walk(data):
        messages.read_ack(received)
    messages.first_sequence(data)
    messages.last_message(data)


def _attributes(data: bytes) -> None:
    read(data)


def _links(data: bytes) -> None:
    list(notices.read_links(data, {"kproxy-ipvs0": 2}, INTERESTS))


def _addresses(data: bytes) -> None:
    addresses.read_addresses(messages.walk(data))


def _notices(data: bytes) -> None:
    notices.read_rules(frozenset(), data, INTERESTS)


def nftables_dump(data: bytes) -> None:
    """The kernel's answers to the nftables backend: tables, chains, rules, sets and elements from one buffer."""
    with contextlib.suppress(Malformed, KeyError):
        kinds: dict[int, list[Message]] = {}
        for message in messages.walk(data):
            kinds.setdefault(message.kind & 0xFF, []).append(message)
        tables, chains, rules, known = (kinds.get(kind, []) for kind in (0, 3, 6, 9))
        for family in Family:
            elements = {nftables.set_name(one): kinds.get(12, []) for one in known}
            nftables.parse(family, tables or [_TABLE], chains, rules, known, elements)


_TABLE: Final = Message(10 << 8, 0, 0, 0, b"")


def ipvs_dump(data: bytes) -> None:
    """The kernel's answers to the IPVS backend: servers, real servers, time-outs, sets."""
    with contextlib.suppress(Malformed):
        for received in messages.walk(data):
            for family in Family:
                with contextlib.suppress(Malformed, KeyError):
                    servers.read_server(received, family)
                with contextlib.suppress(Malformed, KeyError):
                    servers.read_real(received, SERVER, family)
            with contextlib.suppress(Malformed, KeyError):
                servers.read_timeouts([received])
            with contextlib.suppress(Malformed, KeyError):
                list(sets.read_sets([received], "KPROXY-"))


def conntrack(data: bytes) -> None:
    """The kernel's answers about connections."""
    with contextlib.suppress(Malformed):
        part = split(data)
        for row in Reader(FIELDS).rows(part.flows):
            entry_of(row)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "manifests": manifests,
    "watch": watch,
    "lists": lists,
    "config": config,
    "rules": rules,
    "netlink": netlink,
    "nftables": nftables_dump,
    "ipvs": ipvs_dump,
    "conntrack": conntrack,
}


def seeds(name: str) -> list[bytes]:
    """Well-formed input of a target, from what was recorded."""
    found = list(_SEEDS[name]())
    assert found, name
    return found


def _files(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(DATA.glob(pattern))]


def _streams() -> Iterator[bytes]:
    for text in _files("recordings/services-watch*.json") + _files("recordings/endpointslices-watch.json"):
        lines = json.loads(text)["response"].get("lines", ())
        yield b"\n".join(line["line"].encode() for line in lines[:6])


def _bodies() -> Iterator[bytes]:
    for text in _files("recordings/*-list*.json"):
        response = json.loads(text)["response"]
        if "body" in response:
            body = response["body"]
            yield body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _dumps() -> Iterator[bytes]:
    for dump in json.loads(DATA.joinpath("netlink/captures.json").read_text())["tables"].values():
        yield b"".join(_hexes(dump))


def _hexes(value: object) -> Iterator[bytes]:
    if isinstance(value, str):
        yield bytes.fromhex(value)
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _hexes(inner)


def _ipvs() -> Iterator[bytes]:
    for payload in json.loads(DATA.joinpath("netlink/ipvs.json").read_text())["messages"].values():
        yield messages.message(16, 2, 1, bytes.fromhex(payload))


def _connections() -> Iterator[bytes]:
    return (found[:4096] for found in _files("conntrack/*.bin"))


_SEEDS: Final[Mapping[str, Callable[[], Iterable[bytes]]]] = {
    "manifests": lambda: _files("manifests/**/*.y*ml") + _files("manifests/*.json"),
    "watch": _streams,
    "lists": _bodies,
    "config": lambda: _files("config/*.yaml"),
    "rules": lambda: _files("audit/*.rules"),
    "netlink": lambda: [*_dumps(), *_connections()],
    "nftables": _dumps,
    "ipvs": _ipvs,
    "conntrack": _connections,
}
