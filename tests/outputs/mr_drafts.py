"""Drafts of report sets about generated breast MRI: what a model would say of them, by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.config import InferenceSettings, bundled_models_dir
from node.dicom.header import read_header
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import MrPhase, read
from node.imaging.solid_bits import packed
from node.imaging.stack import stack_of
from node.imaging.volume import slices_of, volume_of
from node.imaging.volume_pictures import volume_picture
from node.inference import Inference
from node.manifest.package import load_model
from node.outputs.case import Draft
from node.outputs.volume_panels import decisive_places
from node.result import (
    Code,
    Measurement,
    Result,
    SliceStack,
    Solid,
    UptakeCurve,
)
from node.study import Instance, Laterality, PhaseRead, StudyVersion
from node.trial.breast_mr.body import Body
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.signal import enhancement
from node.trial.breast_mr.study import StudyPlan, breast_mr
from outputs.drafts import MODEL

ENHANCER = replace(
    MODEL,
    name="breast-mr-enhancement",
    title="Breast MR Enhancement",
    device_uid="2.25.328570164919053731",
)
ABOVE_THRESHOLD = Code("AIENHVOL", "99AINODE", "Enhancing volume above threshold")
SKIN = Code("AIENHSKIN", "99AINODE", "Enhancement at the chest wall")
CHEST_WALL = Code("78904004", "SCT", "Chest wall")
VOLUME = Code("118565006", "SCT", "Volume")
ML = Code("ml", "UCUM", "milliliter")
RATIO = Code("AISER", "99AINODE", "Signal enhancement ratio")
ONE = Code("1", "UCUM", "no units")
THRESHOLD = 0.5
STATEMENT = (
    "Enhancing volume above threshold is the volume in the breast whose signal rose by at least "
    "50 % in the early phase. Background enhancement counts. It is no measure of a tumour."
)
Grid = NDArray[np.bool_]


@dataclass(frozen=True)
class Exam:
    """A generated study as files of a folder, and its phases."""

    plan: StudyPlan
    objects: tuple[Dataset, ...]
    paths: Mapping[str, Path]
    """By SOP Instance UID."""
    phases: tuple[MrPhase, ...]


def small_plan(**changes: Any) -> StudyPlan:
    """Return a study of few slices and three phases, nothing beside it."""
    usual = {"shape": (24, 48, 64), "schedule": PhaseTimes(posts=2), "beside": False}
    return StudyPlan(**{**usual, **changes})


def exam(plan: StudyPlan | None = None) -> Exam:
    return _exam(plan or small_plan())


@cache
def _exam(plan: StudyPlan) -> Exam:
    folder = Path(tempfile.mkdtemp(prefix="mr-exam-"))
    objects = breast_mr("draft of breast MRI", plan)
    paths = {}
    for number, one in enumerate(objects):
        path = folder / f"{number:04}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths[str(one.SOPInstanceUID)] = path
    reading = read(fact for path in paths.values() for fact in facts_of(read_header(path)))
    assert reading.refusal == ""
    return Exam(plan, tuple(objects), paths, reading.phases)


def stack_in(exam: Exam, phase: MrPhase) -> SliceStack:
    first = exam.objects[0]
    return SliceStack(phase.images, int(first.Rows), int(first.Columns))


def mr_draft(plan: StudyPlan | None = None, *, has_left_out: bool = True) -> Draft:
    """Return a draft about a study, with the lesions of its truth as solids of each breast."""
    of = exam(plan)
    headers = {uid: read_header(path) for uid, path in of.paths.items()}
    instances = tuple(_instance(one, of.paths[str(one.SOPInstanceUID)]) for one in of.objects)
    return Draft(
        version=StudyVersion(
            study_uid=str(of.objects[0].StudyInstanceUID),
            number=1,
            reason=f"{len(of.phases)} phases",
            instances=instances,
            decided_at=datetime(2026, 3, 10, 9, 42, 7, tzinfo=UTC),
            installation="test-installation",
        ),
        results=(mr_result(of, has_left_out=has_left_out),),
        headers=headers,
        pictures={},
        local_zone=UTC,
        configuration_digest="0",
    )


def mr_result(of: Exam, *, has_left_out: bool = True) -> Result:
    pre, early, *_ = of.phases
    stack = stack_in(of, pre)
    solids, curves = list[Solid](), list[UptakeCurve]()
    for side in of.plan.body.sides:
        mask = lesions_of(of, side)
        ml = volume_ml(of, mask)
        extra = () if not mask.any() else (Measurement(RATIO, 1.12, ONE, 2),)
        solids.append(_solid(f"{side} breast enhancing volume", ABOVE_THRESHOLD, mask, ml, side))
        solids[-1] = replace(solids[-1], measurements=(*solids[-1].measurements, *extra))
        if mask.any():
            curves.append(_curve(of, side))
    if has_left_out:
        mask = behind(of)
        solids.append(_solid("Chest wall", SKIN, mask, volume_ml(of, mask), None, left_out=True))
    analysed = tuple(dict.fromkeys(uid for phase in (pre, early) for uid, _ in phase.images))
    return Result(
        model=ENHANCER,
        analysed=analysed,
        statements=(STATEMENT,),
        ran_on="CPU",
        stack=stack,
        contrasted=stack_in(of, early),
        solids=tuple(solids),
        phases=tuple(
            PhaseRead(role, phase.name, len(phase.images), phase.middle_s, "Contrast Start Time")
            for role, phase in zip(("pre", "early"), of.phases, strict=False)
        ),
        curves=tuple(curves),
    )


def lesions_of(of: Exam, side: Laterality) -> Grid:
    """Return the voxels of one side that lesions fill by half and more, in the order of space."""
    truth = of.plan.truth(1, THRESHOLD)
    counts = np.zeros(_shape(of), np.int32)
    to_index = np.linalg.inv(_affine(of))
    for lesion in truth.lesions:
        if lesion.side is side and len(lesion.points_mm):
            points = np.c_[lesion.points_mm, np.ones(len(lesion.points_mm))]
            at = np.rint((points @ to_index.T)[:, :3]).astype(int)
            inside = ((at >= 0) & (at < counts.shape)).all(axis=1)
            np.add.at(counts, tuple(at[inside].T), 1)
    return counts >= 32


def behind(of: Exam) -> Grid:
    """Return what enhances behind the breasts, as the heart does, of a part of the slices."""
    pre, post = (_volume(of, phase) for phase in of.phases[:2])
    enhanced = (post > 1.6 * pre) & (post > 0.3 * float(np.percentile(post, 99)))
    slices, rows, columns = np.indices(enhanced.shape)
    affine = _affine(of)
    y = affine[1, 0] * slices + affine[1, 1] * rows + affine[1, 2] * columns + affine[1, 3]
    found: Grid = enhanced & (y > 20 + of.plan.body.shift_mm[1]) & (y < 60)
    return found


def volume_ml(of: Exam, mask: Grid) -> float:
    return float(mask.sum()) * of.plan.raster().voxel_ml()


def _solid(
    label: str,
    kind: Code,
    mask: Grid,
    ml: float,
    side: Laterality | None,
    *,
    left_out: bool = False,
) -> Solid:
    per_slice = mask.sum(axis=(1, 2))
    decisive = [int(at) for at in np.argsort(-per_slice, kind="stable")[:3] if per_slice[at]]
    return Solid(
        label=label,
        kind=kind,
        laterality=side,
        measurements=(Measurement(VOLUME, ml, ML, 2),),
        bits=packed(mask),
        decisive=() if left_out else tuple(decisive),
        is_left_out=left_out,
        output="enhancement",
        site=CHEST_WALL if left_out else None,
    )


def _curve(of: Exam, side: Laterality) -> UptakeCurve:
    body: Body = of.plan.body
    first = next(n for n, lesion in enumerate(body.lesions) if body.side_of(lesion) is side)
    from node.trial.breast_mr.anatomy import rim_of

    schedule = of.plan.schedule
    seconds = [schedule.middle_s(phase) for phase in range(1, schedule.phases)]
    points = tuple((s, 100 * float(enhancement(body, s)[rim_of(first)])) for s in seconds)
    return UptakeCurve(f"{side} breast enhancing volume", side, points)


def _slices(of: Exam, phase: MrPhase) -> list[Any]:
    found = {}
    for uid in dict.fromkeys(uid for uid, _ in phase.images):
        for one in slices_of(of.paths[uid]):
            found[one.plane.sop_uid, one.plane.frame] = one
    return [found[image] for image in phase.images]


def _affine(of: Exam) -> NDArray[np.float64]:
    """Return the affine of the result's order, which need not be that of `stack_of`."""
    planes = [one.plane for one in _slices(of, of.phases[0])]
    first, last = (np.array(planes[at].position) for at in (0, -1))
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(planes) - 1)
    affine[:3, 1] = np.array(planes[0].down) * planes[0].spacing[0]
    affine[:3, 2] = np.array(planes[0].right) * planes[0].spacing[1]
    affine[:3, 3] = first
    return affine


