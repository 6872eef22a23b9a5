"""Whether this machine can run kproxy, and what stands in its way: judgement over facts that others gathered.

`facts` is what was seen, `checks` what a judgement looks like; `ability`, `rivals` and `settings` hold the judgements,
and `judge` asks for all of them.
"""

from kproxy.core.doctor.checks import Check, Status
from kproxy.core.doctor.facts import Facts
from kproxy.core.doctor.judge import judge

__all__ = ["Check", "Facts", "Status", "judge"]
