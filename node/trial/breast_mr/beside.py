"""What lies beside the dynamic series: localiser, T2, diffusion, ADC, subtraction, projections.

Sources by the letters of styles.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.trial.breast_mr.body import Body
from node.trial.breast_mr.headers import (
    DIFFUSION_PULSE,
    DYNAMIC_PULSE,
    LOCALISER_PULSE,
    T2_PULSE,
    MrExam,
    PulseSequence,
    Scan,
    Shot,
    header,
    slice_object,
)
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation, Raster, raster
from node.trial.breast_mr.signal import Scanner, Weighting
from node.trial.breast_mr.styles import Style, Vendor

_B = 800


def before(exam: MrExam, body: Body, dynamic: Raster) -> list[Dataset]:
    """Return what is acquired before the dynamic series."""
    x, y, z = map(float, dynamic.points((np.array([dynamic.shape]) - 1.0) / 2)[0])
    middle = (x, y, z)
    scouts = [
        raster(orientation, (3, 64, 64), middle_mm=middle)
        for orientation in (Orientation.AXIAL, Orientation.SAGITTAL, Orientation.CORONAL)
    ]
    shots = [
        Shot(
            Scanner(body, scout, exam.study).image(Weighting.T1),
            scout,
            30,
            12,
            phase=number,
            thickness_mm=8,
        )
        for number, scout in enumerate(scouts)
    ]
    slices, rows, columns = dynamic.shape
    coarse = raster(
        Orientation.AXIAL,
        (max(slices // 2, 2), max(rows // 2, 2), max(columns // 2, 2)),
        middle_mm=middle,
    )
    scanner = Scanner(body, coarse, exam.study)
    made = _series(exam, "localiser", 1, "localizer", LOCALISER_PULSE, shots)
    t2 = Shot(scanner.image(Weighting.T2), coarse, 90, 180)
    made += _series(exam, "T2", 2, "T2 TSE FS", T2_PULSE, [t2])
    return made + _diffusion(exam, scanner, coarse)


def after(exam: MrExam, shots: list[Shot], schedule: PhaseTimes) -> list[Dataset]:
    """Return what the scanner derives: the first phase after the injection minus that before it."""
    pre, post = shots[0], shots[1]
    style = exam.style
    scale = 4000 / max(float(post.values.max()), 1.0) if style.vendor is Vendor.PHILIPS else 1.0
    moment = schedule.begin_s(schedule.phases)
    difference = np.maximum(post.values - pre.values, 0)
    shot = replace(post, values=difference, begun_s=moment, scale=scale)
    words = {
        Vendor.SIEMENS: "t1_fl3d_tra_SUB",  # D1
        Vendor.GE: "SUB (401/2/1)-(401/1/1)",  # D1: "(#/#/#)-(#/#/#)"
    }
    text = words.get(style.vendor, "T1 dynamic SUB")
    made = _series(exam, "subtraction", 20, text, DYNAMIC_PULSE, [shot], style.subtraction_type)
    flat = [_through_slices(shot), _down_rows(shot)]
    text = text.partition(" (")[0] + " MIP"
    return made + _series(exam, "MIP", 21, text, DYNAMIC_PULSE, flat, style.mip_type)


def _diffusion(exam: MrExam, scanner: Scanner, coarse: Raster) -> list[Dataset]:
    is_siemens = exam.style.vendor is Vendor.SIEMENS
    weighted: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "OTHER")
    mapped: tuple[str, ...] = ("DERIVED", "SECONDARY", "DIFFUSION MAP")
    if is_siemens:
        weighted = ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "NORM", "DIS2D")  # A5
        mapped = ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "NORM", "DIS2D")  # A6
    taken = [
        Shot(scanner.image(weighting), coarse, 300, 200, phase=number, b_value=b)
        for number, (weighting, b) in enumerate(
            ((Weighting.DIFFUSION_B0, 0), (Weighting.DIFFUSION_B800, _B))
        )
    ]
    adc = Shot(scanner.image(Weighting.ADC), coarse, 500, 1, b_value=_B if is_siemens else None)
    made = _series(exam, "diffusion", 3, "DWI", DIFFUSION_PULSE, taken, weighted)
    step = 3 if exam.style.series_step > 1 else 19
    return made + _series(exam, "ADC", step, "DWI ADC", DIFFUSION_PULSE, [adc], mapped)


def _series(  # noqa: PLR0913 - what one series is made of
    exam: MrExam,
    key: str,
    number: int,
    text: str,
    pulse: PulseSequence,
    shots: list[Shot],
    image_type: tuple[str, ...] | None = None,
) -> list[Dataset]:
    step = exam.style.series_step
    derived = image_type is not None and image_type[0] == "DERIVED"
    scan = Scan(
        key,
        number * step + (2 if derived else 1) * (step > 1),  # D1: what is original ends in 01
        text,
        image_type or _original(exam.style),
        pulse,
        begun_s=shots[0].begun_s,
        images=shots[0].raster.shape[0],
    )
    common = header(exam, scan)
    made: list[Dataset] = []
    for shot in shots:
        for index in range(shot.raster.shape[0]):
            made.append(slice_object(exam, scan, common, shot, index, len(made) + 1))
    return made


def _original(style: Style) -> tuple[str, ...]:
    """Return the Image Type of what is acquired and is not dynamic."""
    # B1 is of a gradient echo: what Philips writes of others has no source.
    return (
        ("ORIGINAL", "PRIMARY", "OTHER") if style.vendor is Vendor.PHILIPS else style.dynamic_type
    )


def _through_slices(shot: Shot) -> Shot:
    """Return the projection along the normal, in the middle of the stack."""
    slices, rows, columns = shot.raster.shape
    x, y, z = map(float, shot.raster.points(np.array([[(slices - 1) / 2, 0.0, 0.0]]))[0])
    between, row, column = shot.raster.spacing_mm
    flat = replace(
        shot.raster,
        first_mm=(x, y, z),
        shape=(1, rows, columns),
        spacing_mm=(between * slices, row, column),
    )
    return _projected(shot, flat, shot.values.max(0), 0)


def _down_rows(shot: Shot) -> Shot:
    """Return the projection down the columns of each slice: from above, of axial slices."""
    slices, rows, columns = shot.raster.shape
    x, y, z = map(float, shot.raster.points(np.array([[0.0, (rows - 1) / 2, 0.0]]))[0])
    between, row, column = shot.raster.spacing_mm
    flat = Raster(
        (x, y, z),
        shot.raster.across,
        shot.raster.through,
        shot.raster.down,
        (row * rows, between, column),
        (1, slices, columns),
    )
    return _projected(shot, flat, shot.values.max(1), 1)


def _projected(shot: Shot, flat: Raster, values: NDArray[np.float32], number: int) -> Shot:
    return replace(shot, raster=flat, values=values[np.newaxis], phase=number)
