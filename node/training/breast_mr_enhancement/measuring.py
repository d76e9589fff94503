"""How near the package comes to the truth: generated studies, through files and the node itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.analysis.pipeline import MODEL_FAILED
from node.config import InferenceSettings
from node.errors import NodeError
from node.manifest import Model
from node.offline import StudyOutcome, analyse_folder
from node.result import Result
from node.study import Laterality
from node.training.breast_mr_enhancement.graph import PERCENT_ENHANCED
from node.training.breast_mr_enhancement.measured_bodies import (
    MeasuredBody,
    measured_bodies,
    true_volumes,
)
from node.trial.breast_mr.study import breast_mr

_AT_ONCE = 4
"""Studies that lie on the disk at a time."""
_KINDS = ("measurement-report",)
_PATIENT = InferenceSettings(deadline_s=1800)
"""What is measured does not depend on how fast the machine is."""
LARGE_ML, LARGE_ERROR = 2.0, 0.03
SMALL_ML, SMALL_ERROR = 0.5, 0.10
"""From so many ml on, what is found may differ from the truth by so much of it."""


@dataclass(frozen=True, slots=True)
class MeasuredBreast:
    """One breast of a study: the truth, and what the node says."""

    of: MeasuredBody
    side: Laterality
    true_ml: float
    found_ml: float | None
    """None if the exam was not analysed."""
    thin_ml: float = 0.0
    """What was left out as thinner than 3 mm."""
    ratio: float | None = None
    """SER; None where there is none."""
    why_not: str = ""

    @property
    def error(self) -> float | None:
        """By which part of the truth what was found is too large."""
        if self.found_ml is None or not self.true_ml:
            return None
        return self.found_ml / self.true_ml - 1

    @property
    def limit(self) -> float | None:
        """What the error may be; None below SMALL_ML."""
        if self.true_ml >= LARGE_ML:
            return LARGE_ERROR
        return SMALL_ERROR if self.true_ml >= SMALL_ML else None

    @property
    def holds(self) -> bool | None:
        """Whether the error is within its limit; None if there is no error, or no limit."""
        if self.error is None or self.limit is None:
            return None
        return abs(self.error) <= self.limit


def measure_enhancement(
    folder: Path, bodies: Sequence[MeasuredBody] | None = None
) -> Iterator[MeasuredBreast]:
    """Yield what the package in a folder says of each breast, in the order of the bodies."""
    every = list(measured_bodies()) if bodies is None else list(bodies)
    chunks = [every[at : at + _AT_ONCE] for at in range(0, len(every), _AT_ONCE)]
    for chunk in chunks:
        yield from _measured(folder, chunk)


def _measured(folder: Path, bodies: Sequence[MeasuredBody]) -> list[MeasuredBreast]:
    """Write some studies, analyse them as `ai-node analyse` does, and compare."""
    with tempfile.TemporaryDirectory() as kept:
        paths, of_study = list[Path](), dict[str, MeasuredBody]()
        for number, body in enumerate(bodies):
            for at, one in enumerate(breast_mr(f"measured {number} {body.what}", body.plan)):
                paths.append(Path(kept) / f"{number}-{at:04}.dcm")
                one.save_as(paths[-1], enforce_file_format=True)
                of_study[str(one.StudyInstanceUID)] = body
        out = Path(kept) / "results"
        studies = analyse_folder(
            paths, out, Model(folder), lambda: None, _KINDS, settings=_PATIENT
        ).studies
        by_uid = {study.study_uid: study for study in studies}
        return [
            row for uid, body in of_study.items() for row in breasts_compared(body, by_uid[uid])
        ]


def breasts_compared(body: MeasuredBody, outcome: StudyOutcome) -> Iterable[MeasuredBreast]:
    """Yield each breast of a study as it is and as the node says it is."""
    result = outcome.result
    if result is not None and result.reason.startswith(MODEL_FAILED):
        raise NodeError(f"{body.varied}, {body.what}: {result.reason}")
    for side, true_ml in true_volumes(body.plan, PERCENT_ENHANCED / 100).items():
        if result is None or not result.solids:
            why = result.reason if result is not None else outcome.words
            yield MeasuredBreast(body, side, true_ml, None, why_not=why)
            continue
        found = _volume(result, f"{side} breast enhancing volume above threshold")
        thin = _volume(result, f"{side} breast enhancing, thinner than 3 mm")
        yield MeasuredBreast(body, side, true_ml, found, thin, _ratio(result, side))


def _volume(result: Result, label: str) -> float:
    (solid,) = (one for one in result.solids if one.label == label)
    return solid.measurements[0].value


def _ratio(result: Result, side: Laterality) -> float | None:
    label = f"{side} breast signal enhancement ratio"
    said = (one for one in result.evaluations if one.label == label)
    return next((one.measurements[0].value for one in said), None)
