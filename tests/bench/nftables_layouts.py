"""Ways to lay the dispatch out, measured: a plain set per shape, one verdict map, and what shapes and sizes cost.

Start it in a namespace of its own: `unshare --net python -m tests.bench.nftables_layouts 100 10000 100000`.
A line per layout: how long the first load takes, how long the node takes to
send the first packet of a connection (median of sendto(2), which runs all
hooks of the output side) to a Service and to no Service, and the median time
to add a Service and to move one from shape to shape.
"""

from __future__ import annotations

import ipaddress
import itertools
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from backends.nftables import BACKEND
from backends.nftables import expressions as ex
from backends.nftables import rules as r
from backends.nftables.kernel import NftablesKernel
from backends.nftables.layout import DISPATCH, WORDS, is_frontends, load, sticky_map
from backends.nftables.objects import Chain, Element, Set, chain_id, element_id, key_of, name_of, set_id
from kproxy.core.document import Document, Fragment, diff
from kproxy.core.plan import (
    Action,
    Client,
    Endpoint,
    Frontend,
    FrontendKind,
    NodePlan,
    PortPlan,
    Route,
    ServicePlan,
    Unallocated,
    Unlisted,
)
from kproxy.core.values import Family, ObjectKey, Protocol

WORDS_4 = WORDS[Family.IPV4]
KEY = WORDS_4.key(node_port=False)
PODS = ipaddress.ip_network("10.64.0.0/11")
CLUSTER = ipaddress.ip_network("10.96.0.0/12")
TO_CLUSTER = (Route(Client.POD, False, Action.CLUSTER), Route(Client.ANY, True, Action.CLUSTER))
FROM_ALL = (Route(Client.ANY, True, Action.CLUSTER),)
NODE, NOWHERE = "192.0.2.1", "203.0.113.9"
PACKETS, CHANGES = 4000, 7
VERDICTS = sticky_map(Action.CLUSTER, node_port=False)
"""Of the right type, and empty here: it stands in for a verdict map of all frontends."""


def service(number: int, endpoints: int = 5, routes: tuple[Route, ...] = TO_CLUSTER) -> ServicePlan:
    """One UDP port, one ClusterIP."""
    pool = tuple(Endpoint(str(PODS[number * 7 % 65536 * 16 + place + 1]), 53, False) for place in range(endpoints))
    frontend = Frontend(FrontendKind.CLUSTER, str(CLUSTER[number + 1]), 53)
    port = PortPlan("dns", Protocol.UDP, (frontend,), 0, pool, (), pool, routes, routes)
    return ServicePlan(ObjectKey(f"ns{number % 50}", f"s{number}"), (port,))


def document(services: Iterable[ServicePlan]) -> Document:
    """What our compiler makes of them."""
    plan = NodePlan(
        Family.IPV4,
        {one.service: one for one in services},
        pods=(PODS,),
        node_ports=frozenset({NODE}),
        cluster_ranges=(CLUSTER,),
        unlisted=Unlisted.REJECT,
        unallocated=Unallocated.DROP,
    )
    return BACKEND.compile(plan, None).document


def as_it_is(compiled: Document) -> Document:
    """Our layout."""
    return compiled


def with_verdict_map(compiled: Document) -> Document:
    """One map from every frontend to its shape's chain, in place of a set per shape."""
    moved = {owner: _moved(fragment) for owner, fragment in compiled.items()}
    dispatch = moved["frontends"][chain_id(DISPATCH)]
    assert isinstance(dispatch, Chain)
    rest = [rule for rule in dispatch.rules if not any(isinstance(e, ex.Lookup) and is_frontends(e.set) for e in rule)]
    by_map = (*load(WORDS_4, KEY), ex.Lookup(VERDICTS, 0, ex.VERDICT_WORD))
    return {**moved, "frontends": {**moved["frontends"], chain_id(DISPATCH): Chain(None, (by_map, *rest))}}


def _moved(fragment: Fragment) -> Fragment:
    return {
        element_id(VERDICTS, key_of(key)) if isinstance(key, bytes) and is_frontends(name_of(key)) else key: (
            Element(name_of(key).encode(), content.comment)
            if isinstance(content, Element) and is_frontends(name_of(key))
            else content
        )
        for key, content in fragment.items()
    }


