"""An instance: one of several agents on a node, each with Services, names and rules of its own.

Instance NAME serves exactly the Services whose label `service.kubernetes.io/service-proxy-name` is NAME, the default
one (without a name) those that do not have the label. Every name that an instance uses in the kernel is made here, so
that two instances never use the same one.
"""

from __future__ import annotations

import functools
import hashlib
import re
import string
from typing import Final

from msgspec import UNSET, UnsetType

from kproxy.core.schema import PROXY_NAME_LABEL
from kproxy.core.values import Value
from kproxy.errors import ConfigError

NAME: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""A label's value (k8s.io/apimachinery, IsValidLabelValue), not empty."""
ALLOWED: Final = "a label value: at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
TAG_CHARACTERS: Final = 5
"""As long as the names of chains allow; see `chain_prefix`."""
_READABLE: Final = re.compile(rf"[a-z0-9]{{1,{TAG_CHARACTERS}}}")
_TAKEN: Final = frozenset({"roxy"})
"""`KPROXY-` is the default instance's."""


class Instance(Value, frozen=True):
    """An instance by its name, which is empty for the default one."""

    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.name)

    def __str__(self) -> str:
        return f"instance {self.name}" if self.name else "the default instance"

    def serves(self, label: str | UnsetType | None) -> bool:
        """Whether a Service with this value of the label, UNSET if it has none, is this instance's."""
        return label == self.name if self.name else label is UNSET

    @property
    def selector(self) -> str:
        """The label selector for its Services."""
        return f"{PROXY_NAME_LABEL}={self.name}" if self.name else f"!{PROXY_NAME_LABEL}"

    @property
    def local_name(self) -> str:
        """The abstract socket that is its lock; instances with the same names of chains have the same."""
        return f"kproxy-{_tag(self.name)}" if self.name else "kproxy"

    @property
    def table(self) -> str:
        """Its nf_tables tables."""
        return f"kproxy-{self.name}" if self.name else "kproxy"

    @property
    def chain_prefix(self) -> str:
        """How the names of its iptables chains begin: `KPROXY-`, or `KPEDGE-` of instance edge.

        At most 8 characters, for chains have at most 28; no prefix begins with another one, since each ends with its
        only `-`.
        """
        return f"KP{_tag(self.name)}-" if self.name else "KPROXY-"


DEFAULT: Final = Instance()


def instance_named(name: str, where: str = "--instance") -> Instance:
    """The instance of a name; ConfigError, which begins with `where`, if no label can have this value."""
    if name and not NAME.fullmatch(name):
        raise ConfigError(f"{where} {name[:80]!r}: it must be {ALLOWED}")
    return Instance(name)


@functools.lru_cache(maxsize=64)
def _tag(name: str) -> str:
    """A few characters for a name: itself in capitals if it is short and plain, else a hash in small letters."""
    if _READABLE.fullmatch(name) and name not in _TAKEN:
        return name.upper()
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    letters = string.ascii_lowercase
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(TAG_CHARACTERS))
