"""A report for people, for scripts and for code hosts; and the documentation, which must have every check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kproxy.lint.catalogue import CHECKS, Report
from kproxy.lint.present import lines, plain, sarif, summary
from kproxy.wiring.lint import lint_asked
from kproxy.wiring.question import Asked
from tests.unit.lint.manifests import endpoint, endpoint_slice, found_in, service

ROOT = Path(__file__).parents[3]


def of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object of these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


TEXT = {"type": "string"}
MESSAGE = of({"text": TEXT}, "text")
LEVEL = {"enum": ["none", "note", "warning", "error"]}
PHYSICAL = of(
    {
        "artifactLocation": of({"uri": {"type": "string", "pattern": r"^[^\s\"<>\\^`{|}]*$"}}),
        "region": of({"startLine": {"type": "integer", "minimum": 1}}),
    },
    "artifactLocation",
)
LOCATION = of(
    {"physicalLocation": PHYSICAL, "logicalLocations": listed(of({"fullyQualifiedName": TEXT, "kind": TEXT}))}
)
RULE = of(
    {
        "id": TEXT,
        "shortDescription": MESSAGE,
        "fullDescription": MESSAGE,
        "help": MESSAGE,
        "defaultConfiguration": of({"level": LEVEL}),
    },
    "id",
)
RESULT = of(
    {
        "ruleId": TEXT,
        "ruleIndex": {"type": "integer", "minimum": -1},
        "level": LEVEL,
        "message": MESSAGE,
        "locations": listed(LOCATION),
    },
    "message",
)
DRIVER = of({"name": TEXT, "version": TEXT, "rules": {**listed(RULE), "uniqueItems": True}}, "name")
SARIF = of(
    {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": listed(of({"tool": of({"driver": DRIVER}, "driver"), "results": listed(RESULT)}, "tool")),
    },
    "version",
    "runs",
)
"""What SARIF 2.1.0 says of the parts that we use (sections 3.13 to 3.54); nothing else may appear."""


def report(directory: Path) -> Report:
    found_in(directory, service(externalIPs=["198.51.100.1"]), endpoint_slice(endpoint("168.63.129.16")))
    return lint_asked(Asked(files=(str(directory),)), live=False)[0]


def test_sarif_is_what_its_standard_says(tmp_path: Path) -> None:
    directory = tmp_path / "a b"
    directory.mkdir()
    log = sarif(report(directory), "1.0")
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]  # type: ignore[attr-defined]
    rules = run["tool"]["driver"]["rules"]
    assert [rules[one["ruleIndex"]]["id"] for one in run["results"]] == ["KPX038", "KPX014"]
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("/a%20b/cluster.yaml")
    content = (directory / "cluster.yaml").read_text().splitlines()
    assert "externalIPs" in content[place["region"]["startLine"] - 1]


def test_sarif_of_nothing_is_valid_too() -> None:
    jsonschema.Draft202012Validator(SARIF).validate(sarif(Report(()), "1.0"))


def test_lines_name_place_code_object_field_reason_and_remedy(tmp_path: Path) -> None:
    text = [line for _, line in lines(report(tmp_path))]
    first, reason, remedy = text[3:6]
    assert re.search(r"cluster\.yaml:[0-9]+: warning KPX014: Service shop/cart: spec\.externalIPs$", first)
    assert reason == "    every node sends what goes there to this Service"
    assert remedy.startswith("    → use type LoadBalancer")


def test_the_sum_counts_by_severity(tmp_path: Path) -> None:
    assert summary(report(tmp_path)) == "1 error, 1 warning, 0 notes"
    assert summary(Report((), 2)) == "0 errors, 0 warnings, 0 notes; 2 more are ignored by annotation"


def test_plain_data_has_every_field(tmp_path: Path) -> None:
    (_, one) = plain(report(tmp_path))["findings"]  # type: ignore[misc]
    assert (one["code"], one["severity"], one["value"]) == ("KPX014", "warning", "198.51.100.1")
    assert one["object"] == {"kind": "Service", "namespace": "shop", "name": "cart"}
    assert one["line"] > 1


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_the_documentation_has_the_check_as_it_is(check: Any) -> None:
    page = (ROOT / "docs" / "lint.md").read_text()
    assert f"### {check.code}: {check.title}\n" in page
    section = page.partition(f"### {check.code}:")[2].partition("\n### ")[0]
    words = " ".join(section.split())
    assert f"({check.severity})" in words.lower()
    assert check.why in words
    assert check.remedy in words


def test_the_documentation_has_no_check_that_is_not_there() -> None:
    page = (ROOT / "docs" / "lint.md").read_text()
    assert re.findall(r"^### (KPX[0-9]{3}):", page, re.MULTILINE) == [check.code for check in CHECKS]
