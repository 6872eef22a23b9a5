"""Documents as input for ip, ipset, ipvsadm and iptables-restore, and changes for people to read.

A whole document is four texts, one after the other, each below a line that
names its program; `sections` gives them apart. ipvsadm-restore empties the
whole table first, so the text is for `ipvsadm --restore`, which does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, cast

from backends.ipvs.names import LINK, SETS
from backends.ipvs.objects import (
    Balance,
    Drain,
    Mark,
    Member,
    Real,
    Server,
    SetId,
    Shape,
    Sysctl,
    Timeouts,
    Vip,
    member_text,
    place,
)
from backends.ipvs.sets import MOST_MEMBERS
from backends.ipvs.steps import restore_input
from kproxy.core.chains import ChainId
from kproxy.core.document import Change, Content, Document, ObjectId, diff
from kproxy.core.values import Family, Protocol, address_number

TOOLS: Final = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
FAMILIES: Final = {Family.IPV4: "inet", Family.IPV6: "inet6"}
PROTOCOL_OPTIONS: Final = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
ORDER: Final = (SetId, Sysctl, Timeouts, Vip, Server, Drain, Real, Member, ChainId)


class Section(NamedTuple):
    """A text, and the program that reads it."""

    program: str
    text: str


def render(documents: Mapping[Family, Document]) -> str:
    """All sections of the documents, each below a comment line with its program."""
    return "".join(
        f"# {section.program}\n{section.text}"
        for family, document in documents.items()
        for section in sections(family, document)
    )


def sections(family: Family, document: Document) -> list[Section]:
    """The texts that make a document where none of kproxy's stands, in the order in which they are to be loaded."""
    objects = {key: content for fragment in document.values() for key, content in fragment.items()}
    return [
        Section("sysctl -p -", _lines(f"{key.name}={one}" for key, one in objects.items() if isinstance(key, Sysctl))),
        Section("ipset restore", _lines(_set_lines(family, objects))),
        Section("ipvsadm --restore", _lines(_server_lines(family, objects))),
        Section(f"{TOOLS[family]}-restore --noflush", restore_input(diff({}, document))),
        Section("ip -batch -", _lines(_address_lines(family, objects))),
    ]


def render_change(family: Family, change: Change) -> str:
    """A change for people: `+` and `-` before each line, what Services share first."""
    lines: list[str] = []
    for kind in ORDER:
        for key in sorted((one for one in change.removed if isinstance(one, kind)), key=str):
            lines += [f"- {line}" for line in describe(family, key, change.removed[key].content)]
        for key in sorted((one for one in change.changed if isinstance(one, kind)), key=str):
            old, new = (describe(family, key, one) for one in (change.changed[key].old, change.changed[key].new))
            lines += [f"- {line}" for line in old if line not in new] + [f"+ {line}" for line in new if line not in old]
        for key in sorted((one for one in change.added if isinstance(one, kind)), key=str):
            lines += [f"+ {line}" for line in describe(family, key, change.added[key].content)]
    return _lines(lines)


def removals(family: Family, change: Change) -> list[str]:
    """The commands that remove a change's virtual servers and sets; its chains and the link go by name."""
    servers = sorted((key for key in change.removed if isinstance(key, Server)), key=str)
    names = sorted(key.name for key in change.removed if isinstance(key, SetId))
    return [
        *(f"ipvsadm --delete-service {_long_text(one, family)}" for one in servers),
        *(f"ipset destroy {name}" for name in names),
    ]


def _long_text(server: Server, family: Family) -> str:
    """As what is found by the link's addresses is written too: one server, one line."""
    if server.protocol is None:
        return server_text(server, family)
    return f"--{server.protocol.lower()}-service {place(server.address, server.port)}"


def describe(family: Family, key: ObjectId, content: Content) -> list[str]:
    """An object as its program would be told to make it."""
    if isinstance(key, Server):
        return [f"ipvsadm -A {server_text(key, family)} {balance_text(cast('Balance', content), family)}"]
    if isinstance(key, Real):
        return [f"ipvsadm -a {real_text(key, cast('int', content), family)}"]
    if isinstance(key, SetId):
        return [f"ipset create {set_text(key, cast('Shape', content), family)}"]
    if isinstance(key, Member):
        return [f"ipset add {key.set} {member_text(key)}{mark_text(cast('Mark', content))}"]
    if isinstance(key, ChainId):
        return [f"{TOOLS[family]} -t {key.table} -A {key.chain} {rule}" for rule in cast("tuple[str, ...]", content)]
    return [f"ip {_address_line(family, key.address)}" if isinstance(key, Vip) else f"{key} = {content}"]


def _lines(lines: Iterator[str] | list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _set_lines(family: Family, objects: Mapping[ObjectId, Content]) -> Iterator[str]:
    for key, one in objects.items():
        if isinstance(key, SetId):
            yield f"create {set_text(key, cast('Shape', one), family)}"
    for key, one in objects.items():
        if isinstance(key, Member):
            yield f"add {key.set} {member_text(key)}{mark_text(cast('Mark', one))}"
        elif isinstance(key, Vip):
            yield f"add {SETS[family].vips} {key.address}"


def _server_lines(family: Family, objects: Mapping[ObjectId, Content]) -> Iterator[str]:
    for key, one in objects.items():
        if isinstance(key, Server):
            yield f"-A {server_text(key, family)} {balance_text(cast('Balance', one), family)}"
    for key, one in objects.items():
        if isinstance(key, Real):
            yield f"-a {real_text(key, cast('int', one), family)}"


def _address_lines(family: Family, objects: Mapping[ObjectId, Content]) -> Iterator[str]:
    yield f"link add {LINK} type dummy"
    yield f"link set {LINK} addrgenmode none"
    yield f"link set {LINK} up"
    for address in sorted((key.address for key in objects if isinstance(key, Vip)), key=address_number):
        yield _address_line(family, address)


def _address_line(family: Family, address: str) -> str:
    how = "scope host" if family is Family.IPV4 else "preferred_lft 0 nodad"
    return f"address add {address}/{family.address_bits} dev {LINK} {how}"


def server_text(server: Server, family: Family) -> str:
    """A virtual server as ipvsadm names it."""
    if server.protocol is None:
        return f"-f {server.mark}{' -6' if family is Family.IPV6 else ''}"
    return f"{PROTOCOL_OPTIONS[server.protocol]} {place(server.address, server.port)}"


def balance_text(balance: Balance, family: Family) -> str:
    """How a virtual server chooses, as ipvsadm is told."""
    flags = "flag-3"
    if balance.scheduler == "mh":
        flags = "mh-fallback,flag-3" if balance.by_source else "mh-port,flag-3"
    mask = " -M 128" if family is Family.IPV6 else ""
    kept = f" -p {balance.persistence_s}{mask}" if balance.persistence_s else ""
    return f"-s {balance.scheduler}{kept} -b {flags}"


def real_text(real: Real, weight: int, family: Family) -> str:
    """A real server as ipvsadm is told."""
    return f"{server_text(real.server, family)} -r {place(real.address, real.port)} -m -w {weight}"


def set_text(key: SetId, shape: Shape, family: Family) -> str:
    """A set as ipset is told."""
    marks = " skbinfo" if shape.marks else ""
    return f"{key.name} {shape.kind} family {FAMILIES[family]} maxelem {MOST_MEMBERS}{marks}"


def mark_text(mark: Mark) -> str:
    """A member's mark as ipset is told; nothing for none."""
    return f" skbmark {mark.value:#x}/{mark.mask:#x}" if mark.mask else ""
