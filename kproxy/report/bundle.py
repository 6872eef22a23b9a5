"""A support bundle as bytes: parts in, one gzipped tar out, with a list of what is in it and what is not, and why.

Rules kept: every part goes through `core.redact`; no part, and not the whole, is larger than it may be; a part that is
missing is named, never silently absent.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any, Final

from kproxy.core.redact import redacted, redacted_text
from kproxy.core.values import Value

MAX_PART_BYTES: Final = 8 << 20
MAX_BYTES: Final = 48 << 20
"""Of all parts together, before they are compressed."""
MANIFEST: Final = "MANIFEST.json"
NOTE: Final = (
    "Tokens, passwords, keys, certificates, a kubeconfig's users, environments and annotations (but kproxy's and "
    "service.kubernetes.io's) are removed. Names and addresses of Services, endpoints and this node are not."
)


class Part(Value, frozen=True):
    """A file of the bundle: text, or plain data; or the reason why it is missing."""

    name: str
    content: Any = None
    missing: str = ""


class Packed(Value, frozen=True):
    """A part as it goes into the bundle."""

    name: str
    data: bytes
    state: str
    """`included`, `shortened` or `missing`."""
    reason: str = ""


def packed(parts: Iterable[Part]) -> list[Packed]:
    """The parts without secrets, each as large as it may be."""
    left = MAX_BYTES
    done = []
    for part in parts:
        one = _packed(part, min(MAX_PART_BYTES, left))
        left -= len(one.data)
        done.append(one)
    return done


def _packed(part: Part, most: int) -> Packed:
    if part.missing:
        return Packed(part.name, b"", "missing", redacted_text(part.missing))
    if isinstance(part.content, str):
        text = redacted_text(part.content)
    else:
        text = json.dumps(redacted(part.content), indent=1, ensure_ascii=False) + "\n"
    data = text.encode(errors="replace")
    if len(data) <= most:
        return Packed(part.name, data, "included")
    return Packed(part.name, data[:most], "shortened", f"only the first {most} of {len(data)} bytes")


def manifest(parts: Sequence[Packed], about: dict[str, str]) -> dict[str, object]:
    """What is in the bundle, what is missing, and what was removed."""
    files = [
        {"name": one.name, "state": one.state, "bytes": len(one.data)} | ({"reason": one.reason} if one.reason else {})
        for one in parts
    ]
    return {**about, "removed": NOTE, "files": files}


def archive(parts: Sequence[Packed], about: dict[str, str], directory: str, at: int) -> bytes:
    """The bundle: everything below one directory, the list first; `at` is the time of all files, since the epoch."""
    listed = json.dumps(manifest(parts, about), indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=at) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, data in ((MANIFEST, listed), *((one.name, one.data) for one in parts if one.state != "missing")):
            info = tarfile.TarInfo(f"{directory}/{name}")
            info.size, info.mtime, info.mode = len(data), at, 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
