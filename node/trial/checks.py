"""Whether everything that had to arrive at the PACS arrived, and is what it had to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset

from node.dicom.untrusted import failing_as
from node.errors import Unreadable
from node.manifest import Model
from node.outputs import wording
from node.overview import Standing, StudyOverview
from node.result import ModelIdentity, Result
from node.trial.exams import Exam
from node.trial.mri import PAGES, compared
from node.trial.pacs import StoredObject
from node.trial.phantom import EXAM
from node.trial.reports import ContentLine, content_lines


@dataclass(frozen=True, slots=True)
class ExamOutcome:
    """One exam of the demonstration, after it."""

    exam: Exam
    overview: StudyOverview | None
    """Where the node says it stands; None if the node knows nothing of it."""
    objects: Mapping[str, StoredObject]
    """What the PACS keeps of the study, by SOP Instance UID."""
    datasets: tuple[Dataset, ...] = ()
    """The same, read back from disk, in the order of the series."""
    faults: tuple[str, ...] = ()
    """What is missing or wrong, in words; empty if nothing is."""

    @property
    def reports(self) -> tuple[Dataset, ...]:
        """The structured reports among the objects."""
        return tuple(d for d in self.datasets if d.Modality == "SR")

    @property
    def captures(self) -> tuple[Dataset, ...]:
        """The images among the objects."""
        return tuple(d for d in self.datasets if "PixelData" in d)

    @property
    def seconds(self) -> float | None:
        """From the last image received to the last result stored by the PACS."""
        if self.overview is None or not self.objects:
            return None
        return max(kept.stored_at for kept in self.objects.values()) - self.overview.last_at


def judge(
    exam: Exam,
    overview: StudyOverview | None,
    kept: Mapping[str, StoredObject],
    models: Sequence[Model],
) -> ExamOutcome:
    """Read back what the PACS keeps of an exam and say what is missing or wrong.

    Of `models` those count that read exams of its modality.
    """
    models = [model for model in models if model.manifest.input.modality == exam.plan.modality]
    outcome = read_back(exam, overview, kept)
    faults = list(outcome.faults)
    if overview is not None:
        faults += _object_faults(outcome, len(models))
        faults += _level_faults(exam, overview, models)
        faults += _volume_faults(outcome)
    by_title = {model.manifest.title: model for model in models}
    for report in outcome.reports:
        lines = content_lines(report, exam.names)
        model = next((by_title[line.value] for line in lines if line.value in by_title), None)
        if model is None:
            faults.append(f"a report does not say that it is by {' or '.join(by_title)}")
        else:
            faults += _report_faults(exam, lines, model.identity)
    return replace(outcome, faults=tuple(faults))


def read_back(
    exam: Exam, overview: StudyOverview | None, kept: Mapping[str, StoredObject]
) -> ExamOutcome:
    """Read back what the PACS keeps, and compare it with what the node says, whatever the model."""
    objects = {uid: item for uid, item in kept.items() if item.study_uid == exam.study_uid}
    datasets, faults = [], []
    for uid, item in objects.items():
        try:
            with failing_as(f"{item.path.name} cannot be read back"):
                datasets.append(item.read())
        except Unreadable as error:
            faults.append(str(error))
            continue
        faults += _identity_faults(exam, uid, datasets[-1])
    datasets.sort(key=lambda d: (int(d.SeriesNumber or 0), int(d.InstanceNumber or 0)))
    outcome = ExamOutcome(exam, overview, objects, tuple(datasets))
    faults += _work_faults(outcome)
    return replace(outcome, faults=tuple(faults))


def _identity_faults(exam: Exam, sop_uid: str, dataset: Dataset) -> list[str]:
    expected = {
        "SOPInstanceUID": sop_uid,
        "StudyInstanceUID": exam.study_uid,
        "PatientID": exam.plan.patient.patient_id,
        "PatientName": exam.plan.patient.name,
    }
    return [
        f"{dataset.Modality} object: {keyword} is {dataset.get(keyword)!s}, expected {value}"
        for keyword, value in expected.items()
        if str(dataset.get(keyword)) != value
    ]


def _work_faults(outcome: ExamOutcome) -> list[str]:
    """Compare what the node says about the study with what it ought to say."""
    overview, exam = outcome.overview, outcome.exam
    if overview is None:
        return ["the node never received it"]
    faults = []
    if overview.state != Standing.DONE:
        faults.append(f"the node is not done with it: {overview.state}, {overview.error or '-'}")
    if overview.images != exam.images:
        faults.append(f"the node has {overview.images} images, {exam.images} were sent")
    faults += [
        f"{delivery.sop_uid} was {delivery.state} but is not at the PACS"
        for delivery in overview.deliveries
        if delivery.sop_uid not in outcome.objects
    ]
    return faults


def _level_faults(exam: Exam, overview: StudyOverview, models: Sequence[Model]) -> list[str]:
    """Compare the study's triage level with the one that it must have, if a model triages."""
    expected = exam.plan.level
    if expected is None or not any(model.manifest.triage for model in models):
        return []
    if overview.level == str(expected):
        return []
    return [f"its triage level is {overview.level or 'none'}, expected {expected}"]


