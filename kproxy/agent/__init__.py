"""The agent of one node: it hears events and makes the kernel follow.

`values` is what it is told and knows, `loop` what it does, `telling` what it says about it.
"""

from kproxy.agent.loop import NODE_WAIT_S, Agent
from kproxy.agent.telling import BE_LIBERAL, REMIND_S, ROUTE_LOCALNET
from kproxy.agent.values import Setup, State

__all__ = ["BE_LIBERAL", "NODE_WAIT_S", "REMIND_S", "ROUTE_LOCALNET", "Agent", "Setup", "State"]
