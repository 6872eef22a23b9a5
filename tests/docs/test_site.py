"""The site: what its builder does not look at. `scripts/docs` builds it strictly, as a check of scripts/test."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from lab.machine import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"), key=str)
LINK = re.compile(r"!?\[[^][]*\]\((?!https?:)([^)#\s]+)")
ELSEWHERE = re.compile(r"""!\[[^][]*\]\(https?:|<(?:script|img|iframe|link)\b""")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = spec_from_file_location("site_hooks", ROOT / "scripts" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere_and_nothing_is_fetched_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert [target for target in LINK.findall(text) if not (page.parent / target).exists()] == []
    assert ELSEWHERE.findall(text) == []


def test_nothing_of_the_theme_comes_from_elsewhere() -> None:
    assert settings()["theme"]["font"] is False


def test_every_page_is_found(hooks: ModuleType) -> None:
    config = hooks.on_config({"docs_dir": str(DOCS), "nav": settings()["nav"]})
    listed = [f"decisions/{name}" for name in LINK.findall(hooks.decisions(DOCS))]
    named = [one for one in hooks.pages(config["nav"]) if one != hooks.INDEX]
    assert sorted([*named, *listed]) == [str(page.relative_to(DOCS)) for page in PAGES]


def test_what_the_site_does_not_have_becomes_a_path(hooks: ModuleType) -> None:
    def shown(text: str, page: str = "page.md") -> str:
        return hooks.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=page)))

    assert shown("see [the code](../kproxy/sync.py#L1) now") == "see the code (`kproxy/sync.py`) now"
    assert shown("[all](decisions)") == "[all](decisions/index.md)"
    assert shown("[other](other.md)") == "[other](other.md)"
    assert shown("[up](../other.md)", "backends/page.md") == "[up](../other.md)"
    assert shown("[out](../../README.md)", "backends/page.md") == "out (`README.md`)"
