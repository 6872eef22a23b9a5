"""The ways to write a value: what is read, and what is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.config import forms
from kproxy.config.forms import Form, between, network, one_of, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h2m3s", 3723.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("100ms", 0.1),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("7ns", 7e-9),
        ("-3m", -180.0),
        ("+3m", 180.0),
        ("1m1m", 120.0),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1d", "1 s", "1h 2m", "1s-2s", "٣s", ".s", "1e3s", "9999999999h", 5, None, True]
)
def test_what_go_refuses_as_a_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a form's reader says no more
        seconds(text)  # type: ignore[arg-type]


@given(hours=st.integers(0, 1000), minutes=st.integers(0, 59), millis=st.integers(0, 59999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, millis: int) -> None:
    assert seconds(f"{hours}h{minutes}m{millis}ms") == pytest.approx(hours * 3600 + minutes * 60 + millis / 1000)


GOOD_AND_BAD: list[tuple[Form, list[object], list[object]]] = [
    (between(0, 31), [0, 31], [-1, 32, True, "5", 1.0, None]),
    (forms.at_least(0), [0, 2**31 - 1], [-1, 2**31, "0"]),
    (one_of("a", "b"), ["a", "b", ""], ["c", "A", 1]),
    (forms.TEXT, ["", "x"], [1, True, 1.5]),
    (forms.FLAG, [True, False], ["true", 0]),
    (forms.TIMEOUT, ["0s", "5m"], ["-1s", 5]),
    (forms.PERIOD, ["5m", "0s"], ["-1s", "x"]),
    (forms.FLUSH_FREQUENCY, ["5s", 5_000_000_000, 0], ["-5s", True, "x"]),
    (
        forms.NETWORK,
        ["10.0.0.0/8", "10.0.0.1/8", "fd00::/64"],
        ["10.0.0.1", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "fe80::%1/64", "x/8", 4],
    ),
    (
        forms.CLUSTER_CIDR,
        ["", "10.0.0.0/8", "10.0.0.0/8,fd00::/48", "fd00::/48, 10.0.0.0/8"],
        ["10.0.0.0/8,11.0.0.0/8", "10.0.0.0/8,fd00::/48,fd01::/48", ",", "10.0.0.0"],
    ),
    (forms.NODE_PORT_ADDRESS, ["primary", "localhost", "all", "192.0.2.0/24"], ["", "Primary", "192.0.2.1"]),
    (forms.ADDRESS, ["", "192.0.2.1", "::"], ["host", "192.0.2", "fe80::1%eth0", "1.2.3.4:5"]),
    (
        forms.LISTENER,
        ["", "0.0.0.0:10256", "[::]:1", "127.0.0.1", "::1", "[::1]"],
        ["host:80", "0.0.0.0:0", "0.0.0.0:65536", ":80", "::1:x]:4"],
    ),
    (forms.PORT_RANGE, ["", "300-2000", "300+10", "300"], ["a-b", "70000", "1-2-3"]),
    (forms.VERSION, ["", "1.35"], ["v1.35", "1.35.1", "1"]),
    (forms.QUANTITY, ["0", "64Ki", "1.5M", 4096], ["x", "1 Ki", True]),
    (forms.INTERFACE, ["", "cni0", "br-1.5", "x" * 15], ["x" * 16, "a b", "eth+", "../x", 'a"b', "é"]),
    (forms.INTERFACE_PREFIX, ["cali", "x" * 14], ["x" * 15, "cali+"]),
    (forms.RATE, [5, 0.5, -1, 0], ["5", True, float("nan")]),
    (forms.BURST, [0, 10], [-1, "1"]),
]


@pytest.mark.parametrize(("form", "value"), [(form, value) for form, good, _ in GOOD_AND_BAD for value in good])
def test_what_is_allowed_is_read(form: Form, value: object) -> None:
    form.read(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("form", "value"), [(form, value) for form, _, bad in GOOD_AND_BAD for value in bad])
def test_what_is_not_allowed_is_refused(form: Form, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a form's reader says no more
        form.read(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "zero"), [(forms.PERIOD, "0s"), (forms.RATE, 0), (forms.BURST, 0), (forms.ADDRESS, "")]
)
def test_zero_means_the_default_where_zero_makes_no_sense(form: Form, zero: object) -> None:
    assert form.read(zero) is None  # type: ignore[arg-type]


def test_host_bits_of_a_network_are_cut_off_as_in_go() -> None:
    assert network("10.1.2.3/8") == ipaddress.ip_network("10.0.0.0/8")
