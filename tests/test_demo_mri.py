"""The breast MRI of the demonstration: what is sent, what must come back, and how true it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from demonstrated import deliver, overview_of
from mr_solid_models import enhancing_model
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedMRImageStorage

from node.config import bundled_models_dir
from node.demo import MODELS, page
from node.manifest import Model, load_model
from node.offline import analyse_folder
from node.result import Result, Solid
from node.study import Laterality
from node.training.breast_mr_enhancement.graph import PERCENT_ENHANCED
from node.trial import mri
from node.trial.checks import ExamOutcome, judge
from node.trial.exams import PLANS, Exam
from node.trial.pacs import Pacs

SHAPE = (40, 64, 80)


@dataclass(frozen=True)
class Answered:
    """The exam, and what a crude model makes of it: it marks vessels as well."""

    exam: Exam
    model: Model
    result: Result
    files: tuple[Path, ...]

    def judged(
        self,
        folder: Path,
        *,
        result: Result | None = None,
        spoil: Callable[[list[Dataset]], None] = lambda datasets: None,
    ) -> ExamOutcome:
        datasets: list[Dataset] = [dcmread(path) for path in self.files]
        spoil(datasets)
        with Pacs(folder / "dicom") as pacs:
            deliver(datasets, folder / "built", pacs)
            kept = pacs.kept
        overview = overview_of(self.exam, result or self.result, datasets)
        return judge(self.exam, replace(overview, views=()), kept, [self.model])


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Iterator[None]:
    """The exam is generated with large voxels here, which takes less time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mri, "MRI_STUDY", replace(mri.MRI_STUDY, shape=SHAPE))
        yield


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Answered:
    folder = tmp_path_factory.mktemp("mri")
    exam = mri.write_mri(folder / "exams", "run")
    model = enhancing_model(folder / "models")
    paths = [path for _, burst in exam.bursts for path in burst]
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    assert study.result is not None, study.words
    return Answered(exam, model, study.result, study.written)


def shipped() -> list[Model]:
    """Return the models of the demonstration."""
    return [load_model(name, bundled_models_dir()) for name in MODELS]


def saying(result: Result, volumes: dict[Laterality, float]) -> Result:
    """Return the result with other volumes, of these breasts alone."""

    def other(solid: Solid, ml: float) -> Solid:
        return replace(solid, measurements=(replace(solid.measurements[0], value=ml),))

    said = tuple(
        other(solid, volumes[solid.laterality])
        for solid in result.solids
        if not solid.is_left_out and solid.laterality in volumes
    )
    assert len(said) == len(volumes)
    return replace(result, solids=said)


def test_the_exam_has_six_phases_and_what_lies_beside_them_and_says_what_it_is(
    answered: Answered,
) -> None:
    exam = answered.exam
    datasets = [dcmread(path) for _, burst in exam.bursts for path in burst]
    phases = [d for d in datasets if d.SOPClassUID == EnhancedMRImageStorage]
    assert len(phases) == 6
    assert len({d.SeriesInstanceUID for d in phases}) == 6
    assert {int(d.SeriesNumber) for d in datasets} >= set(mri.BESIDE)
    assert exam.plan.letter not in {plan.letter for plan in PLANS}
    for dataset in datasets:
        assert dataset.StudyInstanceUID == exam.study_uid
        assert str(dataset.PatientName) == "DEMO^BREAST MRI"
        assert "generated" in dataset.StudyDescription and "DEMO" in dataset.ImageComments
    # Each phase after contrast comes over an association of its own.
    assert len(exam.bursts) == 6


def test_the_truth_is_of_what_the_package_calls_enhancing() -> None:
    assert PERCENT_ENHANCED / 100 == mri.ENHANCES_FROM
    (package,) = [model for model in shipped() if model.manifest.input.modality == "MR"]
    assert mri.EARLY in package.manifest.unit.roles


def test_what_was_said_of_each_breast_stands_beside_its_truth(answered: Answered) -> None:
    truth = mri.MRI_STUDY.truth(2, mri.ENHANCES_FROM)
    right, left = mri.compared(answered.result)
    assert (right.side, left.side) == (Laterality.RIGHT, Laterality.LEFT)
    for one in (right, left):
        assert one.true_ml == truth.volume_ml(one.side) > 1.5
        (solid,) = [
            s for s in answered.result.solids if s.laterality is one.side and not s.is_left_out
        ]
        assert one.said_ml == solid.measurements[0].value
    assert (right.below, left.below) == (1, 0), "one lesion rises too slowly"


