"""A generated MRI of a knee: what comes to a breast node by mistake, or is sent to it with all."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.trial.breast_mr.headers import (
    MrExam,
    PulseSequence,
    Scan,
    Shot,
    header,
    slice_object,
)
from node.trial.breast_mr.raster import Orientation, Raster, raster
from node.trial.breast_mr.styles import STANDARD, Style
from node.trial.phantom import Patient

MAN = Patient("GENERATED-MR-2", "GENERATED^KNEE MRI", "19780930")
_SERIES = (
    (
        "PD FS sagittal",
        Orientation.SAGITTAL,
        PulseSequence("", ("SE",), ("SK", "SP"), ("FS",), False, 3200, 38, 150, 7),
        (70, 60, 260, 110),
    ),
    (
        "T1 coronal",
        Orientation.CORONAL,
        PulseSequence("", ("SE",), ("SK", "SP"), (), False, 600, 11, 150, 3),
        (420, 480, 190, 60),
    ),
)
"""Words, orientation, sequence, and signal of fat, marrow, cartilage or fluid, and muscle."""


def knee_mr(
    study: str,
    style: Style = STANDARD,
    *,
    body_part: str | None = "KNEE",
    shape: tuple[int, int, int] = (20, 96, 96),
    begun_at: datetime | None = None,
) -> list[Dataset]:
    """Return a study of a left knee; all UIDs follow from `study`. Body Part may be wrong."""
    begun_at = begun_at or datetime.combine(date.today(), time(11, 40))
    coil = style.coil.replace("Breast", "Knee").replace("BREAST", "KNEE")
    style = replace(style, body_part=body_part, coil=coil)
    exam = MrExam(study, style, MAN, begun_at, "MRI knee", prone=False)
    made: list[Dataset] = []
    for number, (text, orientation, pulse, signals) in enumerate(_SERIES, start=1):
        stack = _stack(orientation, shape)
        scan = Scan(
            text,
            number,
            text,
            ("ORIGINAL", "PRIMARY", "OTHER"),
            pulse,
            begun_s=240.0 * number,
            images=shape[0],
        )
        shot = Shot(_image(stack, signals, number), stack, scan.begun_s, 180)
        common = header(exam, scan)
        made += [slice_object(exam, scan, common, shot, i, i + 1) for i in range(shape[0])]
    return made


def _stack(orientation: Orientation, shape: tuple[int, int, int]) -> Raster:
    """Return slices 4 mm apart with pixels of 170 mm divided by the columns."""
    full = raster(orientation, shape)
    pixel = 170 / shape[2]
    steps = np.array([4.0, pixel, pixel])
    axes = np.array([full.through, full.down, full.across]) * steps[:, np.newaxis]
    x, y, z = map(float, np.array([90.0, 0.0, 0.0]) - (np.array(shape) - 1) / 2 @ axes)
    return replace(full, first_mm=(x, y, z), spacing_mm=(4.0, pixel, pixel))


def _image(stack: Raster, signals: tuple[int, int, int, int], seed: int) -> NDArray[np.float32]:
    """Return thigh bone, shin bone, kneecap and what is around them, with noise."""
    index = np.stack(np.meshgrid(*map(np.arange, stack.shape), indexing="ij"), -1)
    points = stack.points(index.reshape(-1, 3).astype(float)).reshape(*stack.shape, 3)
    x, y, z = points[..., 0] - 90, points[..., 1], points[..., 2]
    fat, marrow, fluid, muscle = signals
    wide = 58 + 0.12 * z
    values = np.where(x**2 + y**2 < wide**2, fat, 0)
    values = np.where(x**2 + (y - 6) ** 2 < (wide - 12) ** 2, muscle, values)
    ends = 17 + 20 * np.exp(-(((np.abs(z) - 10) / 26) ** 2))
    bone = x**2 + (y - 2) ** 2 < ends**2
    values = np.where(bone, marrow, values)
    values = np.where(bone & (np.abs(z) < 5), fluid, values)
    cap = (x / 20) ** 2 + ((y + 42) / 10) ** 2 + ((z - 18) / 20) ** 2 < 1
    values = np.where(cap, marrow, values)
    noise = np.random.default_rng(seed).normal(0, 5, (2, *stack.shape))
    magnitude: NDArray[np.float32] = np.hypot(values + noise[0], noise[1]).astype(np.float32)
    return magnitude
