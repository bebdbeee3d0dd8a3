"""What the README and the pages behind it promise."""

import re
from pathlib import Path

import pytest

from topology.describe import mermaid

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_picture_is_drawn_from_the_graph() -> None:
    """A stage or topic that changes changes the README in the same commit."""
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    assert picture.strip() == mermaid().strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_place_that_a_page_names_is_there(page: Path) -> None:
    """Links and file names in backticks lead somewhere."""
    text = page.read_text()
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if not target.startswith("http")]
    files = re.findall(r"`((?:streams|schemas|topology|infra|tests|docs|benchmarks)/[\w/.-]+)`", text)

    missing = [t for t in links if not (page.parent / t).exists()] + [t for t in files if not (ROOT / t).exists()]
    assert missing == []


@pytest.mark.parametrize("target", re.findall(r"^make ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
def test_every_make_target_that_the_readme_names_exists(target: str) -> None:
    """The two commands are really there."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
