"""`/statusz` and `/flagz`, as Kubernetes components have them (component-base/zpages): for people, of no fixed form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from kproxy.config.flags import FLAGS, LISTENERS

CAUTION = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees "
    "and is for debugging purposes only."
)


def statusz_lines(version: str, python: str, started_at: float, now: float, paths: Iterable[str]) -> Iterator[str]:
    """What runs since when (seconds since the epoch), and what it serves."""
    minutes, seconds = divmod(int(max(now - started_at, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    yield from ("kproxy statusz", CAUTION, "")
    yield f"Started: {datetime.fromtimestamp(started_at, UTC):%a %b %e %H:%M:%S UTC %Y}"
    yield f"Up: {hours} hr {minutes:02d} min {seconds:02d} sec"
    yield f"Python version: {python}"
    yield f"Binary version: {version}"
    yield f"Paths: {' '.join(sorted(paths))}"


def flagz_lines(given: Mapping[str, str], proxy: Mapping[str, Any]) -> Iterator[str]:
    """kube-proxy's flags with the values that are in force, and those options of ours that were given.

    `proxy` is the encoded KubeProxyConfiguration: where it has a flag's field, that is the value.
    """
    values = {name: given.get(name, "") for name in FLAGS}
    values |= {name: _text(_at(proxy, flag.paths[0])) for name, flag in FLAGS.items() if flag.paths}
    values |= {name: text for name, text in given.items() if name not in FLAGS or name in LISTENERS}
    yield from ("kproxy flagz", CAUTION, "")
    yield from (f"{name}={text}" for name, text in sorted(values.items()))


def _at(tree: Any, path: str) -> Any:  # noqa: ANN401 - plain data
    for part in path.split("."):
        tree = tree.get(part, "")
    return tree


def _text(value: Any) -> str:  # noqa: ANN401 - plain data
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(one)}" for key, one in sorted(value.items()))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
