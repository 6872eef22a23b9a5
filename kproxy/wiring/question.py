"""A question about a node, as a command line puts it; a value only, so that stating it costs no import."""

from __future__ import annotations

from collections.abc import Mapping

from kproxy.core.values import Family, Value

BACKENDS = ("nftables", "iptables", "ipvs")
"""Our backends."""
KUBERNETES = "kubernetes"
"""The source that is an API server; any other is a directory."""


class Asked(Value, frozen=True):
    """The options that say which node, which Services and which backend are meant."""

    files: tuple[str, ...] = ()
    source: str = KUBERNETES
    config: str | None = None
    kubeconfig: str = ""
    backend: str = ""
    node_name: str = ""
    node_ips: tuple[str, ...] = ()
    families: tuple[Family, ...] = tuple(Family)
    flags: Mapping[str, str] = {}
    """kube-proxy's flags as they were given, by name (`proxy-mode`)."""
    master: str = ""
    """The API server's URL, if not the kubeconfig's."""
    instance: str = ""
    """An instance's name as it was given; empty: the configuration's."""
