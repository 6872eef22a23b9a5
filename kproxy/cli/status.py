"""`kproxy status`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from kproxy.cli.options import INSTANCE, asked
from kproxy.cli.output import emit, heading, note, output_option, table
from kproxy.cli.verbosity import verbose
from kproxy.core.instance import instance_named
from kproxy.wiring.local import ask
from kproxy.wiring.question import Asked

UNHEALTHY = 1
HEADINGS = ("FAMILY", "LAST SYNC", "TOOK", "PENDING", "SERVICES", "ENDPOINTS", "OBJECTS", "SYNCS", "FAILED", "DRIFTED")


@click.command()
@asked(INSTANCE)
@output_option("json", "yaml")
@verbose
def status(question: Asked, output: str | None) -> int:
    """Ask the agent of this node how it is: backend, age of the last sync, what waits, counts, errors, drift.

    The exit code is 1 if it is not healthy, not ready or does not run.

    \b
    Examples:
      kproxy status
      kproxy status --instance edge -o json
      kubectl -n kube-system exec ds/kproxy -- kproxy status
    """  # noqa: D301 - click's mark for lines that stay as they are
    found = json.loads(ask("/debug/status", instance_named(question.instance).local_name))
    if output:
        emit(found, output)
    else:
        _print(found)
    return 0 if found["healthy"] and found["ready"] else UNHEALTHY


def _print(found: Mapping[str, Any]) -> None:
    words = ["ready" if found["ready"] else "not ready yet", "healthy" if found["healthy"] else "NOT HEALTHY"]
    named = f", instance {found['instance']}" if found["instance"] else ""
    heading(f"Node {found['node']}{named}, backend {found['backend']}: {', '.join(words)}")
    click.echo(f"kproxy {found['version']}, process {found['pid']} since {found['started']}, source {found['source']}")
    for place in found["listeners"]:
        click.echo(f"serves {place}")
    click.echo()
    table(HEADINGS, _rows(found["families"]))
    for remark in _remarks(found):
        note(remark)


def _rows(families: Mapping[str, Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    for name, one in families.items():
        yield (
            name,
            _ago(one["lastSyncSecondsAgo"]),
            f"{one['lastSyncSeconds'] * 1000:.1f} ms",
            "nothing" if one["pendingSeconds"] is None else f"for {one['pendingSeconds']:.1f} s",
            *(str(one[key]) for key in ("services", "endpoints", "objects", "syncs", "failures", "driftedObjects")),
        )


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s ago"


def _drift(drift: Mapping[str, Any]) -> str:
    times = "once" if drift["repairs"] == 1 else f"{drift['repairs']} times, last"
    by = f" by {', '.join(drift['lastBy'])}" if drift["lastBy"] else ""
    return f"others changed our rules {times}{by} at {drift['last']}: {drift['lastWhat']}; all is put right"


def _remarks(found: Mapping[str, Any]) -> Iterator[str]:
    source = found["sourceFaults"]
    for fault in source["faults"]:
        consequence = "what it hides is not known" if fault in source["unknown"] else "what is known stays in force"
        yield f"source in trouble since {source['since']}, {consequence}: {fault}"
    for name, one in found["families"].items():
        if one["error"]:
            yield f"{name}: the last sync failed, {one['failuresInARow']} in a row: {one['error']}"
        if one["waiting"]:
            yield f"{name}: nothing is programmed, {one['waiting']}"
        if one["drift"]["repairs"]:
            yield f"{name}: {_drift(one['drift'])}"
        if one["conflicts"]:
            yield f"{name}: {one['conflicts']} claims are lost to other Services; kproxy services names them"
    if found["config"]["error"]:
        yield f"the configuration file is not in force: {found['config']['error']}"
    if not found["nodeEligible"]:
        yield "the node is leaving or unknown: /healthz is red"
