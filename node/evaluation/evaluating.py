"""`ai-node evaluate`: a model, labelled images and their table -> figures, and all they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from node import __version__
from node.errors import ConfigError, NodeError
from node.evaluation.cases import CaseAbout, LabelledCase, cases_of, outputs_of
from node.evaluation.collection import collect
from node.evaluation.counting import (
    GradeFigures,
    QuestionFigures,
    TriageFigures,
    answer_question,
    grade_figures,
    questions,
    triage_figures,
)
from node.evaluation.labels import LabelTable
from node.evaluation.running import (
    KEPT_SCORES,
    TRAINING_IMAGES,
    AnsweredExam,
    run_exams,
    training_digests,
)
from node.evaluation.truth import Truth, class_names, read_truth, refuse_contradicting_grades
from node.manifest import ClassesOutput, Manifest, Model, view_called
from node.result import ModelIdentity
from node.toml_file import did_you_mean

MOST_GROUPS = 50
"""A column of more values than these is no group of cases."""
ALWAYS_THERE = ("side", "view")
"""Columns that may be broken down by though the table has them not: the objects say them."""
Progressing = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows how far something is, by its name and number of steps; yields what each step calls."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is asked for."""

    table: LabelTable
    out_dir: Path
    by: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    """0..1, besides the operating points of the manifest."""
    prevalence: float | None = None
    processes: int = 1


@dataclass(frozen=True, slots=True)
class GivenImages:
    """What the figures are of."""

    labels: str
    """Name of the table, or of the collection."""
    labels_sha256: str
    images: int
    exams: int
    patients: int
    trained_on: int | None
    """How many of the images the package has learnt from; None: it does not say."""
    patients_left_out: int
    """Those with such an image, with all theirs; they are in no figure."""


@dataclass(frozen=True, slots=True)
class EvaluationDocument:
    """All that came of it: `evaluation.json` holds nothing else."""

    format: int
    node: str
    model: ModelIdentity
    given: GivenImages
    notes: tuple[str, ...]
    questions: tuple[QuestionFigures, ...]
    grades: dict[str, dict[str, GradeFigures]]
    """By output, then by what they are about."""
    triage: TriageFigures | None
    cases: tuple[LabelledCase, ...]


def evaluate_model(
    model: Model, settings: EvaluationSettings, progress: Progressing
) -> EvaluationDocument:
    """Run a model on labelled images and return the figures; raise NodeError if there are none."""
    manifest = model.manifest
    if not outputs_of(manifest):
        raise NodeError(
            f"{manifest.name} measures; there is nothing in it that a label could judge"
        )
    table = settings.table
    _require_columns_to_group_by(table, settings.by)
    truth = read_truth(table, outputs_of(manifest), settings.positive)
    with progress("Reading", len(table.rows)) as advance:
        exams = collect(table, manifest, advance)
    if manifest.domain == "mammography":
        refuse_contradicting_grades(table, exams, truth)
    _make_folder(settings.out_dir)
    scores = settings.out_dir / KEPT_SCORES
    with progress("Analysing", len(exams)) as advance:
        answered = run_exams(exams, model, scores, settings.processes, advance)
    return _document(model, settings, table, truth, answered)


def _require_columns_to_group_by(table: LabelTable, by: Sequence[str]) -> None:
    known = (*table.columns, *ALWAYS_THERE)
    for column in by:
        if column not in known:
            raise ConfigError(f"--by {column}: no such column, {did_you_mean(column, known)}")
        values = {row.columns.get(column, "") for row in table.rows}
        if len(values) > MOST_GROUPS and column != "age":
            raise ConfigError(
                f"--by {column}: {len(values)} different values, {MOST_GROUPS} at most can be told "
                "apart; put them in groups"
            )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be a folder ({error.strerror})") from error


