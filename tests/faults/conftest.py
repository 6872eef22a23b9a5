"""One laboratory for each module of faults; every test has an agent of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.topology import Lab, laboratory


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory() as built:
        yield built