def _object_faults(outcome: ExamOutcome, models: int) -> list[str]:
    """Ask for a report of each model, and for its captures.

    These are a summary and a marked image of every analysed view, or of an MRI its pages.
    """
    exam = outcome.exam
    is_mri = exam.plan.modality == "MR"
    analysed = 0 if exam.plan.refusal else exam.images
    captures = len(PAGES) if is_mri else analysed + 1
    faults = []
    if len(outcome.reports) != models:
        faults.append(f"{len(outcome.reports)} structured reports, expected {models}")
    if len(outcome.captures) != captures:
        faults.append(f"{len(outcome.captures)} captures, expected {captures}")
    shown = " ".join(str(capture.get("DerivationDescription")) for capture in outcome.captures)
    faults += [f"no capture is the {page}" for page in PAGES if is_mri and page not in shown]
    faults += [
        f"capture {capture.InstanceNumber} shows nothing"
        for capture in outcome.captures
        if capture.pixel_array.max() == capture.pixel_array.min()
    ]
    return faults


def _volume_faults(outcome: ExamOutcome) -> list[str]:
    """Compare the volumes of an MRI with its truth, and the report's numbers with the volumes."""
    if outcome.exam.plan.modality != "MR" or outcome.overview is None:
        return []
    results = [model.result for model in outcome.overview.models if model.result]
    sides = [one for result in results for one in compared(result)]
    faults = [
        f"{one.side} breast: {_said(one.said_ml)}, in truth {one.true_ml:.1f} ml"
        for one in sides
        if not one.agrees
    ]
    if not sides:
        faults.append("no model has measured an early phase")
    printed = {
        line.value
        for report in outcome.reports
        for line in content_lines(report, {})
        if line.kind == "NUM"
    }
    faults += [
        f"no report says {quantity}"
        for result in results
        for quantity in _volumes(result)
        if quantity not in printed
    ]
    return faults


def _said(ml: float | None) -> str:
    return "nothing" if ml is None else f"{ml:.1f} ml"


def _volumes(result: Result) -> list[str]:
    return [wording.quantity(m) for solid in result.solids for m in solid.measurements]


def _report_faults(exam: Exam, lines: Sequence[ContentLine], model: ModelIdentity) -> list[str]:
    text = "\n".join(line.value for line in lines)
    numbers = [line for line in lines if line.kind == "NUM"]
    wanted = [model.title, model.version]
    faults = []
    if exam.plan.refusal:
        wanted += ["not analysed", exam.plan.refusal]
        if numbers:
            faults.append("the report of a refused study holds measurements")
    elif exam.plan.modality == "MG":
        wanted += [str(view) for view in EXAM if view not in exam.plan.views]
        if len(numbers) < exam.images:
            faults.append(f"the report holds {len(numbers)} measurements of {exam.images} images")
    faults += [f"the report does not say {w!r}" for w in wanted if w.lower() not in text.lower()]
    return faults
