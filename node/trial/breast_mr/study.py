"""A whole breast MRI as it is sent: the dynamic series, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.trial.breast_mr import faults
from node.trial.breast_mr.beside import after, before
from node.trial.breast_mr.body import USUAL, Body
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.headers import (
    DYNAMIC_PULSE,
    PLAIN_DYNAMIC_PULSE,
    MrExam,
    Scan,
    Shot,
    TakenShot,
    header,
    slice_object,
)
from node.trial.breast_mr.multiframe import multiframe
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import MIDDLE_MM, Orientation, Raster, raster
from node.trial.breast_mr.signal import NOISE, Scanner, Weighting
from node.trial.breast_mr.styles import STANDARD, Arrangement, Family, Style, Vendor
from node.trial.breast_mr.truth import TrueEnhancement, true_enhancement
from node.trial.phantom import Patient

WOMAN = Patient("GENERATED-MR-1", "GENERATED^BREAST MRI")
_SCHEDULE = PhaseTimes()
_BRIGHTEST = 4000
"""Stored value of the brightest pixel, where a scanner scales each scan."""


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study is of, and how it is taken."""

    body: Body = USUAL
    style: Style = STANDARD
    orientation: Orientation = Orientation.AXIAL
    shape: tuple[int, int, int] = (64, 128, 128)
    """Slices, rows and columns of each phase."""
    backwards: bool = False
    """Slices are numbered against their normal."""
    turned: bool = False
    """The first pixel is in the opposite corner."""
    schedule: PhaseTimes = _SCHEDULE
    fat_suppressed: bool = True
    noise: float = NOISE
    """Standard deviation in the dynamic series, where gland before contrast is 200 or more."""
    beside: bool = True
    """Localiser, T2, diffusion, ADC, subtraction and projections are there, too."""
    fault: Fault | None = None
    patient: Patient = WOMAN
    begun_at: datetime | None = None
    """Today, by default: a node does not analyse old studies by itself."""

    def raster(self) -> Raster:
        """Return where the slices of the dynamic series lie.

        Nobody lies quite in the middle: a body that is shifted is followed by three quarters.
        """
        x, y, z = (at + 0.75 * by for at, by in zip(MIDDLE_MM, self.body.shift_mm, strict=True))
        return raster(
            self.orientation,
            self.shape,
            backwards=self.backwards,
            turned=self.turned,
            middle_mm=(x, y, z),
        )

    def weighting(self) -> Weighting:
        """Return what the dynamic series shows."""
        return Weighting.T1_FAT_SUPPRESSED if self.fat_suppressed else Weighting.T1

    def truth(self, phase: int, threshold: float) -> TrueEnhancement:
        """Return what of the lesions exceeds a threshold (0.5: 50 %) in the middle of a phase."""
        seconds = self.schedule.middle_s(phase)
        return true_enhancement(self.body, self.raster(), seconds, threshold)

    def exam(self, study: str) -> MrExam:
        """Return what all objects of the study have in common."""
        begun_at = self.begun_at or datetime.combine(date.today(), time(10, 15))
        return MrExam(study, self.style, self.patient, begun_at)


def breast_mr(study: str, plan: StudyPlan = StudyPlan()) -> list[Dataset]:
    """Return all objects of a study in the order they were made; all UIDs follow from `study`."""
    exam = plan.exam(study)
    scanner = Scanner(plan.body, plan.raster(), study, plan.noise)
    shots = list(_shots(plan, scanner))
    made: list[Dataset] = []
    if plan.beside:
        made += before(exam, plan.body, plan.raster())
    scans = list(_scans(plan, shots))
    for scan, taken in faults.spoil_shots(plan.fault, scans, partial(_retake, plan, study)):
        images = faults.spoil_images(plan.fault, _images(exam, scan, taken))
        if plan.style.family is Family.CLASSIC:
            made += [image for _, image in images]
        else:
            made.append(multiframe(exam, scan, images))
    if plan.beside and plan.schedule.posts:
        made += after(exam, shots, plan.schedule)
    return made


