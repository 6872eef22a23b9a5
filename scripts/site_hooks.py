"""What mkdocs.yml cannot say: pages that nobody named, the list of decisions, and links that lead out of docs/."""
# ruff: noqa: ANN401 - what MkDocs hands over has no types

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

OUTSIDE = re.compile(r"\[([^][]+)\]\(((?:\.\./)+)([^()\s#]+)(?:#[^()\s]*)?\)")
DIRECTORY = re.compile(r"\]\(decisions/?\)")
NAMED = re.compile(r"^# (.+)$", re.MULTILINE)
MORE, INDEX = "More", "decisions/index.md"


def on_config(config: Any) -> Any:
    """Add what is there and not named: pages under More, and the list of decisions."""
    root = Path(config["docs_dir"])
    named = set(pages(config["nav"]))
    found = {str(path.relative_to(root)) for path in root.rglob("*.md")}
    more = sorted(one for one in found - named if not one.startswith("decisions/"))
    if more:
        config["nav"].append({MORE: more})
    config["nav"].append({"Decisions": INDEX})
    return config


def pages(nav: Any) -> list[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in pages(item)]


def on_files(files: Any, config: Any) -> Any:
    """Make the list of decisions."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the tests have no MkDocs

    files.append(File.generated(config, INDEX, content=decisions(Path(config["docs_dir"]))))
    return files


def decisions(root: Path) -> str:
    """A page that links to all of them."""
    lines = [f"- [{title(path)}]({path.name})" for path in sorted((root / "decisions").glob("*.md"))]
    return "\n".join(["# Decisions", "", "What was decided and why, one page each.", "", *lines, ""])


def title(path: Path) -> str:
    """A page's heading."""
    found = NAMED.search(path.read_text())
    return found[1] if found else path.stem


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link to a file of the repository outside docs/ becomes its words and its path, which the site does not have."""
    depth = page.file.src_uri.count("/")

    def shown(match: re.Match[str]) -> str:
        words, up, path = match.groups()
        if up.count("../") <= depth:
            return match[0]
        return words if words.strip("`") == path else f"{words} (`{path}`)"

    return OUTSIDE.sub(shown, DIRECTORY.sub(f"]({INDEX})", markdown))