def _document(
    model: Model,
    settings: EvaluationSettings,
    table: LabelTable,
    truth: Truth,
    answered: Sequence[AnsweredExam],
) -> EvaluationDocument:
    manifest = model.manifest
    left_out = {one.exam.patient for one in answered if one.trained_on}
    others = [one for one in answered if one.exam.patient not in left_out]
    if not others:
        raise NodeError(f"{manifest.name} has learnt from images of every patient: nothing is left")
    cases = [case for one in others for case in cases_of(one, manifest)]
    outputs = outputs_of(manifest)
    asked = questions(outputs, truth, settings.thresholds)
    grades = {
        name: _grades(name, output, truth, cases)
        for name, output in outputs.items()
        if isinstance(output, ClassesOutput) and name in truth.grades
    }
    says = training_digests(model) is not None
    return EvaluationDocument(
        format=1,
        node=__version__,
        model=model.identity,
        given=GivenImages(
            labels=table.name,
            labels_sha256=table.sha256,
            images=len(table.rows),
            exams=len(answered),
            patients=len({row.patient for row in table.rows}),
            trained_on=sum(len(one.trained_on) for one in answered) if says else None,
            patients_left_out=len(left_out),
        ),
        notes=tuple((*_notes(answered, says), *_notes_of_views(others, cases, manifest))),
        questions=tuple(
            answer_question(one, cases, settings.by, settings.prevalence) for one in asked
        ),
        grades=grades,
        triage=triage_figures(truth, cases, settings.prevalence),
        cases=tuple(cases),
    )


def _grades(
    name: str, output: ClassesOutput, truth: Truth, cases: Sequence[LabelledCase]
) -> dict[str, GradeFigures]:
    found = {}
    for about in CaseAbout:
        of_these = [case for case in cases if case.about == about]
        figures = grade_figures(name, class_names(output), truth, of_these)
        if figures is not None:
            found[str(about)] = figures
    return found


def _notes(answered: Sequence[AnsweredExam], says: bool) -> Iterator[str]:
    """Yield what whoever reads the figures should know."""
    if not says:
        yield (
            f"The package does not say which images it has learnt from ({TRAINING_IMAGES}): "
            "whether it has seen some of these, nobody knows."
        )
    if mixed := _of_several_studies(answered):
        yield (
            f"{mixed} of {len(answered)} exams are several DICOM studies, or a part of one, as the "
            "column exam says; a node takes each study by itself."
        )
    highest = [one.highest_of_16_bits for one in answered if one.highest_of_16_bits is not None]
    if highest and max(highest) < 1 << 15:
        bits = max(9, max(highest).bit_length())
        yield (
            f"No image of 16 bits uses the highest of them: the values end at {max(highest)}. If "
            f"white is {(1 << bits) - 1} there, add a column bits with {bits}: they were shown too "
            "dark."
        )
    if held := [one.exam.why_held for one in answered if one.exam.why_held]:
        yield f"{len(held)} exams would be held by a node: {held[0]}."


def _notes_of_views(
    answered: Sequence[AnsweredExam], cases: Sequence[LabelledCase], manifest: Manifest
) -> Iterator[str]:
    """Yield how many exams of which something is said were not seen whole."""
    names = {case.name for case in cases if case.about == CaseAbout.EXAM and case.said}
    expected = {
        (view.laterality, view.projection)
        for view in map(view_called, manifest.input.expected_views)
        if view.projection in manifest.input.projections
    }
    count = 0
    for one in answered:
        analysed = one.result.analysed if one.result else ()
        seen = {
            (i.side, i.projection)
            for i in one.exam.images
            if one.sop_uids.get(i.row.line) in analysed
        }
        count += f"exam {one.exam.number}" in names and not expected <= seen
    if count:
        lack = (
            "1 exam lacks an expected view and is"
            if count == 1
            else (f"{count} exams lack an expected view and are")
        )
        yield f"{lack} counted as assessed, with what was seen, as the model combines it."


def _of_several_studies(answered: Sequence[AnsweredExam]) -> int:
    """Return how many exams are not just one DICOM study."""
    of_exam = [{i.study_uid for i in one.exam.images if i.is_dicom} for one in answered]
    count = Counter(study_uid for studies in of_exam for study_uid in studies)
    return sum(len(one) > 1 or any(count[uid] > 1 for uid in one) for one in of_exam)
