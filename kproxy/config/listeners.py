"""Where a configuration has health and metrics served.

Our own document's field wins, and its empty text opens nothing, which kube-proxy's cannot say; then kube-proxy's field,
whose port may be left out; then the default of bindAddress's family (pkg/proxy/apis/config/v1alpha1/defaults.go, 1.36).
An instance with a name has no default: there the agent without one listens.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from kproxy.config.load import Config
from kproxy.core.values import Value, canonical_address

HEALTHZ_PORT = 10256
METRICS_PORT = 10249
EVERYWHERE: Mapping[bool, str] = {False: "0.0.0.0", True: "::"}  # noqa: S104 - load balancers ask from outside
LOOPBACK: Mapping[bool, str] = {False: "127.0.0.1", True: "::1"}
"""The defaults, by whether bindAddress is IPv6."""


class Listener(Value, frozen=True):
    """An address and TCP port to listen on."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def healthz_listener(config: Config) -> Listener | None:
    """Where health is served; None: nowhere."""
    texts = config.own.healthz_bind_address, config.proxy.healthz_bind_address
    return _listener(texts, _default(config, EVERYWHERE), HEALTHZ_PORT)


def metrics_listener(config: Config) -> Listener | None:
    """Where metrics are served; None: nowhere."""
    texts = config.own.metrics_bind_address, config.proxy.metrics_bind_address
    return _listener(texts, _default(config, LOOPBACK), METRICS_PORT)


def without_address(config: Config) -> tuple[str, ...]:
    """The fields for which an instance has to name an address, and which name none: it is not served."""
    fields = {
        "healthzBindAddress": (config.own.healthz_bind_address, config.proxy.healthz_bind_address),
        "metricsBindAddress": (config.own.metrics_bind_address, config.proxy.metrics_bind_address),
    }
    return tuple(name for name, texts in fields.items() if config.instance and texts == (None, ""))


def _default(config: Config, by_family: Mapping[bool, str]) -> str:
    return "" if config.instance else by_family[":" in config.proxy.bind_address]


def _listener(texts: tuple[str | None, str], address: str, port: int) -> Listener | None:
    own, given = texts
    text = own or given or address
    if own == "" or not text:
        return None
    match = re.fullmatch(r"(?:\[([^]]+)\]|([^][:]+)):(\d+)", text)
    if match is None:
        return Listener(canonical_address(text.removeprefix("[").removesuffix("]")), port)
    return Listener(canonical_address(match[1] or match[2]), int(match[3]))
