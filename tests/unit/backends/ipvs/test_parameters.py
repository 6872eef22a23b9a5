"""conn_reuse_mode is changed only on the kernels that need it."""

from __future__ import annotations

import pytest

from backends.ipvs.parameters import wants_reuse_off


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.0.9", False),
        ("4.1.0", True),
        ("4.19.0-25-amd64", True),
        ("5.8.18", True),
        ("5.9.0", False),
        ("6.1.176", False),
        ("unknown", False),
    ],
)
def test_by_release(release: str, *, expected: bool) -> None:
    assert wants_reuse_off(release) is expected