def _retake(plan: StudyPlan, study: str, shot: Shot, other: Raster) -> Shot:
    """Take a phase again on another raster."""
    image = Scanner(plan.body, other, study, plan.noise).image(
        plan.weighting(), phase=shot.phase, seconds=plan.schedule.middle_s(shot.phase)
    )
    return replace(shot, raster=other, values=image)


def _shots(plan: StudyPlan, scanner: Scanner) -> Iterator[Shot]:
    """Yield the volume of each phase."""
    schedule = plan.schedule
    for phase in range(schedule.phases):
        yield Shot(
            scanner.image(plan.weighting(), phase=phase, seconds=schedule.middle_s(phase)),
            plan.raster(),
            schedule.begin_s(phase),
            schedule.phase_s,
            phase=phase,
            injected_s=schedule.injected_s if phase else None,
        )


def _scans(plan: StudyPlan, shots: list[Shot]) -> Iterator[tuple[Scan, list[Shot]]]:
    """Yield the dynamic series, each with its phases and one scale for all of them."""
    style = plan.style
    pulse = DYNAMIC_PULSE if plan.fat_suppressed else PLAIN_DYNAMIC_PULSE
    for number, group in enumerate(_groups(shots, style.arrangement)):
        if style.vendor is Vendor.STANDARD:
            group = [replace(shot, position=shot.phase + 1) for shot in group]
        else:
            group = [replace(shot, position=n) for n, shot in enumerate(group, start=1)]
        scan = Scan(
            f"dynamic {number}",
            (4 + number) * style.series_step + (1 if style.series_step > 1 else 0),
            _description(style, number),
            style.dynamic_type,
            pulse,
            phases=len(shots) if style.vendor is Vendor.STANDARD else len(group),
            begun_s=group[0].begun_s,
            images=group[0].raster.shape[0],
        )
        scale = _scale(style, [shot.values for shot in group])
        yield scan, [replace(shot, scale=scale) for shot in group]


def _groups(shots: list[Shot], arrangement: Arrangement) -> list[list[Shot]]:
    if arrangement is Arrangement.PER_PHASE:
        return [[shot] for shot in shots]
    if arrangement is Arrangement.PRE_AND_POSTS:
        return [group for group in (shots[:1], shots[1:]) if group]
    return [shots]


def _description(style: Style, number: int) -> str:
    """Return a Series Description; sources by the letters of styles.py."""
    if style.vendor is Vendor.SIEMENS:
        return "t1_fl3d_tra"  # A1: named by the pulse sequence; one for all phases
    if style.vendor is Vendor.PHILIPS:
        is_pre = style.arrangement is Arrangement.PRE_AND_POSTS and number == 0
        return "T1 FFE" if is_pre else "T1 FFE dyn"  # D1
    if style.vendor is Vendor.GE:
        if style.arrangement is not Arrangement.PER_PHASE:
            return "T1 multiPhase"  # D1
        return f"Ph{number}/T1 multiPhase" if number else "T1 multiPhase"  # D1
    return "T1 dynamic"


def _scale(style: Style, volumes: list[NDArray[np.float32]]) -> float:
    if style.vendor is not Vendor.PHILIPS:
        return 1.0
    return _BRIGHTEST / max(float(volume.max()) for volume in volumes)


def _images(exam: MrExam, scan: Scan, shots: list[Shot]) -> list[TakenShot]:
    """Return the objects of a series in the order of their Instance Numbers."""
    common = header(exam, scan)
    by_slice = exam.style.arrangement is Arrangement.BY_SLICE
    places = [(shot, index) for shot in shots for index in range(shot.raster.shape[0])]
    if by_slice:
        places.sort(key=lambda place: (place[1], place[0].phase))
    return [
        (shot, slice_object(exam, scan, common, shot, index, number))
        for number, (shot, index) in enumerate(places, start=1)
    ]
