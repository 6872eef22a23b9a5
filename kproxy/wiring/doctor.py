"""Gathers what `kproxy doctor` judges.

Rules kept: nothing is set, bound or written, though the kernel may load modules that it is asked about; what cannot be
seen is left out, with the reason where there is one; nothing here decides what is good.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from typing import Final

from kproxy.config import Config
from kproxy.config.check import findings
from kproxy.config.listeners import healthz_listener, metrics_listener
from kproxy.core.doctor.ability import PURPOSES
from kproxy.core.doctor.facts import (
    NET_ADMIN,
    AgentFact,
    ClusterFact,
    ConfigFact,
    Facts,
    Place,
    Probe,
    Remnant,
    Tool,
    Usage,
)
from kproxy.core.instance import Instance, instance_named
from kproxy.core.leftovers import Signs, signs_of
from kproxy.core.model import NO_NAMESPACE
from kproxy.core.values import Family, ObjectKey
from kproxy.effects import machine, process
from kproxy.effects.leftovers import Chains, Remains, Table, named_link
from kproxy.effects.xtables import read_proc, rule_counts, standing_tools
from kproxy.errors import ConfigError, KproxyError
from kproxy.wiring.backends import OFFLINE_DEFAULT, PREFERRED, backend_names, find_backend
from kproxy.wiring.cleanup import all_remains
from kproxy.wiring.cluster import instance_of, load_config, node_name, open_source, read_source
from kproxy.wiring.local import ask, holder
from kproxy.wiring.parameters import parameters
from kproxy.wiring.question import KUBERNETES, Asked

PROXIES: Final = ("kube-proxy", "kube-router", "cilium-agent", "antrea-agent", "ovnkube")
"""Programs that program Services, or may be set to."""
TOOL_TIMEOUT_S: Final = 10.0


def gather(asked: Asked) -> Facts:
    """Everything that can be seen, with the configuration and backend that are named."""
    config, read = _config(asked)
    instance = config.instance
    capabilities = machine.effective_capabilities()
    may_program = NET_ADMIN in capabilities
    wanted = asked.backend or config.proxy.mode
    probes = tuple(_probes(instance, look=may_program))
    running, agent_error = _agent(instance)
    remnants, remnants_error = _remnants(instance) if may_program else ((), "")
    places = tuple(_places(config))
    return Facts(
        kernel=platform.release(),
        user_id=os.geteuid(),
        capabilities=capabilities,
        node=node_name(asked.node_name, config),
        backend=wanted,
        has_ipv6=machine.parameter("net.ipv6.conf.all.forwarding") is not None,
        probes=probes,
        tools=tuple(Tool(name, _version(name)) for name in PURPOSES),
        processes=machine.processes(PROXIES),
        agent=running,
        agent_error=agent_error,
        remnants=remnants,
        remnants_error=remnants_error,
        links=machine.links(),
        rules={family.label: _rules(family) for family in Family} if may_program else {},
        parameters=parameters(config, find_backend(_backend_in_use(wanted, probes)), platform.release()),
        ephemeral_ports=_range(machine.parameter("net.ipv4.ip_local_port_range")),
        reserved_ports=_ranges(machine.parameter("net.ipv4.ip_local_reserved_ports")),
        usage=_usage(),
        config=read,
        cluster=_cluster(asked, config),
        places=places,
        listening=machine.listening({place.port for place in places}),
    )


def _config(asked: Asked) -> tuple[Config, ConfigFact | None]:
    path, default = asked.config, Config().as_instance(instance_named(asked.instance))
    if path is None:
        return default, None
    try:
        config = load_config(path)
    except ConfigError as error:
        return default, ConfigFact(path, str(error))
    config = config.as_instance(instance_of(asked, config))
    remarks = [(text, "see the documentation of the configuration") for text in config.warnings]
    remarks += [(f"{path}: {one.field}: {one.text}", one.remedy) for one in findings(config)]
    return config, ConfigFact(path, "", tuple(remarks))


def _cluster(asked: Asked, config: Config) -> ClusterFact | None:
    """What the API server says, if a kubeconfig is named."""
    kubeconfig = asked.kubeconfig or config.proxy.client_connection.kubeconfig
    if not kubeconfig:
        return None
    name = node_name(asked.node_name, config)
    try:
        snapshot = read_source(open_source(KUBERNETES, name, kubeconfig, instance=config.instance)).snapshot
    except KproxyError as error:
        return ClusterFact(str(error))
    return ClusterFact("", len(snapshot.services), ObjectKey(NO_NAMESPACE, name) in snapshot.nodes)


def _probes(instance: Instance, *, look: bool) -> Iterator[Probe]:
    for name in backend_names():
        for family in Family:
            yield Probe(name, family.label, _obstacle(name, instance, family) if look else "not looked at")


def _obstacle(name: str, instance: Instance, family: Family) -> str:
    """What the backend's own door says; empty if it opens."""
    try:
        find_backend(name, instance).open(family).close()
    except (KproxyError, OSError) as error:
        return str(error)
    return ""


