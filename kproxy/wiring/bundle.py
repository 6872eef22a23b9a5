"""Gathers the parts of a support bundle, each by itself, so that what one of them lacks keeps no other out.

Nothing is changed on the machine. No cluster, agent or root is needed: what needs them is missing, with the reason.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from conntrack.ahead import AheadSocket
from conntrack.check import Pressure, full_table, ranked, source_ports
from conntrack.services import NO_SERVICES
from conntrack.stats import Tally, summarise
from conntrack.table import Table
from kproxy.config.encode import encode
from kproxy.core.doctor import Facts, Status, judge
from kproxy.core.instance import Instance
from kproxy.core.values import Value
from kproxy.effects import machine, process
from kproxy.effects.network import PROC_SYS
from kproxy.errors import KproxyError
from kproxy.lint.present import plain
from kproxy.report.bundle import MAX_PART_BYTES, Part
from kproxy.report.connection_stats import Stats, finding_object, stats_object
from kproxy.report.doctor import checks_object
from kproxy.report.services import plan_json, view_services
from kproxy.wiring.asked import Subject, look_into
from kproxy.wiring.backends import choose, close_all, finder
from kproxy.wiring.cluster import instance_of, load_config, node_name
from kproxy.wiring.doctor import gather
from kproxy.wiring.lint import lint_asked
from kproxy.wiring.local import ask
from kproxy.wiring.offline import compile_families, plan_families, plans_of, unsupported_by
from kproxy.wiring.pages import DEBUG, PAGES
from kproxy.wiring.question import KUBERNETES, Asked

TIMEOUT_S: Final = 20.0
PARAMETERS: Final = ("net/netfilter", "net/ipv4/vs", "net/ipv4/conf/all", "net/ipv6/conf/all", "net/bridge")
"""Directories below /proc/sys that are told in full."""
SINGLE_PARAMETERS: Final = (
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
)
PROGRAMS: Final = {
    "network/addresses.txt": ("ip", "address"),
    "network/routes-ipv4.txt": ("ip", "-4", "route", "show", "table", "all"),
    "network/routes-ipv6.txt": ("ip", "-6", "route", "show", "table", "all"),
    "network/policy-ipv4.txt": ("ip", "-4", "rule"),
    "network/policy-ipv6.txt": ("ip", "-6", "rule"),
}
"""Parts that are what a program prints."""

Make = Callable[[], object]


class Source(Value, frozen=True):
    """A part that is yet to be made."""

    name: str
    make: Make


def sources(asked: Asked, version: str) -> tuple[Source, ...]:
    """Everything that a bundle holds."""
    seen = _Once(lambda: look_into(asked))
    facts = _Once(lambda: gather(asked))
    return (
        Source("versions.json", lambda: _versions(version)),
        Source("doctor.json", lambda: checks_object(facts(), judge(facts()))),
        Source("findings.json", lambda: _findings(facts())),
        Source("lint.json", lambda: _lint(asked)),
        Source("config.json", lambda: _config(asked)),
        Source("kubeconfig.json", lambda: _kubeconfig(asked)),
        Source("plan.json", lambda: _plan(asked, seen())),
        Source("rules/rendered.txt", lambda: _rendered(asked, seen())),
        Source("rules/observed.txt", lambda: _observed(asked)),
        Source("sysctls.txt", lambda: "".join(f"{line}\n" for line in _parameters())),
        Source("conntrack.json", _connections),
        *(Source(name, _program(command)) for name, command in PROGRAMS.items()),
        *(
            Source(f"agent/{page.replace('/', '-')}{_ending(page)}", _page(page, asked))
            for page in PAGES
            if page.islower()
        ),
    )


def made(several: Iterable[Source], begin: Callable[[str], None]) -> Iterator[Part]:
    """Each part, or why it is missing; `begin` hears the name of what is made next."""
    for one in several:
        begin(one.name)
        try:
            yield Part(one.name, one.make())
        except (KproxyError, OSError) as error:
            yield Part(one.name, missing=str(error))
        except Exception as error:  # noqa: BLE001 - a defect in one part is itself worth reporting, with all others
            yield Part(one.name, missing=f"defect of kproxy: {type(error).__name__}: {error}")


class _Once:
    """Asks once, and gives the same answer, or error, to everyone."""

    def __init__(self, question: Callable[[], Any]) -> None:
        self._question = question
        self._answer: Any = None
        self._error: KproxyError | None = None

    def __call__(self) -> Any:  # noqa: ANN401 - the question's answer
        if self._error is not None:
            raise self._error
        if self._answer is None:
            try:
                self._answer = self._question()
            except KproxyError as error:
                self._error = error
                raise
        return self._answer


def _versions(version: str) -> dict[str, object]:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    uname = platform.uname()
    return {
        "kproxy": version,
        "python": platform.python_version(),
        "kernel": {"release": uname.release, "version": uname.version, "machine": uname.machine},
        "system": system.get("PRETTY_NAME", ""),
        "processors": os.cpu_count(),
        "packages": {one.name: one.version for one in sorted(distributions(), key=lambda one: one.name.lower())},
    }


def _findings(facts: Facts) -> list[dict[str, object]]:
    """What is wrong now, in the order of urgency: the doctor's failures and warnings."""
    checks = [one for status in (Status.FAILURE, Status.WARNING) for one in judge(facts) if one.status is status]
    return [{"severity": one.status.value, "what": f"{one.name}: {one.found}", "remedy": one.remedy} for one in checks]


