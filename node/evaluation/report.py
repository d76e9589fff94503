"""Figures -> files: `evaluation.json` for programs, `evaluation.md` and pictures for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from node.evaluation.cases import CaseAbout
from node.evaluation.counting import (
    AtThreshold,
    CalibrationFigures,
    CaseCounts,
    FiguresAbout,
    GradeFigures,
    PerThousand,
    QuestionFigures,
    TriageFigures,
)
from node.evaluation.evaluating import EvaluationDocument
from node.evaluation.measures import Measured
from node.evaluation.plots import calibration_plot, roc_plot
from node.numbers_in_words import share_in_figures, share_in_percent

HAS_NONE = "-"


def write_evaluation(document: EvaluationDocument, folder: Path) -> list[Path]:
    """Write all files of an evaluation, and return them."""
    texts = {
        "evaluation.json": json.dumps(asdict(document), indent=1) + "\n",
        "evaluation.md": "\n".join(_report(document)) + "\n",
    }
    paths = []
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
        paths.append(folder / name)
    for number, question in enumerate(document.questions, start=1):
        for kind, picture in (
            ("roc", roc_plot(question)),
            ("calibration", calibration_plot(question)),
        ):
            if picture is not None:
                path = folder / f"{kind}-{number}.png"
                Image.fromarray(picture).save(path)
                paths.append(path)
    return paths


def in_figures(figure: Measured, decimals: int = 3) -> str:
    """Return a figure with its interval: "0.912 (0.874 to 0.941)"."""
    if figure.value is None:
        return HAS_NONE
    value = f"{figure.value:.{decimals}f}"
    if figure.interval is None:
        return value
    low, high = (f"{end:.{decimals}f}" for end in figure.interval)
    return f"{value} ({low} to {high})"


def in_percent(figure: Measured) -> str:
    """Return a share with its interval, in percent: "91.2 % (87.4 to 94.1)"."""
    if figure.value is None:
        return HAS_NONE
    value = f"{share_in_figures(figure.value)} %"
    if figure.interval is None:
        return value
    low, high = map(share_in_figures, figure.interval)
    return f"{value} ({low} to {high})"


def summary(document: EvaluationDocument) -> Iterator[str]:
    """Yield the lines that the command prints."""
    given = document.given
    yield f"{_counted(given.images)} images, {given.exams} exams, {given.patients} patients."
    if given.trained_on:
        yield (
            f"The package has learnt from {given.trained_on} of the images: all of "
            f"{given.patients_left_out} patients are left out."
        )
    for question in document.questions:
        for about, figures in question.about.items():
            counts = figures.counts
            unassessed = counts.positives_not_assessed + counts.negatives_not_assessed
            yield (
                f"{question.name}, {about}: AUC {in_figures(figures.auc)}; "
                f"{counts.positives} positive, {counts.negatives} negative, "
                f"{unassessed} not assessed"
            )
            for at in figures.thresholds:
                _, _, found, _, spared, _ = _threshold_row(str(about), at)
                yield (
                    f"{question.name}, {about}, {at.name}: "
                    f"sensitivity {found}; specificity {spared}"
                )
    for name, of_each in document.grades.items():
        for of_what, grades in of_each.items():
            yield f"{name}, {of_what}: kappa {in_figures(grades.kappa)}"
    if document.triage is not None:
        urgent = document.triage.levels["urgent"]
        yield f"urgent: {in_percent(urgent.share)} of exams"
    yield from document.notes


def _counted(number: int) -> str:
    return f"{number:,}"


def _report(document: EvaluationDocument) -> Iterator[str]:
    model, given = document.model, document.given
    yield f"# {model.title} {model.version} on {given.labels}"
    yield ""
    yield "Not verified for the care of patients." if model.is_research else "As the node runs it."
    yield ""
    yield f"- package {model.name}, weights {model.weights_sha256[:12]}..., node {document.node}"
    yield (
        f"- {given.images:,} images, {given.exams:,} exams, {given.patients:,} patients; "
        f"table {given.labels_sha256[:12]}..."
    )
    if given.trained_on is not None:
        yield f"- {_trained_on(given.trained_on, given.patients_left_out)}"
    yield "- in brackets: 95 % intervals, by drawing patients"
    yield "- a breast and an exam have the highest label of their images"
    for note in document.notes:
        yield f"- {note}"
    if document.triage is not None:
        yield from _triage(document.triage)
    for number, question in enumerate(document.questions, start=1):
        yield from _question(number, question)
    for name, of_each in document.grades.items():
        for about, grades in of_each.items():
            yield from _grades(f"{name}: most probable class, {about}", grades)


def _trained_on(images: int, patients: int) -> str:
    if images == 0:
        return "the package has learnt from none of the images"
    return (
        f"the package has learnt from {images} of the images; all of {patients} patients with such "
        "an image are left out of every figure"
    )


def _question(number: int, question: QuestionFigures) -> Iterator[str]:
    yield from ("", f"## {question.name}", "", f"Positive is: {question.positive}.", "")
    of_each = question.about
    rows = [
        [str(about), *_counted_row(one.counts), in_figures(one.auc)]
        for about, one in of_each.items()
    ]
    yield from _table(["", *_COUNTED, "AUC"], rows)
    yield from _reasons({str(about): one.counts for about, one in of_each.items()})
    if any(one.roc for one in of_each.values()):
        yield from ("", f"![ROC curves](roc-{number}.png)")
    yield from _thresholds(of_each)
    if calibrated := {k: one.calibration for k, one in of_each.items() if one.calibration}:
        yield from ("", f"![Calibration](calibration-{number}.png)")
        yield from _calibration({str(about): one for about, one in calibrated.items()})
    for column in dict.fromkeys(name for one in of_each.values() for name in one.by):
        yield from _by(column, of_each)


_COUNTED = ("cases", "patients", "positive", "negative", "not assessed", "of them positive")


def _counted_row(counts: CaseCounts) -> list[str]:
    unassessed = counts.positives_not_assessed + counts.negatives_not_assessed
    numbers = (counts.cases, counts.patients, counts.positives, counts.negatives, unassessed)
    return [*(f"{n:,}" for n in numbers), f"{counts.positives_not_assessed:,}"]


def _reasons(counts: Mapping[str, CaseCounts]) -> Iterator[str]:
    rows = [
        [about, reason, f"{number:,}"]
        for about, one in counts.items()
        for reason, number in sorted(one.why_not_assessed.items(), key=lambda item: -item[1])
    ]
    rows += [
        [k, "left aside, as the manifest says", f"{c.left_aside:,}"]
        for k, c in counts.items()
        if c.left_aside
    ]
    if rows:
        yield ""
        yield from _table(["", "why not assessed", "cases"], rows)


def _thresholds(of_each: Mapping[CaseAbout, FiguresAbout]) -> Iterator[str]:
    rows = [_threshold_row(str(k), at) for k, one in of_each.items() for at in one.thresholds]
    if rows:
        columns = ["", "threshold", "sensitivity", "not assessed counted as missed", "specificity"]
        yield ""
        yield from _table([*columns, "as the package states it"], rows)
    for one in of_each.values():
        for at in one.thresholds:
            if at.per_thousand is not None:
                yield from ("", _per_thousand(f"called positive, {at.name}", at.per_thousand))


def _threshold_row(about: str, at: AtThreshold) -> list[str]:
    positives = at.true_positives + at.false_negatives
    negatives = at.true_negatives + at.false_positives
    stated = HAS_NONE
    if at.stated is not None:
        of_each = (at.stated.sensitivity, at.stated.specificity)
        stated = " and ".join(map(share_in_percent, of_each))
    return [
        about,
        at.name,
        f"{in_percent(at.sensitivity)}, {at.true_positives} of {positives}",
        in_percent(at.sensitivity_of_all),
        f"{in_percent(at.specificity)}, {at.true_negatives} of {negatives}",
        stated,
    ]


def _per_thousand(what: str, numbers: PerThousand) -> str:
    return (
        f"Of 1,000 exams at a prevalence of {100 * numbers.prevalence:g} %, "
        f"{_many(numbers.called, 0)} are {what}, {_many(numbers.found)} of them with the disease; "
        f"{_many(numbers.missed)} with it are not."
    )


def _many(number: Measured, decimals: int = 1) -> str:
    """Return how many with the interval, which is said to be unknown of too few."""
    written = in_figures(number, decimals)
    return written if number.interval else f"{written} (too few for an interval)"


def _calibration(of_each: Mapping[str, CalibrationFigures]) -> Iterator[str]:
    def number(value: float | None) -> str:
        return HAS_NONE if value is None else f"{value:.2f}"

    rows = [
        [k, in_figures(c.brier), in_figures(c.expected_error), number(c.slope), number(c.intercept)]
        for k, c in of_each.items()
    ]
    yield ""
    yield from _table(["", "Brier score", "expected calibration error", "slope", "intercept"], rows)
    rows = [
        [
            k,
            f"{b.low:g} to {b.high:g}",
            f"{b.cases:,}",
            f"{b.mean:.3f}",
            f"{b.positives / b.cases:.3f}",
        ]
        for k, c in of_each.items()
        for b in c.bins
    ]
    yield ""
    yield from _table(
        ["", "said", "cases", "mean of what was said", "share that is positive"], rows
    )


def _by(column: str, of_each: Mapping[CaseAbout, FiguresAbout]) -> Iterator[str]:
    rows = []
    for about, one in of_each.items():
        for value, group in one.by.get(column, {}).items():
            at = "; ".join(
                f"{t.name}: {in_percent(t.sensitivity)}, {in_percent(t.specificity)}"
                for t in group.thresholds
            )
            row = [str(about), value, *_counted_row(group.counts), in_figures(group.auc)]
            rows.append([*row, at or HAS_NONE])
    yield from ("", f"### By {column}", "")
    yield from _table(["", column, *_COUNTED, "AUC", "sensitivity, specificity"], rows)


def _grades(title: str, grades: GradeFigures) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield (
        f"Accuracy {in_percent(grades.accuracy)}, kappa with quadratic weights "
        f"{in_figures(grades.kappa)}; {grades.not_assessed} not assessed."
    )
    yield ""
    rows = [[name, *map(str, row)] for name, row in zip(grades.classes, grades.counts, strict=True)]
    yield from _table(["label", *(f"said {name}" for name in grades.classes)], rows)


def _triage(triage: TriageFigures) -> Iterator[str]:
    yield from ("", "## Triage", "")
    rows = [
        [name, str(one.positives), str(one.negatives)]
        + [in_percent(f) for f in (one.share, one.share_of_positives, one.share_of_negatives)]
        for name, one in triage.levels.items()
    ]
    columns = ["", "positive", "negative", "of all", "of positives", "of negatives"]
    yield from _table(columns, rows)
    if triage.per_thousand is not None:
        yield from ("", _per_thousand("urgent", triage.per_thousand))
    if triage.routine_per_thousand is not None:
        yield f"{_many(triage.routine_per_thousand)} with the disease are routine."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in (list(header), ["---"] * len(header), *rows):
        yield f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in line)} |"
