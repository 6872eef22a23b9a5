"""What a real API server answered, from tests/data/recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

DIRECTORY = Path(__file__).parent.parent / "data" / "recordings"


class Recording(NamedTuple):
    name: str
    target: str
    """Path with query."""
    status: int
    headers: dict[str, str]
    body: bytes
    """Empty for a watch, which has `lines`."""
    lines: tuple[bytes, ...]
    is_watch: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]


def load(name: str) -> Recording:
    found = json.loads((DIRECTORY / f"{name}.json").read_text())
    answer = found["response"]
    target = found["request"]["path"]
    return Recording(
        name=name,
        target=target,
        status=answer["status"],
        headers=answer["headers"],
        body=answer.get("body", "").encode(),
        lines=tuple(line["line"].encode() for line in answer.get("lines", ())),
        is_watch=dict(parse_qsl(urlsplit(target).query)).get("watch") == "1",
    )


def names() -> list[str]:
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))
