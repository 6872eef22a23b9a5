"""Kernel parameters, the table of connections, the configuration file, the node's name, and the agent itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kproxy.core.doctor.checks import Check, failure, not_applicable, ok, warning
from kproxy.core.doctor.facts import Facts, Parameter

NEARLY_FULL, FULL = 0.8, 0.95
NODE_PORTS = (30000, 32767)
"""kube-apiserver's default --service-node-port-range."""
ESSENTIAL = "net.ipv4.ip_forward"
"""Without it no packet gets to an endpoint on another machine."""
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 253
RENAME = "set hostnameOverride or --node-name to the Node object's name: kubectl get nodes"


def parameters(facts: Facts) -> Iterator[Check]:
    """Each parameter against what this configuration, on this kernel, needs."""
    for one in facts.parameters:
        yield _parameter(one)


def _parameter(one: Parameter) -> Check:
    name, wanted = f"sysctl/{one.name}", f"{'at least ' if one.at_least else ''}{one.wanted}"
    if one.found is None:
        return not_applicable(name, "this kernel does not have it, or not before its module is loaded")
    if one.found == one.wanted or (one.at_least and _number(one.found) >= _number(one.wanted)):
        return ok(name, one.found)
    if one.set_by_agent and one.is_writable:
        return ok(name, f"{one.found}; the agent sets it to {wanted}")
    if one.name == ESSENTIAL:
        return failure(name, f"{one.found}: {one.consequence}", f"sysctl -w {one.name}={one.wanted}")
    remedy = f"sysctl -w {one.name}={one.wanted}"
    if one.set_by_agent:
        remedy += ", or let an init container do it: kproxy run --init-only"
    return warning(name, f"{one.found}, not {wanted}: {one.consequence}", remedy)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else -1


def ephemeral_ports(facts: Facts) -> Iterator[Check]:
    """NodePorts that the kernel may give to the node's own connections."""
    name = "sysctl/net.ipv4.ip_local_port_range"
    if facts.ephemeral_ports is None:
        return
    low, high = facts.ephemeral_ports
    first, last = max(low, NODE_PORTS[0]), min(high, NODE_PORTS[1])
    shielded = any(start <= first and last <= end for start, end in facts.reserved_ports)
    if first > last or shielded:
        yield ok(name, f"{low} to {high}")
    else:
        yield warning(
            name,
            f"{low} to {high} holds NodePorts ({first} to {last}): answers to such connections look like new ones",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={NODE_PORTS[0]}-{NODE_PORTS[1]}",
        )


def connections(facts: Facts) -> Iterator[Check]:
    """How full the table of connections is."""
    usage = facts.usage
    if usage is None or not usage.maximum:
        yield not_applicable("conntrack", "connections are not tracked here yet: the module nf_conntrack is not loaded")
        return
    share = usage.entries / usage.maximum
    found = f"{usage.entries} of {usage.maximum} connections ({share:.0%})"
    remedy = "raise conntrack.maxPerCore; kproxy conntrack stats --by client shows who has them"
    judged = failure if share >= FULL else warning
    yield ok("conntrack", found) if share < NEARLY_FULL else judged("conntrack", found, remedy)


def config(facts: Facts) -> Iterator[Check]:
    """The configuration file, as `kproxy check-config` reads it."""
    if facts.config is None:
        yield not_applicable("config", "no file is named", "name it with --config FILE to have it checked")
    elif facts.config.error:
        yield failure("config", facts.config.error, "the message says what is allowed there")
    elif not facts.config.remarks:
        yield ok("config", f"{facts.config.path}: nothing to say")
    else:
        for text, remedy in facts.config.remarks:
            yield warning("config", text, remedy)


def node_name(facts: Facts) -> Iterator[Check]:
    """Whether a Node object can have this name at all (RFC 1123 subdomain)."""
    name = facts.node
    if len(name) > LONGEST_NAME or not all(LABEL.fullmatch(label) for label in name.split(".")):
        yield failure("node-name", f"{name[:80]!r} cannot be the name of a Node object", RENAME)
    elif name.split(".")[0] == "localhost":
        yield warning("node-name", f"{name!r} is hardly a Node object's name", RENAME)
    else:
        yield ok("node-name", name)


def cluster(facts: Facts) -> Iterator[Check]:
    """The API server, and whether it knows this node."""
    found = facts.cluster
    if found is None:
        yield not_applicable("api-server", "no kubeconfig is named", "name it with --kubeconfig FILE to have it asked")
        return
    if found.error:
        remedy = "see its address and the rights of its user: ClusterRole system:node-proxier is what is needed"
        yield failure("api-server", found.error, remedy)
        return
    yield ok("api-server", f"it answers, and lists {found.services} Services")
    if not found.knows_node:
        what = f"no Node object is named {facts.node}: no endpoint counts as local, and health is red"
        yield failure("node-name/cluster", what, RENAME)


def agent(facts: Facts) -> Iterator[Check]:
    """The agent that runs here, if one does."""
    running = facts.agent
    if facts.agent_error:
        yield failure("agent", facts.agent_error, "look into its log; kproxy status asks again")
    elif running is None:
        yield not_applicable("agent", "none runs in this network namespace")
    elif running.healthy and running.ready and running.faults:
        found = f"process {running.pid}, backend {running.backend}: its source is in trouble: {running.faults[0]}"
        yield warning("agent", found, "mend it: until then it knows of no change in there; kproxy status names all")
    elif running.healthy and running.ready:
        yield ok("agent", f"process {running.pid}, backend {running.backend}: ready and healthy")
    else:
        words = "not healthy" if running.ready else "not ready"
        yield failure("agent", f"process {running.pid}, backend {running.backend}: {words}", "kproxy status says why")