def _lint(asked: Asked) -> object:
    """What is unsafe or in vain in manifests; a cluster is read once, for the plan, and not again for this."""
    if not asked.files and asked.source == KUBERNETES:
        raise KproxyError("no manifests are named: kproxy lint --live asks the cluster")
    return plain(lint_asked(asked, live=False)[0])


def _config(asked: Asked) -> dict[str, object]:
    """The configuration as it is understood: what a file says beyond that is not repeated."""
    config = load_config(asked.config)
    config = config.as_instance(instance_of(asked, config))
    return {
        "file": asked.config or "none: the defaults",
        "warnings": list(config.warnings),
        "documents": [encode(config.proxy), encode(config.own)],
    }


def _kubeconfig(asked: Asked) -> dict[str, object]:
    """Which servers it names, and what kinds of credentials; nothing of the users themselves."""
    import yaml  # noqa: PLC0415 - only here

    path = asked.kubeconfig or load_config(asked.config).proxy.client_connection.kubeconfig
    if not path:
        raise KproxyError("no kubeconfig is named")
    try:
        found = yaml.safe_load(Path(path).read_bytes())
        return {
            "file": path,
            "clusters": [{"server": str(one["cluster"].get("server", ""))} for one in found.get("clusters") or ()],
            "credentialKinds": [sorted(map(str, one["user"])) for one in found.get("users") or ()],
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise KproxyError(f"{path} is no kubeconfig: {type(error).__name__}") from error


def _plan(asked: Asked, subject: Subject) -> object:
    backend = subject.offline_backend(asked)
    node = subject.offline_node(backend)
    planned = plan_families(node, backend, asked.families)
    unsupported = unsupported_by(plans_of(planned), backend)
    return plan_json(node.host.node, backend.name, planned, view_services(node.snapshot, planned), unsupported)


def _rendered(asked: Asked, subject: Subject) -> str:
    backend = subject.offline_backend(asked)
    plans = plans_of(plan_families(subject.offline_node(backend), backend, asked.families))
    return backend.render(compile_families(plans, backend))


def _observed(asked: Asked) -> str:
    """What of ours stands in the kernel, by the backend that is asked for, or runs, or would be chosen."""
    config = load_config(asked.config)
    instance = instance_of(asked, config)
    named = asked.backend or _running_backend(instance) or config.proxy.mode
    chosen = choose(named, asked.families, finder(instance))
    try:
        return chosen.backend.render({family: kernel.observe() for family, kernel in chosen.kernels.items()})
    finally:
        close_all(chosen.kernels.values())


def _running_backend(instance: Instance) -> str:
    try:
        return str(json.loads(ask(f"{DEBUG}status", instance.local_name))["backend"])
    except (KproxyError, ValueError, KeyError):
        return ""


def _parameters() -> Iterator[str]:
    for directory in PARAMETERS:
        root = PROC_SYS / directory
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            value = machine.parameter(f"{directory}/{path.name}")
            if value is not None:
                yield f"{directory.replace('/', '.')}.{path.name} = {value}"
    for name in SINGLE_PARAMETERS:
        yield f"{name.replace('/', '.')} = {machine.parameter(name) or ''}"


def _connections() -> dict[str, object]:
    """Counts only: who talks to whom is nobody else's business."""
    with Table(AheadSocket) as table:
        tally, pressure = table.whole(_counted)
        limits, counters = table.limits(), table.cpu_counters()
    stats = Stats(limits, counters, summarise(tally, NO_SERVICES))
    told = stats_object(stats, None, 0)
    found = ranked([*full_table(limits), *source_ports(pressure)])
    states = {name: told[name] for name in ("table", "counters", "perCpu", "total", "distinctClients")}
    return {
        **states,
        "states": stats_object(stats, "state", None)["states"],
        "findings": list(map(finding_object, found)),
    }


def _counted(batches: Iterator[list[bytes]]) -> tuple[Tally, Pressure]:
    tally, pressure = Tally(), Pressure()
    for batch in batches:
        tally.add(batch)
        pressure.add(batch)
    return tally, pressure


def _program(command: tuple[str, ...]) -> Make:
    def make() -> str:
        result = process.run(command, "", TIMEOUT_S)
        if result.status:
            raise KproxyError(f"{' '.join(command)}: {' '.join(result.errors.split())}")
        return result.output

    return make


def _page(page: str, asked: Asked) -> Make:
    def make() -> object:
        instance = instance_of(asked, load_config(asked.config))
        body = ask(f"{DEBUG}{page}", instance.local_name, MAX_PART_BYTES + 1)
        try:
            return json.loads(body)
        except ValueError:
            return body.decode(errors="replace")

    return make


def _ending(page: str) -> str:
    return ".txt" if page in ("rules", "services") else ".json"


def bundle_node(asked: Asked) -> str:
    """The node's name; the machine's where the configuration cannot be used."""
    try:
        return node_name(asked.node_name, load_config(asked.config))
    except KproxyError:
        return platform.node().lower()
