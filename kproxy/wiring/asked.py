"""What a question about a node needs to be answered: configuration, Services, host."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import msgspec

from kproxy.config import Config
from kproxy.core.instance import Instance
from kproxy.core.node_facts import unknown_node
from kproxy.core.plan import NodePlan
from kproxy.core.planner import Planned
from kproxy.core.values import Family, ObjectKey, Value
from kproxy.errors import ConfigError
from kproxy.ports import Backend
from kproxy.wiring.backends import OFFLINE_DEFAULT, find_backend
from kproxy.wiring.cluster import (
    Gathered,
    instance_of,
    live_host,
    load_config,
    node_addresses,
    node_name,
    open_source,
    read_files,
    read_source,
)
from kproxy.wiring.offline import Node, offline_host
from kproxy.wiring.question import KUBERNETES, Asked


class Subject(Value, frozen=True):
    """What the options come to; `remarks` are for the user, beside the answer."""

    config: Config
    gathered: Gathered
    host_name: str
    primary: tuple[str, ...]
    remarks: tuple[str, ...]

    def backend_name(self, asked: Asked) -> str:
        """The backend that is named by option or configuration; empty if none is."""
        return asked.backend or self.config.proxy.mode

    @property
    def faults(self) -> tuple[str, ...]:
        """The manifests that cannot be read at all, and why: an answer leaves out what they hide."""
        return self.gathered.snapshot.flaws.faults

    def offline_backend(self, asked: Asked) -> Backend:
        """The named backend, else the default for questions that no kernel is asked for."""
        return find_backend(self.backend_name(asked) or OFFLINE_DEFAULT, self.instance)

    @property
    def instance(self) -> Instance:
        """Whose Services and rules are meant."""
        return self.config.instance

    def offline_node(self, backend: Backend) -> Node:
        """The node that manifests, Node object and options describe."""
        host = offline_host(self.host_name, self.primary, self.gathered.snapshot)
        return Node(self.gathered.snapshot, self.config.settings_for(backend.name), host)

    def live_node(self, backend: Backend) -> Node:
        """The same, but with this machine's own addresses."""
        host = live_host(self.host_name, self.primary)
        return Node(self.gathered.snapshot, self.config.settings_for(backend.name), host)


def look_into(asked: Asked) -> Subject:
    """Read configuration and Services; ConfigError or ApiError if they cannot be had."""
    config = load_config(asked.config)
    config = config.as_instance(instance_of(asked, config))
    name, primary = node_name(asked.node_name, config), node_addresses(asked.node_ips, config)
    gathered = _gather(asked, config, name)
    remarks = [*config.warnings, *(f"skipped: {problem}" for problem in gathered.problems)]
    unknown = unknown_node(gathered.snapshot.nodes, name)
    return Subject(config, gathered, name, primary, (*remarks, unknown) if unknown else tuple(remarks))


def look_into_whole(asked: Asked) -> Subject:
    """As `look_into`, for answers that would mislead if they left anything out: ConfigError for an unreadable file."""
    subject = look_into(asked)
    if subject.faults:
        raise ConfigError(f"{'; '.join(subject.faults)}; nothing is said without what this hides")
    return subject


def _gather(asked: Asked, config: Config, name: str) -> Gathered:
    if asked.files:
        return read_files(asked.files, config.instance)
    if asked.source != KUBERNETES:
        return read_files([asked.source], config.instance)
    kubeconfig = asked.kubeconfig or config.proxy.client_connection.kubeconfig
    return read_source(open_source(asked.source, name, kubeconfig, instance=config.instance))


def service_key(text: str) -> ObjectKey:
    """`namespace/name` as a key; ConfigError if it is not of that form."""
    namespace, slash, name = text.partition("/")
    if not (slash and namespace and name) or "/" in name:
        raise ConfigError(f"--service {text[:80]!r}: write NAMESPACE/NAME, for example shop/cart")
    return ObjectKey(namespace, name)


def narrowed(plans: Mapping[Family, Planned], service: ObjectKey) -> dict[Family, NodePlan]:
    """The plans as if this Service were the only one, so that what is compiled of them is whole and loadable.

    ConfigError, with the nearest names, if it is in no family's plan.
    """
    found = {
        family: msgspec.structs.replace(planned.plan, services={service: planned.plan.services[service]})
        for family, planned in plans.items()
        if service in planned.plan.services
    }
    if not found:
        raise unknown_service(service, {str(key) for planned in plans.values() for key in planned.plan.services})
    return found


def unknown_service(service: ObjectKey, known: set[str]) -> ConfigError:
    """The error for a Service that has nothing on this node."""
    near = difflib.get_close_matches(str(service), sorted(known), n=3, cutoff=0.7)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    reason = "it is not known, or headless, ExternalName or another proxy's"
    return ConfigError(f"Service {service} has nothing on this node: {reason}{hint}")
