"""Cases -> figures, as they are written: by question, what it is about, and group of a column.

A question is one that a number answers with more or less: a score, or the probability of a class.
Everything here is plain data; docs/evaluate.md says what each field means.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from node.evaluation import measures
from node.evaluation.cases import NO_LEVEL, SEVERAL, CaseAbout, LabelledCase
from node.evaluation.measures import Array, Flags, Measured, WeightedMeasure
from node.evaluation.truth import Truth, class_names
from node.manifest import ClassesOutput, MaskOutput, Output, ScoreOutput
from node.result import OperatingPoint, Priority

MOST_POINTS = 200
"""Of a ROC curve, as it is written."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is called positive: as much of what results say, 0..1, or more."""

    name: str
    share: float
    about: CaseAbout | None = None
    """Where it is applied; None: everywhere."""
    stated: OperatingPoint | None = None
    """What the package says was measured at it."""


@dataclass(frozen=True, slots=True)
class LabelQuestion:
    """What a number is compared with."""

    name: str
    output: str
    positive: str
    """What a positive case is, in words."""
    value: Callable[[Sequence[float]], float]
    is_true: Callable[[Sequence[str]], bool]
    is_share: bool
    """Whether the number is 0 to 100 %, hence may be calibrated."""
    thresholds: tuple[Threshold, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """How many there are; those that the model leaves aside are in none but `left_aside`."""

    cases: int
    patients: int
    positives: int
    negatives: int
    positives_not_assessed: int
    negatives_not_assessed: int
    left_aside: int
    why_not_assessed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PerThousand:
    """Of 1,000 exams at a prevalence that is not that of the collection."""

    prevalence: float
    called: Measured
    """How many are called positive, or urgent: from both ends of both shares it is made of."""
    found: Measured
    """How many of those have the disease."""
    missed: Measured
    """How many have it and are not called so, those among them that are not assessed."""


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What is found at a threshold."""

    name: str
    threshold: float
    """0..1."""
    true_positives: int
    false_negatives: int
    true_negatives: int
    false_positives: int
    sensitivity: Measured
    """Of the positives that were assessed."""
    sensitivity_of_all: Measured
    """Of all positives: who is not assessed is missed."""
    specificity: Measured
    """Of the negatives that were assessed."""
    per_thousand: PerThousand | None
    stated: OperatingPoint | None
    """What the package says was measured there, on other images; None if it says nothing."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Cases whose number lies between two ends, the upper one only in the last."""

    low: float
    high: float
    cases: int
    mean: float
    positives: int


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """How far probabilities are shares: 0..1."""

    brier: Measured
    expected_error: Measured
    slope: float | None
    intercept: float | None
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class FiguresAbout:
    """Of all images, breasts or exams, or of a group of them."""

    counts: CaseCounts
    auc: Measured
    thresholds: tuple[AtThreshold, ...]
    calibration: CalibrationFigures | None
    roc: tuple[tuple[float, float, float], ...] = ()
    """Threshold, share of negatives and of positives that are at least as high."""
    by: Mapping[str, Mapping[str, FiguresAbout]] = field(default_factory=dict)
    """By column, then by its value."""


@dataclass(frozen=True, slots=True)
class QuestionFigures:
    """What came of a question."""

    name: str
    positive: str
    about: Mapping[CaseAbout, FiguresAbout]


@dataclass(frozen=True, slots=True)
class GradeFigures:
    """How the most probable classes agree with the labels."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Rows: what is true; columns: what was said."""
    accuracy: Measured
    kappa: Measured
    """Cohen's, with quadratic weights, the classes being in the order of the manifest."""
    not_assessed: int


@dataclass(frozen=True, slots=True)
class LevelOfTriage:
    """Who got a level."""

    positives: int
    negatives: int
    share: Measured
    share_of_positives: Measured
    share_of_negatives: Measured


@dataclass(frozen=True, slots=True)
class TriageFigures:
    """What the ward's list would have shown."""

    levels: Mapping[str, LevelOfTriage]
    per_thousand: PerThousand | None
    """Of urgent ones."""
    routine_per_thousand: Measured | None
    """How many of 1,000 have the disease and are routine."""


def questions(
    outputs: Mapping[str, Output], truth: Truth, shares: Sequence[float]
) -> list[LabelQuestion]:
    """Return what the labels can tell of each output, at its operating points and these shares."""
    asked = []
    given = tuple(Threshold(f"at least {share:g}", share) for share in shares)
    for name, output in outputs.items():
        if isinstance(output, ClassesOutput):
            asked += _of_classes(name, output, truth, given)
        elif truth.positive:
            asked.append(
                LabelQuestion(
                    name=name,
                    output=name,
                    positive=_labels_in_words(truth),
                    value=lambda numbers: numbers[0],
                    is_true=truth.is_positive,
                    is_share=isinstance(output, ScoreOutput),
                    thresholds=_thresholds_of(output, given),
                )
            )
    return asked


def _labels_in_words(truth: Truth) -> str:
    return f"label {' or '.join(sorted(truth.positive))}"


def _thresholds_of(output: Output, given: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
    """Return the operating points of a score, and what else was asked for; areas have none."""
    if isinstance(output, MaskOutput):
        return ()
    if not isinstance(output, ScoreOutput):
        return given
    points = (
        Threshold(
            f"{point.name} ({point.threshold:g})",
            point.threshold,
            CaseAbout(point.about),
            point.as_point(),
        )
        for point in output.operating_points
    )
    return (*points, *given)


def _of_classes(
    name: str, output: ClassesOutput, truth: Truth, thresholds: tuple[Threshold, ...]
) -> list[LabelQuestion]:
    names = class_names(output)
    chosen = truth.positive_classes.get(name, frozenset())
    asked = []
    if chosen and truth.positive:
        asked.append(
            LabelQuestion(
                name=f"{name}: {' or '.join(names[place] for place in sorted(chosen))}",
                output=name,
                positive=_labels_in_words(truth),
                value=lambda numbers: sum(numbers[place] for place in sorted(chosen)),
                is_true=truth.is_positive,
                is_share=True,
                thresholds=thresholds,
            )
        )
    for place, one in enumerate(names if name in truth.grades else ()):
        if chosen != {place}:
            asked.append(_one_against_the_rest(name, one, place, truth))
    return asked


def _one_against_the_rest(output: str, name: str, place: int, truth: Truth) -> LabelQuestion:
    return LabelQuestion(
        name=f"{output}: {name}",
        output=output,
        positive=f"label {name}",
        value=lambda numbers: numbers[place],
        is_true=lambda labels: truth.grade(output, labels) == place,
        is_share=True,
    )


def answer_question(
    question: LabelQuestion,
    cases: Sequence[LabelledCase],
    by: Sequence[str],
    prevalence: float | None,
) -> QuestionFigures:
    """Return the figures of a question, of images, breasts and exams."""
    figures = {}
    for about in CaseAbout:
        of_these = [case for case in cases if case.about == about]
        if not of_these:
            continue
        whole = _figures(question, of_these, prevalence)
        groups = {
            column: {
                value: _figures(question, group, None, with_roc=False)
                for value, group in _groups(of_these, column).items()
            }
            for column in by
        }
        figures[about] = FiguresAbout(
            whole.counts, whole.auc, whole.thresholds, whole.calibration, whole.roc, groups
        )
    return QuestionFigures(question.name, question.positive, figures)


def _groups(cases: Sequence[LabelledCase], column: str) -> dict[str, list[LabelledCase]]:
    groups = defaultdict[str, list[LabelledCase]](list)
    for case in cases:
        groups[case.columns[column]].append(case)
    return dict(sorted(groups.items())) if groups.keys() != {SEVERAL} else {}


@dataclass(frozen=True, slots=True)
class _Sample:
    """Cases as arrays; numbers of those that were not assessed are not looked at."""

    about: CaseAbout
    values: Array
    is_positive: Flags
    is_assessed: Flags
    patients: np.ndarray[tuple[int], np.dtype[np.int64]]


def _sample(question: LabelQuestion, cases: Sequence[LabelledCase]) -> _Sample:
    said = [case.said.get(question.output, ()) for case in cases]
    numbers = {patient: n for n, patient in enumerate(dict.fromkeys(c.patient for c in cases))}
    return _Sample(
        about=cases[0].about,
        values=np.array([question.value(one) if one else np.nan for one in said], np.float64),
        is_positive=np.array([question.is_true(case.labels) for case in cases], np.bool_),
        is_assessed=np.array([bool(one) for one in said], np.bool_),
        patients=np.array([numbers[case.patient] for case in cases], np.int64),
    )


def _figures(
    question: LabelQuestion,
    cases: Sequence[LabelledCase],
    prevalence: float | None,
    *,
    with_roc: bool = True,
) -> FiguresAbout:
    wanted = [case for case in cases if not case.is_left_aside]
    counts = _counts(question, cases)
    if not wanted:
        return FiguresAbout(counts, Measured(None, None), (), None)
    sample = _sample(question, wanted)
    assessed = sample.is_assessed
    values, is_positive = sample.values[assessed], sample.is_positive[assessed]
    auc = measures.with_intervals(
        {"auc": measures.auc_of(values, is_positive)}, sample.patients[assessed]
    )["auc"]
    curve = measures.roc(values, is_positive) if with_roc else None
    return FiguresAbout(
        counts=counts,
        auc=auc,
        thresholds=tuple(
            _at(one, sample, prevalence)
            for one in question.thresholds
            if one.about in (None, sample.about)
        ),
        calibration=_calibration(values, is_positive, sample.patients[assessed])
        if question.is_share and len(values)
        else None,
        roc=_thinned(curve) if curve is not None else (),
    )


def _counts(question: LabelQuestion, cases: Sequence[LabelledCase]) -> CaseCounts:
    wanted = [case for case in cases if not case.is_left_aside]
    positives = [question.is_true(case.labels) for case in wanted]
    unsaid = [not case.said.get(question.output) for case in wanted]
    return CaseCounts(
        cases=len(wanted),
        patients=len({case.patient for case in wanted}),
        positives=sum(positives),
        negatives=len(wanted) - sum(positives),
        positives_not_assessed=sum(a and b for a, b in zip(positives, unsaid, strict=True)),
        negatives_not_assessed=sum(b and not a for a, b in zip(positives, unsaid, strict=True)),
        left_aside=len(cases) - len(wanted),
        why_not_assessed=dict(
            Counter(
                case.why_not for case, is_unsaid in zip(wanted, unsaid, strict=True) if is_unsaid
            )
        ),
    )


def _at(one: Threshold, sample: _Sample, prevalence: float | None) -> AtThreshold:
    positive, assessed = sample.is_positive, sample.is_assessed
    called = assessed & (np.nan_to_num(sample.values) / 100 >= one.share)
    shares = _shares(
        {
            "sensitivity": (called, positive & assessed),
            "of all": (called, positive),
            "specificity": (assessed & ~called, assessed & ~positive),
            "false": (called, ~positive),
        },
        sample.patients,
    )
    per_thousand = None
    if sample.about == CaseAbout.EXAM and prevalence is not None:
        per_thousand = _per_thousand(prevalence, shares["of all"], shares["false"])
    return AtThreshold(
        name=one.name,
        threshold=one.share,
        true_positives=int((called & positive).sum()),
        false_negatives=int((assessed & ~called & positive).sum()),
        true_negatives=int((assessed & ~called & ~positive).sum()),
        false_positives=int((called & ~positive).sum()),
        sensitivity=shares["sensitivity"],
        sensitivity_of_all=shares["of all"],
        specificity=shares["specificity"],
        per_thousand=per_thousand,
        stated=one.stated,
    )


def _shares(
    asked: Mapping[str, tuple[Flags, Flags]], patients: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> dict[str, Measured]:
    """Return how many of some are those, with intervals."""
    found = measures.with_intervals(
        {name: measures.share_of(*those) for name, those in asked.items()}, patients
    )
    return {
        name: measures.with_bound(figure, len(np.unique(patients[asked[name][1]])))
        for name, figure in found.items()
    }


def _per_thousand(
    prevalence: float, of_positives: Measured, of_negatives: Measured
) -> PerThousand | None:
    if of_positives.value is None or of_negatives.value is None:
        return None
    ill, well = 1000 * prevalence, 1000 * (1 - prevalence)
    found, wrong = _times(ill, of_positives), _times(well, of_negatives)
    assert found.value is not None and wrong.value is not None, "both shares are known"
    called = missed = None
    if found.interval and wrong.interval:
        called = (found.interval[0] + wrong.interval[0], found.interval[1] + wrong.interval[1])
    if found.interval:
        missed = (ill - found.interval[1], ill - found.interval[0])
    return PerThousand(
        prevalence=prevalence,
        called=Measured(found.value + wrong.value, called),
        found=found,
        missed=Measured(ill - found.value, missed),
    )


def _times(number: float, share: Measured) -> Measured:
    """Return how many a share of so many is."""
    if share.value is None:
        return share
    low_high = share.interval
    return Measured(number * share.value, low_high and (number * low_high[0], number * low_high[1]))


def _calibration(
    percent: Array, is_positive: Flags, patients: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> CalibrationFigures:
    shares = np.clip(percent / 100, 0, 1)
    asked: dict[str, WeightedMeasure] = {
        "brier": measures.mean_of((shares - is_positive) ** 2),
        "expected error": measures.calibration_error_of(shares, is_positive),
    }
    found = measures.with_intervals(asked, patients)
    line = measures.recalibration(shares, is_positive)
    places = measures.bin_of(shares)
    return CalibrationFigures(
        brier=found["brier"],
        expected_error=found["expected error"],
        slope=line.slope if line else None,
        intercept=line.intercept if line else None,
        bins=tuple(
            Bin(
                low=place / measures.BINS,
                high=(place + 1) / measures.BINS,
                cases=int(inside.sum()),
                mean=float(shares[inside].mean()),
                positives=int(is_positive[inside].sum()),
            )
            for place in range(measures.BINS)
            if (inside := places == place).any()
        ),
    )


def _thinned(curve: measures.Curve) -> tuple[tuple[float, float, float], ...]:
    count = len(curve.thresholds)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
    rows = (curve.thresholds, curve.false_positives, curve.true_positives)
    return tuple(
        (float(a), float(b), float(c)) for a, b, c in zip(*(r[chosen] for r in rows), strict=True)
    )


def grade_figures(
    output: str, classes: Sequence[str], truth: Truth, cases: Sequence[LabelledCase]
) -> GradeFigures | None:
    """Return how the most probable classes agree with the labels; None where nothing was said."""
    said = [case for case in cases if case.said.get(output)]
    if not said:
        return None
    found = np.array([int(np.argmax(case.said[output])) for case in said], np.int64)
    true = np.array([truth.grade(output, case.labels) for case in said], np.int64)
    patients = np.unique([case.patient for case in said], return_inverse=True)[1].astype(np.int64)
    asked: dict[str, WeightedMeasure] = {
        "accuracy": measures.share_of(found == true, np.ones(len(said), np.bool_)),
        "kappa": measures.kappa_of(true, found, len(classes)),
    }
    figures = measures.with_intervals(asked, patients)
    table = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(table, (true, found), 1)
    wanted = sum(not case.is_left_aside for case in cases)
    return GradeFigures(
        classes=tuple(classes),
        counts=tuple(tuple(int(n) for n in row) for row in table),
        accuracy=figures["accuracy"],
        kappa=figures["kappa"],
        not_assessed=wanted - len(said),
    )


def triage_figures(
    truth: Truth, cases: Sequence[LabelledCase], prevalence: float | None
) -> TriageFigures | None:
    """Return who got which level; None if the model does not triage."""
    exams = [case for case in cases if case.level]
    if not exams or not truth.positive:
        return None
    positive = np.array([truth.is_positive(case.labels) for case in exams], np.bool_)
    patients = np.unique([case.patient for case in exams], return_inverse=True)[1].astype(np.int64)
    levels = {}
    named = [*map(str, sorted(Priority, reverse=True)), NO_LEVEL]
    if not any(case.level == NO_LEVEL for case in exams):
        named.remove(NO_LEVEL)
    for level in named:
        has_it = np.array([case.level == level for case in exams], np.bool_)
        asked = {
            "all": (has_it, np.ones(len(exams), np.bool_)),
            "positives": (has_it, positive),
            "negatives": (has_it, ~positive),
        }
        shares = _shares(asked, patients)
        levels[level] = LevelOfTriage(
            positives=int((has_it & positive).sum()),
            negatives=int((has_it & ~positive).sum()),
            share=shares["all"],
            share_of_positives=shares["positives"],
            share_of_negatives=shares["negatives"],
        )
    urgent, routine = levels[str(Priority.URGENT)], levels[str(Priority.ROUTINE)]
    return TriageFigures(
        levels=levels,
        per_thousand=_per_thousand(prevalence, urgent.share_of_positives, urgent.share_of_negatives)
        if prevalence is not None
        else None,
        routine_per_thousand=_times(1000 * prevalence, routine.share_of_positives)
        if prevalence is not None and routine.share_of_positives.value is not None
        else None,
    )
