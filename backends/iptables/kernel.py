"""The door to the kernel's tables: `iptables-save` to read, one `iptables-restore --noflush` per change to write.

A restore commits table by table. If the second is refused, the first is put
back, so that a change is in force as a whole or not at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from backends.iptables.counts import WHERE, counts
from backends.iptables.names import FILTER, NAT
from backends.iptables.naming import DEFAULT, Naming
from backends.iptables.parse import parse
from backends.iptables.restore import Section, inverse, restore_input, section_lines, sections
from kproxy.core.chains import ChainId, edits
from kproxy.core.document import Change, Document
from kproxy.core.values import Family
from kproxy.effects import chain_watch, process
from kproxy.effects.logs import make_logger
from kproxy.effects.process import ProcessFailed, ProcessTimeout, Result, Run
from kproxy.effects.xtables import Read, Tools, Variant, find_tools, lacking, read_proc
from kproxy.errors import ApplyRejected, ApplyTimeout, ObserveFailed, UnsupportedHost
from kproxy.netlink.notices import Interest, Touch
from kproxy.ports import Outcome

LOCK_WAIT_S: Final = 5
"""As kube-proxy: how long to wait for /run/xtables.lock (the legacy variant only has one)."""
PORTION: Final = 200
"""How many chains to commit at once with the nf_tables variant.

For every line it reads, iptables-nft-restore 1.8.9 looks the chain up in a
sorted list of all chains that it has read of since the last commit, which takes 8 s for the
13,000 chains of 10,000 Services, and 0.7 s in portions. The legacy variant writes a whole
table with each commit, and wants them all at once.
"""
RESTORE_TIMEOUT_S: Final = 120.0
SAVE_TIMEOUT_S: Final = 120.0
FAILED_LINE: Final = re.compile(r"line:? (\d+)")
COMMENT: Final = re.compile(r'--comment "([^/":]+/[^/":]+)[:" ]')
NOISE: Final = re.compile(
    r"^(?:ip6?tables\S* v\S+ \(\w+\): ?|Try `.*|Error occurred at line.*|ip6?tables\S*: )", re.MULTILINE
)


class IptablesKernel:
    """One family's chains of ours in this kernel (or wherever `run` runs programs)."""

    def __init__(self, tools: Tools, run: Run, family: Family, naming: Naming = DEFAULT) -> None:
        self.tools = tools
        self._naming = naming
        self._family = family
        self._run = run

    def observe(self) -> Document:
        """Our chains and jumps as they stand; ObserveFailed if they cannot be read."""
        return parse("".join(self._save(table) for table in (NAT, FILTER)))

    def interest(self) -> Interest:
        """Our chains and the jumps to them; of legacy tables nothing is told."""
        return chain_watch.interest_in(self._family, self.tools.variant, (NAT, FILTER), self._naming.prefix)

    def is_own(self, touch: Touch) -> bool:
        """Whether a restore of ours did it."""
        return chain_watch.is_of_our_program(touch)

    def glance(self) -> bytes:
        """A fingerprint of legacy tables."""
        return chain_watch.glance_at(self._family, self.tools.variant, (NAT, FILTER))

    def counts(self) -> Mapping[str, int]:
        """See `counts`; ObserveFailed if the rules cannot be listed. For any thread."""
        return counts(self._family, {chain: self._listing(chain) for chain in WHERE[self._family]})

    def apply(self, change: Change) -> Outcome:
        """Write the change; ApplyRejected names the rule and its Service, and then the old rules are in force."""
        self._restore(change)
        return Outcome()

    def check(self, change: Change) -> Outcome:
        """Let iptables-restore read the change without committing it."""
        self._restore(change, "--test")
        return Outcome()

    def close(self) -> None:
        """Nothing is held open between changes."""

    def _save(self, table: str) -> str:
        return self._read(self.tools.save, "-t", table)

    def _listing(self, where: ChainId) -> str:
        program = self.tools.save.removesuffix("-save")
        return self._read(
            program, "-w", str(LOCK_WAIT_S), "-t", where.table, "-v", "-S", self._naming.exchanged(where.chain)
        )

    def _read(self, *argv: str) -> str:
        try:
            result = self._run(argv, "", SAVE_TIMEOUT_S)
        except (ProcessFailed, UnsupportedHost) as error:
            raise ObserveFailed(str(error)) from error
        if result.status:
            raise ObserveFailed(f"{' '.join(argv)}: {_reason(result)}")
        return self._naming.exchanged(result.output)

    def _restore(self, change: Change, *options: str) -> None:
        parts = sections(edits(change), PORTION if self.tools.variant is Variant.NFT else None)
        result = self._load(restore_input(parts), *options)
        if not result.status:
            return
        if "xtables lock" in result.errors:
            raise ApplyTimeout(f"{self.tools.restore}: another program held the xtables lock for {LOCK_WAIT_S} s")
        place = _place(parts, result)
        restored = "" if options else self._take_back(parts[: place.committed])
        raise _rejected(self.tools.restore, change, place, _reason(result) + restored, self._naming)

    def _load(self, text: str, *options: str) -> Result:
        argv = [self.tools.restore, "--noflush", "-w", str(LOCK_WAIT_S), *options]
        try:
            return self._run(argv, self._naming.exchanged(text), RESTORE_TIMEOUT_S)
        except ProcessTimeout as error:
            raise ApplyTimeout(str(error)) from error
        except (ProcessFailed, UnsupportedHost) as error:
            raise ApplyRejected(str(error)) from error

    def _take_back(self, committed: Sequence[Section]) -> str:
        """Undo the sections that were committed before the refusal; says what became of that."""
        back = [Section(part.table, inverse(part.edits)) for part in reversed(committed)]
        if back and self._load(restore_input(back)).status:
            return f"; what was written of table {committed[-1].table} before could not be taken back"
        return "; the old rules are in force"


