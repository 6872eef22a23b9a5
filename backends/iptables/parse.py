"""From what `iptables-save` prints (or `render` wrote) back to a Document, of our chains and jumps only."""

from __future__ import annotations

from kproxy.core.chains import is_of_iptables, parse_chains
from kproxy.core.document import OBSERVED, Document


def parse(text: str) -> Document:
    """The Document that a text in iptables-save's or iptables-restore's format describes."""
    chains = parse_chains(text, is_of_iptables)
    return {OBSERVED: chains} if chains else {}
