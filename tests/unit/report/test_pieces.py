from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kproxy.report.pieces import json_pieces


@pytest.mark.parametrize("value", [None, [], {}, {"a": 1, "b": [{"c": None}]}, [1, "ü\n", True]])
def test_plain_data_is_what_the_standard_library_makes_of_it(value: object) -> None:
    assert "".join(json_pieces(value)) == json.dumps(value, separators=(",", ":"))


def test_what_iterators_yield_is_listed_as_it_comes() -> None:
    made: list[int] = []

    def items() -> Iterator[object]:
        for number in range(3):
            made.append(number)
            yield {"number": number, "inner": iter(range(number))}

    pieces = json_pieces({"head": "x", "items": items(), "tail": {"y": 1}})
    text = ""
    while '"number":1' not in text:
        text += next(pieces)
    assert made == [0, 1]
    assert json.loads(text + "".join(pieces)) == {
        "head": "x",
        "items": [{"number": number, "inner": list(range(number))} for number in range(3)],
        "tail": {"y": 1},
    }
