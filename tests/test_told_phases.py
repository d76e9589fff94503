"""`ai-node analyse` and `ai-node studies STUDY` tell what an MRI was taken for; lists do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import factories
import pytest
from costs import counted
from domains.breast_mr.generated import made, planned
from ledgers import Desk
from pydicom import Dataset
from test_cli import call, desk_of_node, settings

from node.domains.breast_mr.telling import ToldStudy
from node.domains.table import shown_by, told_of
from node.ledger import Ledger, schema
from node.overview import StudyOverview, mri, study_overview
from node.trial.breast_mr.phase_times import PhaseTimes

__all__ = ["desk_of_node", "settings"]  # fixtures

SHORT = PhaseTimes(posts=2)


@pytest.fixture(scope="module")
def exam() -> Sequence[Dataset]:
    return made(planned("Siemens, one series", schedule=SHORT, shape=(6, 16, 16)))


@pytest.fixture(scope="module")
def lines(exam: Sequence[Dataset]) -> Sequence[str]:
    told = told_of([shown_by(one) for one in exam])
    assert len(told) == 8
    return told


def saved(folder: Path, objects: Sequence[Dataset]) -> Path:
    folder.mkdir()
    for number, one in enumerate(objects):
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def received(desk: Desk, objects: Sequence[Dataset]) -> str:
    desk.store.prepare()
    for one in objects:
        assert desk.keep(one) == "new"
    return str(objects[0].StudyInstanceUID)


@pytest.mark.usefixtures("warm_inference")
def test_analyse_tells_of_an_mri_what_it_was_taken_for_though_the_model_reads_none(
    exam: Sequence[Dataset], lines: Sequence[str], tmp_path: Path
) -> None:
    result = call("analyse", saved(tmp_path / "exam", exam), "--out", tmp_path / "results")
    assert result.exit_code == 0, result.output
    first, *rest = result.stdout.splitlines()
    assert first.endswith("out of scope of breast-area")
    assert rest[-len(lines) :] == [f"  {line}" for line in lines]


@pytest.mark.usefixtures("warm_inference")
def test_analyse_tells_nothing_more_of_mammograms(tmp_path: Path) -> None:
    factories.saved_exam(tmp_path / "exam", views=[factories.R_CC])
    result = call("analyse", tmp_path / "exam", "--out", tmp_path / "results")
    assert "series" not in result.stdout


def test_a_study_that_is_named_is_told_from_what_its_objects_said_when_they_came(
    exam: Sequence[Dataset], lines: Sequence[str], settings: Path, desk_of_node: Desk
) -> None:
    uid = received(desk_of_node, exam)
    result = call("studies", uid, "-c", settings)
    said = result.stdout.splitlines()
    assert [line for line in said if line.strip() in lines] == [f"  {line}" for line in lines]
    (images,) = [line for line in said if line.split()[0] == "images"]
    assert images.endswith(": 3 phases")


def test_lists_are_as_before_and_ask_nothing_of_phases(
    exam: Sequence[Dataset],
    settings: Path,
    desk_of_node: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received(desk_of_node, exam)

    def asked(_: Ledger, __: StudyOverview) -> ToldStudy | None:
        raise AssertionError("asked")

    monkeypatch.setattr(mri, "told_of_study", asked)
    listed = call("studies", "-c", settings)
    assert "1 study" in listed.stdout
    assert "series" not in listed.stdout
    (images,) = [line for line in listed.stdout.splitlines() if line.strip().startswith("images")]
    assert images.endswith(": MR"), "which has no views to be named"
    (study,) = json.loads(call("studies", "-c", settings, "--json").stdout)
    assert "mri" not in study


def told_as_json(settings: Path, uid: str) -> Any:
    (study,) = json.loads(call("studies", uid, "-c", settings, "--json").stdout)
    return study["mri"]


def test_programs_get_it_in_parts(
    exam: Sequence[Dataset], settings: Path, desk_of_node: Desk
) -> None:
    told = told_as_json(settings, received(desk_of_node, exam))
    assert told["body_part"] == {
        "term": "BREAST",
        "rests_on": "Body Part Examined",
        "is_breast": True,
    }
    (series,) = told["series"]
    assert (series["number"], series["kind"], series["images"]) == (4, "dynamic T1", 18)
    assert series["uid"] == exam[0].SeriesInstanceUID
    assert series["reason"].startswith("T1-weighted: gradient echo")
    assert series["phases"] == ["pre", "post 1", "post 2"]
    assert series["divided_by"] == "Acquisition Number"
    pre, _, post = told["phases"]
    assert (pre["name"], pre["start"], pre["after_injection_s"]) == ("pre", "10:25:00", -135)
    assert post == {
        "name": "post 2",
        "series": [series["uid"]],
        "slices": 6,
        "start": "10:28:45",
        "lasts_s": 90,
        "lasts_by": "the time between phases",
        "after_injection_s": 90,
        "middle_s": 135,
    }
    assert told["injection"]["time"] == "10:27:15"
    assert told["stated"] is None
    assert told["refusal"] == ""
    assert told["not_kept"] == 0
    assert told["doubts"] == [
        "nothing says which phases are before the contrast agent; the first is taken for pre"
    ]


def test_of_mammograms_nothing_is_told_in_parts(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.receive()
    assert told_as_json(settings, "1.2.826.1") is None


def test_one_query_reads_it_and_none_of_a_study_that_is_no_mri(
    exam: Sequence[Dataset], desk_of_node: Desk
) -> None:
    uid = received(desk_of_node, exam)
    desk_of_node.receive(study="1.2.3", sop_uid="1.2.3.1")
    for study_uid, queries in ((uid, 1), ("1.2.3", 0)):
        study = study_overview(desk_of_node.ledger, study_uid)
        assert study is not None
        with counted() as cost:
            assert (mri.told_of_study(desk_of_node.ledger, study) is not None) is bool(queries)
        assert len(cost.statements) == queries


def test_a_study_that_came_before_this_was_kept_says_so(
    exam: Sequence[Dataset], settings: Path, desk_of_node: Desk
) -> None:
    uid = received(desk_of_node, exam)
    with desk_of_node.ledger.writing() as db:
        db.execute(schema.instance.update().values(details=None))
    said = call("studies", uid, "-c", settings).stdout
    assert "  not told     this study came before what its images say was kept with them" in said
    assert "series" not in said
    assert told_as_json(settings, uid)["not_kept"] == len(exam)


def test_what_was_withdrawn_is_not_told_of(
    exam: Sequence[Dataset], settings: Path, desk_of_node: Desk
) -> None:
    uid = received(desk_of_node, exam)
    desk_of_node.withdraw(str(exam[0].SOPInstanceUID), study=uid)
    (series,) = told_as_json(settings, uid)["series"]
    assert series["images"] == len(exam) - 1