def _backend_in_use(wanted: str, probes: tuple[Probe, ...]) -> str:
    """The backend whose parameters are looked at: the one that is asked for, or would be chosen."""
    if wanted:
        return wanted
    works = {one.backend for one in probes if not one.obstacle}
    return next((name for name in PREFERRED if name in works), OFFLINE_DEFAULT)


def _version(tool: str) -> str:
    try:
        result = process.run([tool, "--version"], "", TOOL_TIMEOUT_S)
    except KproxyError:
        return ""
    lines = [line.strip() for line in (result.output + result.errors).splitlines()]
    return next((line for line in lines if line.startswith(tool)), "there, and does not tell its version")


def _agent(instance: Instance) -> tuple[AgentFact | None, str]:
    pid, _ = holder(instance.local_name)
    if not pid:
        return None, ""
    try:
        status = json.loads(ask("/debug/status", instance.local_name))
        faults = tuple(status["sourceFaults"]["faults"])
        return AgentFact(pid, status["backend"], status["healthy"], status["ready"], faults), ""
    except (KproxyError, ValueError, KeyError) as error:
        return None, f"process {pid} holds the agent's name and does not answer as one: {error}"


def _remnants(instance: Instance) -> tuple[tuple[Remnant, ...], str]:
    """What kube-proxy, and which of our backends, left; and why it could not be found out."""
    try:
        return tuple(_found(signs_of(instance))), ""
    except (KproxyError, OSError) as error:
        return (), str(error)


def _found(signs: Signs) -> Iterator[Remnant]:
    ours: list[tuple[str, list[Remains]]] = [("kproxy (nftables)", [Table(signs.table, family) for family in Family])]
    if signs.link:
        ours.append(("kproxy (ipvs)", [named_link(signs.link)]))
    if signs.link not in machine.links():  # IPVS has chains of these names too
        tools = [one for family in Family for one in standing_tools(family, process.run, read_proc)]
        ours.append(("kproxy (iptables)", [Chains(signs, one) for one in tools]))
    for owner, remains in (("kube-proxy", all_remains(ours=False, kube_proxy=True)), *ours):
        lines = [line for one in remains for line in one.find()]
        if lines:
            yield Remnant(owner, len(lines), lines[0])


def _rules(family: Family) -> dict[str, int]:
    return {variant.value: count for variant, count in rule_counts(family, process.run, read_proc).items()}


def _range(text: str | None) -> tuple[int, int] | None:
    words = (text or "").split()
    return (int(words[0]), int(words[1])) if len(words) > 1 else None


def _ranges(text: str | None) -> tuple[tuple[int, int], ...]:
    """`30000-32767,40000` as pairs."""
    parts = [part.partition("-") for part in (text or "").split(",") if part]
    return tuple((int(first), int(last or first)) for first, _, last in parts)


def _usage() -> Usage | None:
    entries, maximum = (machine.parameter(f"net.netfilter.nf_conntrack_{name}") for name in ("count", "max"))
    return Usage(int(entries), int(maximum)) if entries and maximum else None


def _places(config: Config) -> Iterator[Place]:
    for purpose, listener in (("healthz", healthz_listener(config)), ("metrics", metrics_listener(config))):
        if listener is not None:
            yield Place(purpose, listener.address, listener.port)
