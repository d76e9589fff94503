"""docs/operate.md says of the page what the page says itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pages import words_of

from node.config import WebSettings
from node.ledger import Ledger
from node.result import Priority
from node.store import Store

from .site import Who, opened, uid_of

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs" / "operate.md"
PAGE = re.split(r"^## ", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)[1]
"""The section about the page."""
PICTURES = re.findall(r"\]\((web/[a-z-]+\.png)\)", PAGE)


def settings() -> WebSettings:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    return WebSettings.model_validate(tomllib.loads(block)["web"])


def test_the_settings_are_what_they_would_be_but_for_the_viewer() -> None:
    assert settings().model_copy(update={"viewer": None}) == WebSettings()


def test_the_page_of_these_settings_has_the_filters_and_the_link_of_the_document(
    ledger: Ledger, store: Store, tmp_path: Path
) -> None:
    said = settings()
    site = opened(store, ledger, tmp_path, viewer=said.viewer, shows=said.shows)
    site.is_well()
    site.exam(1, Priority.URGENT)
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    first, last = rows.index("To read"), rows.index("All")
    filters = [name for row in rows[first : last + 1] for name in row.split(", ")]
    with site.visited() as visitor:
        page = visitor.get("/")
        html = re.findall(r'<a id="filter-[a-z-]+"[^>]*>(.*?)</a>', page)
        assert [re.sub(r" \d+$", "", words_of(one)) for one in html] == filters
        assert f"viewer.example.org/?StudyInstanceUIDs={uid_of(1)}" in page
        banners = re.findall(r"^\| (The node is ill|This page is from) ", PAGE, re.MULTILINE)
        assert banners == ["The node is ill", "This page is from"]
        assert "This page is from" in page


@pytest.mark.parametrize("shows", ["nothing", "accession", "patient"])
def test_what_is_shown_of_a_patient_is_what_the_table_says(
    ledger: Ledger, store: Store, tmp_path: Path, shows: str
) -> None:
    site = opened(store, ledger, tmp_path, shows=shows)
    site.exam(1, Priority.URGENT, who=Who("DOE^ADA", "PAT-17", "ACC-17", "Screening"))
    column = ("nothing", "accession", "patient").index(shows)
    table = {
        row[0]: row[1:]
        for row in re.findall(
            r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
        )
    }
    with site.visited() as visitor:
        page = visitor.get(f"/studies/{uid_of(1)}")
    told = " ".join(table["rows, titles, search"][: column + 1])
    assert ("accession number" in told) == ("ACC-17" in page)
    assert ("name and patient ID" in told) == ("PAT-17" in page)
    assert (table["captures"][column] != "none") == ("<img" in page)


@pytest.mark.parametrize("picture", PICTURES)
def test_the_pictures_are_there_and_small(picture: str) -> None:
    path = DOCUMENT.parent / picture
    assert path.is_file()
    assert path.stat().st_size < 150_000


def test_the_command_that_makes_them_is_there() -> None:
    (command,) = re.findall(r"`PYTHONPATH=\.:tests \.venv/bin/python (\S+) docs/web`", PAGE)
    assert (ROOT / command).is_file()
    assert len(PICTURES) == len(set(PICTURES)) == 7
