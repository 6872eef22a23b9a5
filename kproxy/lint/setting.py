"""Checks of the configuration and of what the backend makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kproxy.config.check import findings
from kproxy.core.node_facts import loopback_takes_node_ports
from kproxy.core.values import Family
from kproxy.lint.finding import Check, Found, Place, Severity, cluster_scoped, service
from kproxy.lint.subject import Subject

CONFIGURATION: Final = cluster_scoped("KubeProxyConfiguration")


def _place(subject: Subject) -> Place | None:
    return Place(subject.config_file) if subject.config_file else None


def _configuration(subject: Subject) -> Iterator[Found]:
    if subject.config_file:
        for one in findings(subject.config):
            yield Found(CONFIGURATION, one.field, "", one.text, one.remedy, _place(subject))


def _unsupported(subject: Subject) -> Iterator[Found]:
    for one in subject.unsupported:
        reason = f"the {subject.backend} backend cannot do it: {one.instead}"
        if one.service is None:
            yield Found(CONFIGURATION, "", one.what, f"{one.what}: {reason}", place=_place(subject))
        else:
            yield Found(service(one.service), "", one.what, f"{one.what}: {reason}")


def _loopback(subject: Subject) -> Iterator[Found]:
    has_node_ports = any(port.node_port for one in subject.snapshot.services.values() for port in one.ports)
    if has_node_ports and loopback_takes_node_ports(subject.settings, subject.traits, Family.IPV4):
        reason = "NodePorts are served on 127.0.0.1, for which nodes get net.ipv4.conf.all.route_localnet=1"
        field = "iptables.localhostNodePorts" if subject.backend == "iptables" else "nodePortAddresses"
        yield Found(CONFIGURATION, field, "true", reason, place=_place(subject))


CHECKS: Final[tuple[Check[Subject], ...]] = (
    Check(
        "KPX070",
        Severity.WARNING,
        "configuration that leaves something to be desired",
        "What `kproxy check-config` says, about the file given with --config.",
        "see the finding",
        _configuration,
    ),
    Check(
        "KPX071",
        Severity.WARNING,
        "what this backend cannot do",
        "Backends agree on what a packet meets but for a few things that one of them has no means for.",
        "use another backend, or change the setting",
        _unsupported,
    ),
    Check(
        "KPX072",
        Severity.INFO,
        "NodePorts on localhost",
        "route_localnet lets packets for 127.0.0.1 come in from the network (CVE-2020-8558). A rule drops those that no"
        " NodePort asked for; whoever flushes the rules opens every listener on the node's loopback to its neighbours.",
        "set iptables.localhostNodePorts to false, or list addresses without loopback in nodePortAddresses",
        _loopback,
    ),
)
