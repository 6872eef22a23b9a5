"""How an instance's chains and lists (xt_recent) are called in the kernel; Documents call all of them `KPROXY-…`.

The two prefixes are exchanged where text goes to iptables-restore, and once more where it comes from iptables-save: so
an instance's own chains are read as ours, the default instance's are not, and what exchanges twice stays as it is.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import msgspec

from kproxy.core.chains import PREFIX
from kproxy.core.flow import Step, Trace
from kproxy.core.values import Value

NAMED: Final = r"(^:|^-[ADIX] |(?:^| )(?:-[jg]|--name) )({}|{})"
"""Where a line of iptables-save or iptables-restore names a chain or a list."""
WRITTEN: Final = re.compile(rf"\b{PREFIX}(?=[A-Z])")
"""Where a text for people does: comments of ours have no capitals."""


class Naming(Value, frozen=True):
    """The prefix of an instance's chains; `KPROXY-`, and nothing to do, by default."""

    prefix: str = PREFIX

    def exchanged(self, text: str) -> str:
        """A text of iptables-save or iptables-restore with the prefixes exchanged wherever it names a chain or list."""
        if self.prefix == PREFIX:
            return text
        other = {PREFIX: self.prefix, self.prefix: PREFIX}
        return _pattern(self.prefix).sub(lambda found: found[1] + other[found[2]], text)

    def shown(self, text: str) -> str:
        """A text for people about chains of a Document, by the names that these have in the kernel."""
        return text if self.prefix == PREFIX else WRITTEN.sub(self.prefix, text)

    def shown_trace(self, trace: Trace) -> Trace:
        """A trace, likewise."""
        if self.prefix == PREFIX:
            return trace
        steps = (Step(self.shown(one.place), self.shown(one.rule), self.shown(one.effect)) for one in trace.steps)
        return msgspec.structs.replace(trace, steps=tuple(steps))


DEFAULT: Final = Naming()


@functools.lru_cache(maxsize=8)
def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(NAMED.format(re.escape(PREFIX), re.escape(prefix)), re.MULTILINE)
