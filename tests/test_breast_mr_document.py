"""docs/breast-mr.md says what is read of an MRI as the code has it, and shows what is printed."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest
from ledgers import Desk
from pydicom import Dataset
from test_cli import call, desk_of_node, settings

from node import domains, imaging
from node.domains.breast_mr import habits, series, splitting, timing
from node.domains.breast_mr.series import SeriesKind
from node.domains.table import shown_by, told_of
from node.imaging.midline import BESIDE_ERROR_MM, MIDLINE_ERROR_MM
from node.imaging.motion import CAUTION_MM, MOTION_ERROR_MM
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STANDARD, STYLES, Arrangement

__all__ = ["desk_of_node", "settings"]  # fixtures

DOCUMENT = (Path(__file__).parent.parent / "docs" / "breast-mr.md").read_text("utf-8")
WORDS = " ".join(DOCUMENT.split())
TABLE = Path(__file__).parent / "interop" / "mr_series.csv"
_OF_READING = DOCUMENT.partition("\n## What is reported of volumes\n")[0]
BLOCKS = [block.splitlines() for block in re.findall(r"```text\n(.*?)```", _OF_READING, re.DOTALL)]
BEGUN_AT = datetime(2026, 3, 3, 10, 15)


def section(heading: str) -> str:
    found = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found, heading
    return found


def first_column(heading: str) -> list[str]:
    return re.findall(r"^\| `(.+?)` \|", section(heading), re.MULTILINE)


@cache
def shown_study() -> Sequence[Dataset]:
    """Of a scanner that writes all phases into one series, at a site that writes CHEST."""
    style = replace(STANDARD, arrangement=Arrangement.BY_PHASE, body_part="CHEST")
    plan = StudyPlan(style=style, shape=(60, 16, 16), fault=Fault.MISSING_PHASE, begun_at=BEGUN_AT)
    return breast_mr("document", plan)


def refused_study() -> Sequence[Dataset]:
    plan = StudyPlan(shape=(60, 16, 16), beside=False, fault=Fault.DOUBLED_SLICE, begun_at=BEGUN_AT)
    return breast_mr("document", plan)


def lines_of(objects: Sequence[Dataset]) -> list[str]:
    return list(told_of([shown_by(one) for one in objects]))


def below(output: str) -> list[str]:
    """Return the last lines of what is printed, as many as the page shows of a study."""
    return [line.removeprefix("  ") for line in output.splitlines() if line.startswith("  ")]


def command(name: str) -> list[str]:
    found = re.findall(rf"^ai-node {name}.*$", DOCUMENT, re.MULTILINE)
    return shlex.split(found[0])[1:]


def test_the_three_studies_are_told_as_the_page_shows() -> None:
    assert [
        lines_of(shown_study()),
        lines_of(knee_mr("document")),
        lines_of(refused_study())[:3],
    ] == BLOCKS


@pytest.mark.usefixtures("warm_inference")
def test_analyse_prints_it_below_what_it_says_of_every_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, one in enumerate(shown_study()):
        path = tmp_path / "exam" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        one.save_as(path, enforce_file_format=True)
    result = call(*command("analyse"))
    assert result.exit_code == 0, result.output
    assert below(result.stdout)[-len(BLOCKS[0]) :] == BLOCKS[0]


def test_studies_prints_it_of_a_study_that_is_named(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.store.prepare()
    for one in shown_study():
        desk_of_node.keep(one)
    arguments = command("studies")
    assert arguments == ["studies", "STUDY"]
    uid = str(shown_study()[0].StudyInstanceUID)
    printed = below(call("studies", uid, "-c", settings).stdout)
    assert [line for line in printed if line in BLOCKS[0]] == BLOCKS[0]


def test_every_kind_of_series_is_explained() -> None:
    assert sorted(first_column("What a series is taken for")) == sorted(SeriesKind)


def test_what_weighting_rests_on_is_as_it_is_decided() -> None:
    rows = dict(
        re.findall(r"^\| `(.+?)` \| (.*?) \|$", section("What a series is taken for"), re.MULTILINE)
    )
    numbers = {kind: [int(x) for x in re.findall(r"(\d+) ms", row)] for kind, row in rows.items()}
    assert numbers["T1"] == [
        series._LONGEST_ECHO_OF_GRADIENT_MS,
        series._LONGEST_ECHO_OF_T1_MS,
        series._LONGEST_REPETITION_OF_T1_MS,
    ]
    assert numbers["T2"] == [
        series._SHORTEST_ECHO_OF_T2_MS,
        series._SHORTEST_REPETITION_OF_T2_MS,
    ]
    assert numbers["STIR"] == [series._LONGEST_INVERSION_OF_STIR_MS]


def test_what_divides_and_orders_phases_is_named_in_its_order() -> None:
    told = section("Phases and their times")
    keys = ", ".join(key.name for key in splitting._KEYS)
    assert f"no image left over: {keys}." in " ".join(told.split())
    clocks = re.findall(r"^\d\. ([A-Z][A-Za-z ]+?)(?: \(.*\))?$", told, re.MULTILINE)
    assert clocks == [name for name, _ in timing._CLOCKS]
    made_later = [name for name, _ in timing._CLOCKS[-3:]]
    assert tuple(made_later) == timing._MADE_LATER


@pytest.mark.parametrize("words", first_column("What is refused"))
def test_what_is_refused_is_said_in_these_words(words: str) -> None:
    folders = [Path(domains.__file__).parent / "breast_mr", Path(imaging.__file__).parent]
    sources = [path.read_text("utf-8") for folder in folders for path in folder.glob("*.py")]
    assert any(words in re.sub(r'"\s*f?"', "", source) for source in sources)


def test_what_motion_and_midline_are_measured_to_is_as_it_is_tested() -> None:
    told = " ".join(section("Motion and midline").split())
    numbers = (CAUTION_MM, MOTION_ERROR_MM, MIDLINE_ERROR_MM, BESIDE_ERROR_MM)
    assert [f"{number:g} mm" in told for number in numbers] == [True] * 4


def shortened(source: str) -> str:
    """Return a source as the page has it: it says once what UCSF is."""
    return source.replace(habits._UCSF, "UCSF: ").replace("|", "\\|")


def rows_of_habits() -> Iterator[str]:
    """Yield the lines of the page's table."""
    for private in habits.PRIVATE:
        tag = f"({private.group:04X},xx{private.element:02X})"
        yield f"| {tag} of {private.creator} | {private.says} | {shortened(private.source)} |"
    for attribute, found in (
        ("Image Type", habits.IMAGE_TYPES),
        ("Sequence Name", habits.SEQUENCE_NAMES),
        ("Series Description", habits.SERIES_WORDS),
        ("Series Description", habits.PHASE_WORDS),
        ("Contrast/Bolus Agent", (habits.NO_AGENT,)),
    ):
        for habit in found:
            is_whole = attribute in ("Image Type", "Sequence Name")
            says = f"`{habit.pattern.pattern}`" if is_whole else habit.says
            means = f"{says}: {habit.means}".replace("|", "\\|")
            yield f"| {attribute} | {means} | {shortened(habit.source)} |"
    yield f"| Trigger Time | tells phases apart | {shortened(habits.TRIGGER_TIME_OF_PHASES)} |"
    yield f"| b-value of an ADC map | is not of the map | {shortened(habits.B_VALUE_OF_MAP)} |"
    of = "of several dynamic series that with most images"
    yield f"| number of images | {of} | {shortened(habits.LARGEST_IS_DYNAMIC)} |"


def test_every_habit_stands_there_with_its_source_and_no_other() -> None:
    rows = section("What makers and sites write").partition("| --- | --- | --- |\n")[2]
    assert rows.partition("\n\n")[0].splitlines() == list(rows_of_habits())
    assert habits._UCSF.removesuffix(", ") in WORDS


def test_what_it_was_tried_on_is_counted() -> None:
    lines = list(csv.DictReader(TABLE.read_text("utf-8").splitlines()))
    images = sum(int(line["images"]) for line in lines)
    assert f"Real MR objects: {images} images" in WORDS
    assert f"in {len(STYLES)} header styles" in WORDS
