"""Takes secrets out of what leaves the machine: tokens, passwords, keys, certificates, whatever users were told.

Rules kept: what is doubtful goes; a name that ends in a word of `SECRET` hides its value, whatever that is; annotations
go but for those that decide what a proxy does; plain data stays plain data, so that programs can still read it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

REMOVED: Final = "[removed]"
SECRET: Final = (
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "secretname",
    "apikey",
    "accesskey",
    "privatekey",
    "keydata",
    "certificatedata",
    "authoritydata",
    "certificate",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "username",
)
"""Ends of names, in small letters and without hyphens, dots and underscores, whose values are secrets or persons."""
WHOLE: Final = frozenset({"user", "users", "auth", "authprovider", "exec", "env", "managedfields"})
"""Names of parts that go as a whole: of a kubeconfig's users above all."""
KEPT_ANNOTATIONS: Final = ("kproxy.io/", "service.kubernetes.io/", "endpoints.kubernetes.io/")

_KEY: Final = r"[\w.-]*(?:token|passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|key-data"
_END: Final = r"|certificate-data|authority-data|credentials?|authorization|cookie|username)"
PATTERNS: Final = (
    # Anything that armour begins, to its end or the text's: a shortened file may lack the end.
    (re.compile(r"-----BEGIN [A-Z0-9 ]+-----(?:.*?-----END [A-Z0-9 ]+-----|.*)", re.DOTALL), REMOVED),
    (re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"), REMOVED),
    (re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), REMOVED),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), REMOVED),
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), REMOVED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {REMOVED}"),
    (re.compile(r"(\w://)[^/\s@]+@"), rf"\1{REMOVED}@"),
    (re.compile(r"(last-applied-configuration\S*?\s*[:=]?)\s*.*"), rf"\1 {REMOVED}"),
    (re.compile(rf"(?i)(--{_KEY}{_END})[ =]+(\"[^\"]*\"|'[^']*'|\S+)"), rf"\1={REMOVED}"),
    (
        re.compile(rf"(?i)\b({_KEY}{_END}[\"']?\s*[:=]\s*)(?!\[removed\])(\"[^\"]*\"|'[^']*'|[^\s,;}}\]]+)"),
        rf"\1{REMOVED}",
    ),
)
"""What a secret looks like in a text, and what is left of it."""


def redacted_text(text: str) -> str:
    """A text without what looks like a secret."""
    for pattern, rest in PATTERNS:
        text = pattern.sub(rest, text)
    return text


def redacted(value: Any) -> Any:  # noqa: ANN401 - plain data of any shape
    """Plain data (what JSON can hold) without secrets, of the same shape."""
    if isinstance(value, Mapping):
        return {redacted_text(str(key)): _member(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value


def _member(key: str, value: Any) -> Any:  # noqa: ANN401 - as above
    name = re.sub(r"[-_.]", "", key.lower())
    if name == "annotations" and isinstance(value, Mapping):
        return {
            one: redacted(text) if one.startswith(KEPT_ANNOTATIONS) else REMOVED for one, text in sorted(value.items())
        }
    if value not in (None, "", [], {}) and (name in WHOLE or name.endswith(SECRET)):
        return REMOVED
    return redacted(value)
