"""Traffic policy as tables: who gets which pool, and with whose source address.

The tables are sections 1.4 and 1.5 of kube-proxy's behaviour: a ClusterIP
masquerades whoever is no pod; external policy Cluster masquerades everybody;
external policy Local keeps the client, and lets pods and the node itself
reach all endpoints (short-circuit), as if they had used the ClusterIP.
No endpoint anywhere: REJECT. None here though the policy wants local: DROP, so
that a load balancer's client tries again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from kproxy.core.model import TrafficPolicy
from kproxy.core.plan import Action, Client, Route
from kproxy.core.values import Value

Table = tuple[Route, ...]

REFUSED: Table = (Route(Client.ANY, masquerade=False, action=Action.REJECT),)
"""No endpoint anywhere; also the table that no frontend leads to."""


class Sight(Value, frozen=True):
    """What the node can tell about clients, and whether it masquerades them all."""

    tells_pods: bool
    masquerade_all: bool


class Supply(Value, frozen=True):
    """Whether there are endpoints: usable ones anywhere, and on this node."""

    anywhere: bool
    here: bool


@functools.cache
def internal_routes(policy: TrafficPolicy, supply: Supply, sight: Sight) -> Table:
    """The table of ClusterIPs."""
    if not supply.anywhere:
        return REFUSED
    action = _action(policy, supply)
    if action is Action.DROP:
        return (Route(Client.ANY, masquerade=False, action=action),)
    if sight.masquerade_all or not sight.tells_pods:
        return (Route(Client.ANY, masquerade=sight.masquerade_all, action=action),)
    return (Route(Client.POD, masquerade=False, action=action), Route(Client.ANY, masquerade=True, action=action))


@functools.cache
def external_routes(policy: TrafficPolicy, supply: Supply, sight: Sight) -> Table:
    """The table of NodePorts, external and load balancer addresses."""
    if not supply.anywhere:
        return REFUSED
    if policy is TrafficPolicy.CLUSTER:
        return (Route(Client.ANY, masquerade=True, action=Action.CLUSTER),)
    short_circuit: Table = (Route(Client.NODE, masquerade=True, action=Action.CLUSTER),)
    if sight.tells_pods:
        short_circuit = (Route(Client.POD, masquerade=False, action=Action.CLUSTER), *short_circuit)
    return (*short_circuit, Route(Client.ANY, masquerade=False, action=_action(policy, supply)))


def uses(tables: Iterable[Table], action: Action) -> bool:
    """Whether any row of the tables takes this action."""
    return any(route.action is action for table in tables for route in table)


def _action(policy: TrafficPolicy, supply: Supply) -> Action:
    if policy is TrafficPolicy.CLUSTER:
        return Action.CLUSTER
    return Action.LOCAL if supply.here else Action.DROP