class Place(NamedTuple):
    """Where a restore stopped: the line and its table, and how many sections were committed before it."""

    line: str
    table: str
    committed: int


def open_kernel(
    family: Family, run: Run = process.run, read: Read = read_proc, naming: Naming = DEFAULT
) -> IptablesKernel:
    """The door to a family's tables, by the programs of the variant that this host uses.

    `run` and `read` say where: by default here; in another network namespace
    if they start programs and read /proc there.

    Raises:
        UnsupportedHost: iptables is missing, or we may not read its tables.
    """
    tools = find_tools(family, run, read)
    if tools.warning:
        log = make_logger("auto", 0, sys.stderr)
        log.warning("this host mixes iptables variants", family=family.label, found=tools.warning)
    kernel = IptablesKernel(tools, run, family, naming)
    result = run([tools.save, "-t", NAT], "", SAVE_TIMEOUT_S)
    if result.status:
        remedy = lacking(tools.variant) or "kproxy run --init-only, as root, loads the modules that iptables needs"
        raise UnsupportedHost(f"{tools.save} -t {NAT}: {_reason(result)}; {remedy}")
    return kernel


def _place(parts: Sequence[Section], result: Result) -> Place:
    found = FAILED_LINE.search(result.errors)
    number = int(found.group(1)) if found else 0
    for committed, part in enumerate(parts):
        lines = section_lines(part)
        if 0 < number <= len(lines):
            return Place(lines[number - 1], part.table, committed)
        number -= len(lines)
    return Place("", "", 0)


def _rejected(program: str, change: Change, place: Place, reason: str, naming: Naming) -> ApplyRejected:
    """The error that names the refused line and whose it is."""
    words = place.line.split(" ", 2)
    key = ChainId(place.table, words[1] if len(words) > 1 and words[0].startswith("-") else words[0].lstrip(":"))
    entry = change.added.get(key) or change.changed.get(key) or change.removed.get(key)
    owner = entry.owner if entry else ""
    if noted := COMMENT.search(place.line):
        owner = noted.group(1)
    whose = f" of {owner}" if owner else ""
    at = f"{place.table}: {naming.exchanged(place.line)}" if place.line else "a line that it does not name"
    return ApplyRejected(f"{program} refused a rule{whose} ({at}): {reason}", owner)


def _reason(result: Result) -> str:
    """What the program said, on one line."""
    said = " ".join(NOISE.sub("", result.errors).split())
    return said or f"exit status {result.status}"
