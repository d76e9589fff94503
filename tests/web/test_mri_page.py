"""The page of an MRI shows what each series was taken for and why, and its phases with times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from domains.breast_mr.generated import made, planned
from pages import words_of
from postgres import NewDatabase
from pydicom import Dataset

from node.ledger import Ledger, schema
from node.store import Store
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes

from .site import Site, opened, uid_of

HEADING = "What this MRI was taken for"


@pytest.fixture(scope="module")
def new_database(new_file: NewDatabase) -> NewDatabase:
    """Make files alone: what is read of a ledger is tested on both databases elsewhere."""
    return new_file


@pytest.fixture
def site(ledger: Ledger, store: Store, tmp_path: Path) -> Site:
    return opened(store, ledger, tmp_path)


@pytest.fixture(scope="module")
def exam() -> Sequence[Dataset]:
    plan = planned("Siemens, one series", schedule=PhaseTimes(posts=2), shape=(6, 16, 16))
    return made(plan)


def page_of(site: Site, objects: Sequence[Dataset]) -> str:
    for one in objects:
        site.desk.keep(one)
    with site.visited() as visitor:
        return visitor.get(f"/studies/{objects[0].StudyInstanceUID}")


def section(page: str) -> str:
    return page.partition(f"<h2>{HEADING}</h2>")[2].partition("<h2>")[0]


def cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr role=\"row\">(.*?)</tr>", table, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_series_and_phases_are_two_tables(site: Site, exam: Sequence[Dataset]) -> None:
    shown = section(page_of(site, exam))
    series, phases = shown.split("<table")[1:]
    assert cells(series) == [
        ["Series", "Taken for", "Images", "Why"],
        [
            *("4", "dynamic T1", "18"),
            "pre to post 2, told apart by Acquisition Number; T1-weighted: gradient echo, "
            "TR 4.52 ms, TE 2.38 ms, flip angle 10 degrees, 3D; fat suppressed (Scan Options)",
        ],
    ]
    lasted = "90 s (the time between phases)"
    assert cells(phases) == [
        ["Phase", "Series", "Slices", "Began", "From the injection", "Its middle", "Lasted"],
        ["pre", "4", "6", "10:25:00", "135 s before", "90 s before", lasted],
        ["post 1", "4", "6", "10:27:15", "0 s after", "45 s after", lasted],
        ["post 2", "4", "6", "10:28:45", "90 s after", "135 s after", lasted],
    ]


def test_remarks_on_all_stand_before_the_tables(site: Site, exam: Sequence[Dataset]) -> None:
    before = words_of(section(page_of(site, exam)).partition("<table")[0])
    for words in (
        "Body part BREAST (Body Part Examined)",
        "Injection 10:27:15 (the start of post 1, as no Contrast/Bolus Start Time is given)",
        "Doubt nothing says which phases are before the contrast agent",
    ):
        assert words in before


def test_a_knee_is_said_to_be_none_to_read_and_has_no_phases(site: Site) -> None:
    shown = section(page_of(site, knee_mr("knee")))
    assert "Not read as breast MRI: MR of KNEE: Body Part Examined" in words_of(shown)
    assert shown.count("<table") == 1


def test_what_came_before_this_was_kept_is_said_and_no_table_shown(
    site: Site, exam: Sequence[Dataset]
) -> None:
    page_of(site, exam)
    with site.ledger.writing() as db:
        db.execute(schema.instance.update().values(details=None))
    with site.visited() as visitor:
        shown = section(visitor.get(f"/studies/{exam[0].StudyInstanceUID}"))
    assert "Not told this study came before what its images say was kept" in words_of(shown)
    assert "<table" not in shown


def test_the_page_of_mammograms_has_no_such_part(site: Site) -> None:
    site.arrived(1)
    with site.visited() as visitor:
        assert HEADING not in visitor.get(f"/studies/{uid_of(1)}")