def _volume(of: Exam, phase: MrPhase) -> NDArray[np.float32]:
    """Return the signal of a phase in the result's order."""
    slices = _slices(of, phase)
    at = {(p.sop_uid, p.frame): n for n, p in enumerate(stack_of([s.plane for s in slices]).planes)}
    array: NDArray[np.float32] = volume_of(slices).array[[at[image] for image in phase.images]]
    return array


def _shape(of: Exam) -> tuple[int, int, int]:
    stack = stack_in(of, of.phases[0])
    return len(stack.slices), stack.rows, stack.columns


def _instance(dataset: Dataset, path: Path) -> Instance:
    return Instance(
        study_uid=str(dataset.StudyInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        sop_uid=str(dataset.SOPInstanceUID),
        sop_class=str(dataset.SOPClassUID),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        modality="MR",
        path=path,
        digest="0",
        body_part="BREAST",
    )


def answered(plan: StudyPlan, kinds: Sequence[str]) -> tuple[Draft, list[Dataset]]:
    """Return what the package of the repository says of a study, as a draft, and what is built.

    All of it by the node's pipeline: nothing is by hand.
    """
    draft, name = mr_draft(plan), ENHANCER.name
    model = load_model(name, bundled_models_dir())
    with Inference(InferenceSettings(threads=1), (model,)) as inference:
        pipeline = Pipeline(inference, ScoresInMemory(), UTC, tuple(kinds))
        results, built = analyse(pipeline, Task(draft.version, (model,), frozenset({name})))
    return replace(draft, results=results), [one.dataset for one in built]


def with_volumes(draft: Draft, plan: StudyPlan | None = None) -> Draft:
    """Return the draft with the pictures that captures are drawn on, as a child draws them."""
    of, result = exam(plan), draft.results[0]
    before, after = (_slices(of, phase) for phase in of.phases[:2])
    volume = volume_picture(before, after, decisive_places(result))
    return replace(draft, volumes={result.model.name: volume})
