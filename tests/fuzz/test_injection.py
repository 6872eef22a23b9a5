"""Nothing from an object reaches a rule, a log line or a report as syntax, whatever its names say, in any backend."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kproxy.core.envelope import read_object
from kproxy.core.model import Applied, Kind
from kproxy.core.values import Family
from kproxy.effects.logs import make_logger
from kproxy.effects.manifest_text import read_text
from kproxy.lint.catalogue import lint
from kproxy.lint.present import sarif
from kproxy.wiring.backends import find_backend
from kproxy.wiring.lint import read_texts, subject_of
from kproxy.wiring.question import Asked
from tests.properties.test_iptables_names import plan_of

BACKENDS = ("nftables", "iptables", "ipvs")
SYNTAX = (
    'a" -j ACCEPT',
    "x\nCOMMIT\n*filter\n-F",
    "a\\",
    "$(reboot)",
    "`reboot`",
    "'; flush ruleset; #",
    '" } ; flush ruleset ; table ip x { #',
    "-A -t 10.0.0.1:80",
    "\r\nadd x 10.0.0.1",
    "\x1b[2J",
    "\u2028\u202e",
    "\x00",
    "COMMIT",
    "10.0.0.1,tcp:80",
    "{}",
    '"}\n{"level":"error"}',
    "ü" * 200,
)
HOSTILE = st.sampled_from(SYNTAX) | st.text(max_size=70)
DIGEST = re.compile(
    r"(?<=-)[A-Z2-7]{16}\b"  # chains of iptables
    r"|sticky/[\w.-]*/[\w.-]*/[\w.-]*/[0-9a-f]{8}"  # sets and chains of nftables
    r"|-f \d+|0x[0-9a-f]{8}(?=/0x| |$)",  # marks of IPVS
    re.ASCII,
)
COMMENT = re.compile(r'(--comment|comment) "[^"]*" ?')


def shape(backend: str, *names: str) -> list[str]:
    """The lines of the rules of a Service with these names, but for digests and comments."""
    plan = plan_of(*names)
    chosen = find_backend(backend)
    text = chosen.render({Family.IPV4: chosen.compile(plan, None).document})
    assert text.isascii()
    lines = text.split("\n")
    assert all(line.replace("\t", " ").isprintable() for line in lines)
    return sorted(DIGEST.sub("", COMMENT.sub("", line)) for line in lines)


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_change_no_rule(backend: str) -> None:
    plain = shape(backend, "shop", "cart", "http")

    @settings(max_examples=80, deadline=None)
    @given(HOSTILE, HOSTILE, HOSTILE)
    def fuzz(namespace: str, name: str, port: str) -> None:
        assert shape(backend, namespace, name, port) == plain

    fuzz()


def service(**parts: str) -> dict[str, Any]:
    """A Service as it comes, with hostile text where the API server would let any text pass."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "cart",
            "namespace": "shop",
            "labels": {"a": parts["label"]},
            "annotations": {"kproxy.io/tcp-drain-seconds": parts["annotation"], parts["key"]: "x"},
        },
        "spec": {
            "clusterIP": "10.96.0.10",
            "clusterIPs": ["10.96.0.10"],
            "externalIPs": [parts["address"]],
            "loadBalancerSourceRanges": [parts["range"]],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


PARTS = st.fixed_dictionaries(dict.fromkeys(("label", "annotation", "key", "address", "range"), HOSTILE))


@settings(max_examples=80, deadline=None)
@given(PARTS)
def test_text_in_the_place_of_a_value_is_refused_or_left_out(parts: dict[str, str]) -> None:
    raw = msgspec.Raw(json.dumps(service(**parts)).encode())
    found = read_object(Kind.SERVICE, raw)
    if isinstance(found, Applied):
        shown = repr(found.item)
        assert not any(text in shown for text in SYNTAX if text in (parts["address"], parts["range"]))
    else:
        (line,) = str(getattr(found, "error", found)).splitlines()
        assert line.isprintable()


@settings(max_examples=60, deadline=None)
@given(HOSTILE, HOSTILE)
@example("x\nCOMMIT", '"}\n{"level":"error"}')
def test_a_log_line_stays_one_line(event: str, value: str) -> None:
    for form in ("json", "text"):
        stream = io.StringIO()
        make_logger(form, 0, stream).warning(event, services=value)
        text = stream.getvalue()
        (line,) = text.split("\n")[:-1]
        assert line.isprintable()
        if form == "json":
            told = json.loads(text)
            assert (told["event"], told["services"], told["level"]) == (event, value, "warning")


@settings(max_examples=30, deadline=None)
@given(PARTS)
def test_a_report_says_it_as_text(parts: dict[str, str]) -> None:
    content = json.dumps(service(**parts)).encode()
    subject = subject_of(
        read_texts([("fuzz.json", read_text("fuzz.json", content))], []), Asked(), find_backend("nftables")
    )
    report = json.loads(json.dumps(sarif(lint(subject), "0")))
    rules = {one["id"] for one in report["runs"][0]["tool"]["driver"]["rules"]}
    assert {one["ruleId"] for one in report["runs"][0]["results"]} <= rules
