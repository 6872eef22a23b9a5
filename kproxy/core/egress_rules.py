"""Pod egress masquerade in the words of iptables-save, for the backends that write chains.

An input interface is matched in a chain of ours, below POSTROUTING: iptables
refuses it in the built-in chain only, and the kernel knows where a forwarded
packet came in since 5.7 (netfilter: Support iif matches in POSTROUTING).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kproxy.core.chains import PREFIX, ChainId, Rules, network_text
from kproxy.core.document import Content, ObjectId
from kproxy.core.plan import NodePlan
from kproxy.core.values import Network

CHAIN: Final = ChainId("nat", f"{PREFIX}EGRESS")
NOT_A_SERVICES: Final = "-m conntrack ! --ctstate DNAT "
MASQUERADE: Final = "-j MASQUERADE --random-fully"


def egress_jumps(plan: NodePlan, unless: str = "", chain: ChainId = CHAIN) -> Rules:
    """The rules of POSTROUTING for what comes from pods and nobody translated; `unless` is a further match."""
    if plan.egress is None:
        return ()
    pods = (f"-i {plan.pods} ",) if isinstance(plan.pods, str) else tuple(_match("-s", one) for one in plan.pods or ())
    return tuple(f"{match}{NOT_A_SERVICES}{unless}-j {chain.chain}" for match in pods)


def egress_chain(plan: NodePlan, chain: ChainId = CHAIN) -> dict[ObjectId, Content]:
    """The chain that they lead to; nothing where pods keep their address."""
    return {chain: tuple(_rules(plan))} if plan.egress else {}


def _rules(plan: NodePlan) -> Iterator[str]:
    yield "-m addrtype --dst-type LOCAL -j RETURN"
    if isinstance(plan.pods, str):
        yield f"-o {plan.pods} -j RETURN"
    for network in plan.egress.exempt if plan.egress else ():
        yield f"{_match('-d', network)}-j RETURN"
    yield MASQUERADE


def _match(option: str, network: Network) -> str:
    return f"{option} {network_text(network)} " if network.prefixlen else ""
