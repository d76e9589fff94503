"""The breast MRI of the demonstration, and what is known of it: generated, so that its truth is.

Three lesions: one in the left breast that washes out, one in the right that stays, and another in
the right whose signal rises so slowly that early it stays below the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage

from node.result import Result
from node.study import Laterality
from node.trial import phantom
from node.trial.breast_mr.body import USUAL, Lesion, Uptake
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STYLES
from node.trial.exams import Exam, Plan
from node.trial.phantom import Patient

MRI_PATIENT = Patient("DEMO-0006", "DEMO^BREAST MRI", "19660306")

MRI_STUDY = StudyPlan(
    body=replace(
        USUAL,
        lesions=(
            Lesion((74.0, -45.0, 10.0), (9.0, 8.0, 8.0), lobes=0.15, core=0.5),
            Lesion((-80.0, -30.0, 18.0), (8.5, 8.0, 7.5), Uptake.PLATEAU, 1.3),
            Lesion((-62.0, -38.0, -14.0), (6.0, 5.0, 5.5), Uptake.PERSISTENT, 0.9),
        ),
    ),
    # An object per phase instead of one per slice: a spectator does not wait for hundreds of them.
    style=STYLES["enhanced, a series per phase"],
    shape=(64, 128, 160),
    patient=MRI_PATIENT,
)

MRI = Plan(
    letter="F",
    label="breast MRI",
    title="A breast MRI: six phases, one after the other, with localiser and T2 beside them",
    patient=MRI_PATIENT,
    modality="MR",
)

BESIDE = (1, 2, 21)
"""Series Numbers of what is sent of all that lies beside the phases: localiser, T2, projections."""
EVERY_S = 0.5
"""From one phase to the next, as from a scanner that sends them as they are made."""

ENHANCES_FROM = 0.7
"""What `breast-mr-enhancement` calls enhancing: 70 % above the signal before contrast."""
EARLY = "early"
"""The role of the phase in which it measures that."""
AGREES_WITHIN = 0.15
"""How far a volume may be from the truth, as a part of it: half of the voxels of 2 ml at this
resolution lie at its surface."""

PAGES = (
    "summary page",
    "projection with marks",
    "decisive slices with outlines",
    "enhancement over time",
)
"""What captures there are of it, as they say themselves in Derivation Description."""


@dataclass(frozen=True, slots=True)
class ComparedVolume:
    """What enhances in one breast: in truth, and as a model says."""

    side: Laterality
    true_ml: float
    """Of the lesions, in the middle of the phase that the model took for the early one."""
    said_ml: float | None
    """None if the model says nothing of this breast."""
    below: int
    """How many lesions of this breast stay below the threshold at that moment."""

    @property
    def agrees(self) -> bool:
        """Whether the model is as near to the truth as it must be."""
        # Half of the last digit that is printed, besides.
        room = AGREES_WITHIN * self.true_ml + 0.05
        return self.said_ml is not None and abs(self.said_ml - self.true_ml) <= room


def write_mri(folder: Path, run: str) -> Exam:
    """Write the exam as Part 10 files, in a folder of its own; `run` is as of `write_exams`."""
    made = breast_mr(f"{run} {MRI.letter}", MRI_STUDY)
    datasets = [d for d in made if _is_phase(d) or d.SeriesNumber in BESIDE]
    for dataset in datasets:
        dataset.StudyDescription = "DEMO breast MRI, generated"
        dataset.ImageComments = "DEMO: generated; shows nobody"
    paths = phantom.save(datasets, folder / MRI.letter)
    names = {str(d.SOPInstanceUID): f"{d.SeriesDescription} {d.InstanceNumber}" for d in datasets}
    bursts = _bursts(zip(datasets, paths, strict=True))
    return Exam(MRI, str(datasets[0].StudyInstanceUID), bursts, names)


def _is_phase(dataset: Dataset) -> bool:
    return bool(dataset.SOPClassUID == EnhancedMRImageStorage)


def _bursts(objects: Iterable[tuple[Dataset, Path]]) -> tuple[tuple[float, tuple[Path, ...]], ...]:
    """Return associations: each phase after contrast begins one, and waits before it."""
    bursts: list[list[Path]] = [[]]
    phases = 0
    for dataset, path in objects:
        phases += _is_phase(dataset)
        if _is_phase(dataset) and phases > 1:
            bursts.append([])
        bursts[-1].append(path)
    return tuple((EVERY_S if number else 0.0, tuple(burst)) for number, burst in enumerate(bursts))


def compared(result: Result) -> Sequence[ComparedVolume]:
    """Return what the truth is of each breast, beside what a model says; nothing of other models.

    The truth asks the body alone, and no image: `node.trial.breast_mr.truth`.
    """
    early = next((one.name for one in result.phases if one.role == EARLY), "")
    if not early.startswith("post "):
        return ()
    truth = MRI_STUDY.truth(int(early.removeprefix("post ")), ENHANCES_FROM)
    return [
        ComparedVolume(
            side,
            truth.volume_ml(side),
            _said_ml(result, side),
            sum(one.side is side and not one.volume_ml for one in truth.lesions),
        )
        for side in MRI_STUDY.body.sides
    ]


def _said_ml(result: Result, side: Laterality) -> float | None:
    said = [
        next((m.value for m in solid.measurements if m.unit.value == "ml"), 0.0)
        for solid in result.solids
        if solid.laterality is side and not solid.is_left_out
    ]
    return sum(said) if said else None