def test_only_a_volume_near_the_truth_and_in_its_breast_agrees(answered: Answered) -> None:
    true = {one.side: one.true_ml for one in mri.compared(answered.result)}
    right, left = Laterality.RIGHT, Laterality.LEFT

    def agrees(volumes: dict[Laterality, float]) -> list[bool]:
        return [one.agrees for one in mri.compared(saying(answered.result, volumes))]

    assert agrees(true) == [True, True]
    assert agrees({right: true[right] * 1.1, left: true[left] * 1.5}) == [True, False]
    assert agrees({left: sum(true.values())}) == [False, False]


def test_what_came_back_is_whole_and_what_is_not_true_is_a_fault(
    answered: Answered, tmp_path: Path
) -> None:
    outcome = answered.judged(tmp_path)
    assert len(outcome.captures) == len(mri.PAGES)
    assert len(outcome.reports) == 1
    untrue = [one for one in mri.compared(answered.result) if not one.agrees]
    assert untrue, "the crude model marks vessels, too"
    assert outcome.faults == tuple(
        f"{one.side} breast: {one.said_ml:.1f} ml, in truth {one.true_ml:.1f} ml" for one in untrue
    )


def test_a_breast_of_which_nothing_is_said_is_not_told_as_one_of_0_ml(
    answered: Answered, tmp_path: Path
) -> None:
    solids = tuple(one for one in answered.result.solids if one.laterality is Laterality.LEFT)
    of_one = replace(answered.result, solids=solids)
    true = next(one.true_ml for one in mri.compared(of_one) if one.side is Laterality.RIGHT)
    faults = answered.judged(tmp_path, result=of_one).faults
    assert f"R breast: nothing, in truth {true:.1f} ml" in faults


def test_a_missing_page_is_a_fault(answered: Answered, tmp_path: Path) -> None:
    def lose_the_curve(datasets: list[Dataset]) -> None:
        lost = [d for d in datasets if mri.PAGES[3] in str(d.get("DerivationDescription"))]
        datasets.remove(lost[0])

    faults = answered.judged(tmp_path, spoil=lose_the_curve).faults
    assert "3 captures, expected 4" in faults
    assert "no capture is the enhancement over time" in faults


def test_a_volume_that_the_report_does_not_say_is_a_fault(
    answered: Answered, tmp_path: Path
) -> None:
    true = {one.side: one.true_ml for one in mri.compared(answered.result)}
    true[Laterality.LEFT] += 0.013
    faults = answered.judged(tmp_path, result=saying(answered.result, true)).faults
    assert f"no report says {true[Laterality.LEFT]:.2f} ml" in faults
    assert not any("in truth" in fault for fault in faults)


def test_a_result_without_an_early_phase_is_a_fault(answered: Answered, tmp_path: Path) -> None:
    faults = answered.judged(tmp_path, result=replace(answered.result, phases=())).faults
    assert faults == ("no model has measured an early phase",)


def test_models_of_mammograms_are_not_asked_for_an_mri(answered: Answered) -> None:
    others = [model for model in shipped() if model.manifest.input.modality != "MR"]
    overview = overview_of(answered.exam, answered.result, [])
    faults = judge(answered.exam, overview, {}, [*others, answered.model]).faults
    assert "0 structured reports, expected 1" in faults


def test_the_page_shows_the_pages_and_the_truth_beside_what_was_said(
    answered: Answered, tmp_path: Path
) -> None:
    outcome = answered.judged(tmp_path)
    html = page.write_page(tmp_path, [outcome], is_generated=True).read_text("utf-8")
    names = sorted(path.name for path in (tmp_path / "captures").iterdir())
    assert names == [
        "F-1-summary-page.png",
        "F-2-projection-with-marks.png",
        "F-3-decisive-slices-with-outlines.png",
        "F-4-enhancement-over-time.png",
    ]
    for one in mri.compared(answered.result):
        row = html.partition(f"<th scope='row'>{one.side} breast</th>")[2].partition("</tr>")[0]
        assert f">{one.true_ml:.1f} ml<" in row
        assert f">{one.said_ml:.1f} ml<" in row
    assert "1 more lesion is below that" in html
    assert "R breast enhancing skin (left out)" in html
    assert "no model triages it" in html
    for line in page.truth_in_words(outcome):
        assert "70 % early" in line and "the model says" in line
