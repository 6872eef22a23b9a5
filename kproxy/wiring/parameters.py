"""The kernel parameters that matter to a node, as they are and as they are to be with this kernel and configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from backends.ipvs.parameters import REUSE_MODE, wants_reuse_off
from kproxy.config import Config
from kproxy.core.doctor.facts import Parameter
from kproxy.effects import machine
from kproxy.ports import Backend
from kproxy.wiring.sysctls import MAX, conntrack_max, of_backend, timeouts

FORWARDING: Final = {
    "net.ipv4.ip_forward": "packets to endpoints on other machines, and from pods, are dropped",
    "net.ipv6.conf.all.forwarding": "packets to IPv6 endpoints on other machines, and from pods, are dropped",
}
BRIDGES: Final = frozenset({"cni0", "cbr0", "kube-bridge", "mynet0"})
"""Bridges that well-known network plugins hang pods on."""
BRIDGED: Final = {
    "net.bridge.bridge-nf-call-iptables": "answers between pods on one bridge bypass the rules",
    "net.bridge.bridge-nf-call-ip6tables": "answers between pods on one bridge bypass the rules, with IPv6",
}


def parameters(config: Config, backend: Backend, release: str) -> tuple[Parameter, ...]:
    """All of them, each once, as the agent sets it where it does; `release` is `uname -r`."""
    several = (*_forwarding(), *_bridged(config), *_of_agent(config, backend, release))
    return tuple({one.name: one for one in several}.values())


def _forwarding() -> Iterator[Parameter]:
    for name, consequence in FORWARDING.items():
        yield _look(name, "1", consequence, set_by_agent=False)


def _bridged(config: Config) -> Iterator[Parameter]:
    """Only where pods hang on a bridge; without br_netfilter bridged packets pass by the rules, as with 0."""
    if not machine.links() & {*BRIDGES, config.proxy.detect_local.bridge_interface}:
        return
    for name, consequence in BRIDGED.items():
        found = machine.parameter(name) or "0 (the module br_netfilter is not loaded)"
        yield Parameter(name, found, "1", False, consequence, machine.is_writable(name), set_by_agent=False)


def _of_agent(config: Config, backend: Backend, release: str) -> Iterator[Parameter]:
    """What the agent sets at its start."""
    most = conntrack_max(config.proxy.conntrack, os.cpu_count() or 1)
    if most:
        yield _look(MAX, str(most), "new connections are dropped as soon as that many are tracked", at_least=True)
    for one in (*timeouts(config.proxy.conntrack), *of_backend(backend, config)):
        yield _look(one.sysctl.name, one.sysctl.value, one.consequence)
    if backend.name == "ipvs" and wants_reuse_off(release):
        yield _look(REUSE_MODE.name, REUSE_MODE.value, "on kernels 4.1 to 5.8 a reused source port waits a second")


def _look(name: str, wanted: str, consequence: str, *, at_least: bool = False, set_by_agent: bool = True) -> Parameter:
    found = machine.parameter(name)
    return Parameter(name, found, wanted, at_least, consequence, machine.is_writable(name), set_by_agent)