def with_more_shapes(count: int) -> Callable[[Document], Document]:
    """Our layout with this many shapes more, tried before those in use."""

    def change(compiled: Document) -> Document:
        frontends = dict(compiled["frontends"])
        dispatch = frontends[chain_id(DISPATCH)]
        assert isinstance(dispatch, Chain)
        names = [f"frontends/{number}" for number in range(count)]
        for number, name in enumerate(names):
            frontends |= {set_id(name): Set(KEY), chain_id(name): Chain(None, ())}
            frontends[element_id(name, bytes([1, 1, 1, number, 17, 0, 0, 0, 0, 53, 0, 0]))] = Element()
        rules = [(*r.in_set(WORDS_4, KEY, name), *r.goto(name)) for name in names]
        frontends[chain_id(DISPATCH)] = Chain(None, (*rules, *dispatch.rules))
        return {**compiled, "frontends": frontends}

    return change


def first_packet_us(addresses: list[str]) -> float:
    """The median of sendto(2) from a fresh port."""
    taken = []
    for _ in range(PACKETS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((NODE, 0))
            target = (random.choice(addresses), 53)
            began = time.perf_counter_ns()
            sender.sendto(b"x", target)
            taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1000


def change_ms(kernel: NftablesKernel, steps: list[Document]) -> float:
    """The median time to go from each Document to the next."""
    taken = []
    for before, after in itertools.pairwise(steps):
        change = diff(before, after)
        began = time.perf_counter()
        assert not kernel.apply(change).refusals
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def measure(kernel: NftablesKernel, label: str, services: int, lay_out: Callable[[Document], Document]) -> str:
    """Load a layout, measure it, remove it."""
    every = [service(number) for number in range(services)]
    # Both shapes exist throughout, so that moving between them is elements only.
    every[0] = service(0, routes=FROM_ALL)
    start = lay_out(document(every))
    began = time.perf_counter()
    kernel.apply(diff({}, start))
    loaded_ms = (time.perf_counter() - began) * 1000
    hits = [str(CLUSTER[number + 1]) for number in random.sample(range(services), min(services, 2000))]
    hit_us, miss_us = first_packet_us(hits), first_packet_us([NOWHERE])
    added = [start]
    for number in range(services, services + CHANGES):
        fresh = service(number)
        added.append({**added[-1], str(fresh.service): _moved_if(lay_out, document([fresh])[str(fresh.service)])})
    adding_ms = change_ms(kernel, added)
    moved = [added[-1]]
    for turn in range(CHANGES):
        one = service(services // 2, routes=(FROM_ALL, TO_CLUSTER)[turn % 2])
        moved.append({**moved[-1], str(one.service): _moved_if(lay_out, document([one])[str(one.service)])})
    moving_ms = change_ms(kernel, moved)
    kernel.apply(diff(start, {}))
    return (
        f"{services:>7} {label:<24} load {loaded_ms:7.0f} ms   packet {hit_us:6.2f} / {miss_us:6.2f} us   "
        f"add {adding_ms:6.2f} ms   move {moving_ms:6.2f} ms\n"
    )


def _moved_if(lay_out: Callable[[Document], Document], fragment: Fragment) -> Fragment:
    return _moved(fragment) if lay_out is with_verdict_map else fragment


def measure_sizes(kernel: NftablesKernel, services: int, sizes: int) -> str:
    """The first packet to a Service of the largest pool, where pools of every size up to it exist."""
    every = [service(number, endpoints=number % sizes + 1) for number in range(services)]
    start = document(every)
    kernel.apply(diff({}, start))
    largest = [str(CLUSTER[number + 1]) for number in range(services) if number % sizes == sizes - 1]
    taken = first_packet_us(largest)
    kernel.apply(diff(start, {}))
    return f"{services:>7} the largest of {sizes:>2} sizes      packet {taken:6.2f} us\n"


def main() -> None:
    """Arguments: numbers of Services."""
    for command in (
        "link add out0 type veth peer name out1",
        "link set out1 up",
        f"addr add {NODE}/24 dev out0",
        "link set out0 arp off up",
        "route add default dev out0",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    kernel = BACKEND.open(Family.IPV4)
    sys.stdout.write(f"        without rules: {first_packet_us([NOWHERE]):.2f} us\n")
    layouts = {"set per shape": as_it_is, "verdict map": with_verdict_map}
    layouts |= {f"set per shape, {count} more": with_more_shapes(count) for count in (10, 40)}
    for services in map(int, sys.argv[1:]):
        for label, lay_out in layouts.items():
            sys.stdout.write(measure(kernel, label, services, lay_out))
            sys.stdout.flush()
    for sizes in (1, 10, 50):
        sys.stdout.write(measure_sizes(kernel, 2000, sizes))


if __name__ == "__main__":
    main()
