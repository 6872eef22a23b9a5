"""Looks at the lock files without a network: every file by hash, every licence allowed, no version known as vulnerable.

`scripts/dependency-audit`, or with `--refresh` PyPI is asked first, by pip-audit, and what it knows is written into the
snapshot. The snapshot knows nothing that is newer than its date.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "dependencies"
ADVISORIES = DATA / "advisories.json"
REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^ ;\\]+)(?P<rest>.*)$")
HASH = re.compile(r"^ +--hash=sha256:[0-9a-f]{64}( \\)?$")


class Pin(NamedTuple):
    """A package as a lock file names it."""

    lock: str
    name: str
    version: str
    hashes: int


def pins(lock: str, text: str) -> list[Pin]:
    """All of a lock file; ValueError at a line that is neither a pin, a hash nor a comment."""
    found: list[Pin] = []
    for line in text.splitlines():
        if match := REQUIREMENT.match(line):
            found.append(Pin(lock, canonicalize_name(match["name"]), match["version"], 0))
        elif HASH.match(line) and found:
            found[-1] = found[-1]._replace(hashes=found[-1].hashes + 1)
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ValueError(f"{lock}: {line!r} is no pinned version: run scripts/lock")
    return found


def problems(
    found: Sequence[Pin], licences: Mapping[str, Any], advisories: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    """What speaks against them, each with a remedy."""
    known, allowed = licences["packages"], frozenset(licences["allowed"])
    for pin in found:
        what = f"{pin.lock}: {pin.name} {pin.version}"
        if not pin.hashes:
            yield f"{what} has no hash: run scripts/lock"
        if pin.name not in known:
            yield f"{what} is not in licences.json: read its licence, and name it there"
        elif not is_allowed(known[pin.name], allowed):
            yield f"{what} has the licence {known[pin.name]}, which is not among the allowed ones: replace the package"
        for one in advisories:
            if one["package"] == pin.name and (not one["fixed_in"] or Version(pin.version) < Version(one["fixed_in"])):
                cure = (
                    f"scripts/lock --upgrade (fixed in {one['fixed_in']})" if one["fixed_in"] else "there is no fix yet"
                )
                yield f"{what} has {one['id']}: {cure}"


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression without brackets can be kept: AND needs all, OR one."""
    return any(all(part in allowed for part in choice.split(" AND ")) for choice in expression.split(" OR "))


def all_pins() -> list[Pin]:
    """Those of every lock file of the project."""
    return [pin for path in sorted(ROOT.glob("*.lock")) for pin in pins(path.name, path.read_text())]


def known() -> tuple[Any, Any]:
    """The two files: licences, and the snapshot of advisories."""
    return json.loads((DATA / "licences.json").read_text()), json.loads(ADVISORIES.read_text())


def told(report: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The advisories in what pip-audit reports; ValueError if it could not ask for a package."""
    for one in report["dependencies"]:
        if "skip_reason" in one:
            raise ValueError(f"nothing is known about {one['name']}: {one['skip_reason']}")
        for weakness in one["vulns"]:
            fixes = sorted(weakness["fix_versions"], key=Version)
            yield {
                "package": canonicalize_name(one["name"]),
                "id": weakness["id"],
                "fixed_in": fixes[-1] if fixes else "",
            }


def refresh() -> None:
    """Ask PyPI about every lock file; the snapshot is written only when all were answered."""
    snapshot = known()[1]
    found = list(snapshot["advisories"])
    for path in sorted(ROOT.glob("*.lock")):
        command = ["pip-audit", "--requirement", str(path), "--disable-pip", "--require-hashes", "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise ValueError(done.stderr.strip().rpartition("\n")[2])
        found += [one for one in told(json.loads(done.stdout)) if one not in found]
    found.sort(key=lambda one: (one["package"], one["id"]))
    ADVISORIES.write_text(written(f"{datetime.now(UTC):%Y-%m-%d}", "collected by hand, and by pip-audit", found))


def written(as_of: str, source: str, found: Sequence[Mapping[str, str]]) -> str:
    """The snapshot as it is committed: a line for each advisory."""
    lines = ",\n".join(f"  {json.dumps(one)}" for one in found)
    return f'{{\n "as_of": {json.dumps(as_of)},\n "source": {json.dumps(source)},\n "advisories": [\n{lines}\n ]\n}}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what is wrong; 1 if anything is, 3 if PyPI cannot be asked."""
    parser = argparse.ArgumentParser(prog="scripts/dependency-audit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refresh", action="store_true", help="ask PyPI first; needs pip-audit and a network")
    if parser.parse_args(arguments).refresh:
        try:
            refresh()
        except (OSError, ValueError) as error:
            sys.stderr.write(f"PyPI could not be asked, the snapshot stays as it was: {error}\n")
            return 3
    licences, snapshot = known()
    everything = all_pins()
    found = list(problems(everything, licences, snapshot["advisories"]))
    for one in found:
        sys.stdout.write(f"{one}\n")
    locks, names = {pin.lock for pin in everything}, {pin.name for pin in everything}
    sys.stdout.write(
        f"{len(names)} packages in {len(locks)} lock files, {len(found)} problems; "
        f"{len(snapshot['advisories'])} advisories as of {snapshot['as_of']}, {snapshot['source']}\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
