"""What every real MR object that the index's packages hold is taken for, or why it is refused.

tests/interop/mr_series.csv is the expectation: a line for each kind of image in a series of a
folder. With OUTCOMES=1 in the environment (and in one process) these tests write it.
"""

from __future__ import annotations

import contextlib
import csv
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom import Dataset, dcmread

from node.dicom.header import read_header
from node.dicom.untrusted import term, text
from node.domains.breast_mr.facts import Facts, as_text, from_text
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import MrSeries, Reading, read, series_of
from node.domains.breast_mr.series import SeriesKind
from node.domains.breast_mr.splitting import split
from node.errors import StudyError
from node.imaging.planes import SLICED

from .test_real_objects import IS_TO_BE_WRITTEN, PACKAGES, objects_in, samples

__all__ = ["samples"]

pytestmark = pytest.mark.interop

TABLE = Path(__file__).with_name("mr_series.csv")

LONGEST_TEXT = 1200
"""Of what one slice says, in bytes: it is kept beside each of thousands."""


class Line(NamedTuple):
    """A line of the table."""

    package: str
    files: str
    """The folder of the series, and its first file."""
    series: str
    """Series Number."""
    images: str
    taken_for: str
    why: str
    fat: str
    phases: str
    """Into how many phases the series would be divided, by what, or why not."""
    body_part: str
    body_part_by: str


def calls_itself_mr(header: Dataset) -> bool:
    """Whether an object is of MR by its Modality, its class, or at least by a Repetition Time."""
    is_of_class = text(header, "SOPClassUID") in SLICED
    return is_of_class or term(header, "Modality") == "MR" or bool(text(header, "RepetitionTime"))


def found(package: str, folder: Path) -> list[Line]:
    series: dict[tuple[str, str], list[tuple[str, list[Facts]]]] = defaultdict(list)
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in objects_in(folder):
        name = path.relative_to(folder).as_posix()
        try:
            header = read_header(path)
        except StudyError as error:
            with contextlib.suppress(Exception):
                if calls_itself_mr(dcmread(path, stop_before_pixels=True)):
                    refused[name.rpartition("/")[0], str(error)].append(name)
            continue
        if calls_itself_mr(header):
            facts = facts_of(header)
            assert facts == from_text(as_text(facts))
            assert len(as_text(facts)) < LONGEST_TEXT * len(facts)
            series[name.rpartition("/")[0], facts[0].series_uid].append((name, list(facts)))
    lines = [line for objects in series.values() for line in lines_of(package, sorted(objects))]
    for (_, reason), names in refused.items():
        count = str(len(names))
        lines.append(Line(package, min(names), "", count, "refused", reason, *["not read"] * 4))
    return sorted(lines)


def lines_of(package: str, objects: list[tuple[str, list[Facts]]]) -> list[Line]:
    facts = [one for _, several in objects for one in several]
    reading = read(facts)
    assert reading == read(reversed(facts))
    assert bool(reading.refusal) != bool(reading.phases)
    return [line_of(package, objects[0][0], one, facts, reading) for one in series_of(facts)]


def line_of(
    package: str, file: str, series: MrSeries, facts: list[Facts], reading: Reading
) -> Line:
    number = "" if series.number is None else str(series.number)
    suppressed = {None: "not said", True: "suppressed", False: "kept"}[series.fat_suppressed]
    fat = f"{suppressed}: {series.fat_by}" if series.fat_by else suppressed
    part = reading.part
    said = (part.term or "not said", part.contradiction or part.rests_on)
    return Line(
        *(package, file, number, str(series.images), str(series.kind), series.reason, fat),
        *(phases_of(facts), *said),
    )


def phases_of(facts: list[Facts]) -> str:
    """Return how a series is divided, objects of one UID taken once."""
    once = list({(one.sop_uid, one.frame): one for one in facts}.values())
    try:
        divided = split(once)
    except StudyError as error:
        return f"refused: {error}"
    count = len(divided.phases)
    return f"{count} by {divided.rests_on}" if count > 1 else "1"


def expected() -> list[Line]:
    if not TABLE.exists():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(Line._fields)
    return [Line(*row) for row in rows[1:]]


def write(package: str, lines: list[Line]) -> None:
    """Put the lines of one package in the place of those it had."""
    others = [line for line in expected() if line.package != package]
    both = sorted([*others, *lines], key=lambda line: PACKAGES.index(line.package))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Line._fields, *both])


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("package", PACKAGES)
def test_every_real_mr_series_is_taken_for_what_is_expected(
    package: str, samples: dict[str, Path]
) -> None:
    lines = found(package, samples[package])
    if IS_TO_BE_WRITTEN:
        write(package, lines)
    assert lines == [line for line in expected() if line.package == package]


def test_the_table_has_hundreds_of_images_and_names_what_they_show() -> None:
    lines = expected()
    assert sum(int(line.images) for line in lines) > 500
    assert {line.taken_for for line in lines} >= {
        *map(
            str,
            (
                SeriesKind.T1,
                SeriesKind.T2,
                SeriesKind.DIFFUSION,
                SeriesKind.ADC,
                SeriesKind.MIP,
                SeriesKind.LOCALISER,
            ),
        ),
        *map(str, (SeriesKind.REFORMATTED, SeriesKind.OTHER)),
    }
    assert all(line.why and line.body_part_by for line in lines)
    assert not [line for line in lines if "Error" in str(line) or "Traceback" in str(line)]
    assert "BREAST" not in {line.body_part for line in lines}, "no package has a real breast MRI"
