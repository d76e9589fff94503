"""What nodes are sent of breast MRI: a study of each style of headers, and what enhances in it."""

from __future__ import annotations

from typing import Any

from node.trial.breast_mr.body import Body, Lesion, Uptake
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES

PHASES = 6
BIG, SMALL = (13.0, 12.0, 12.0), (7.0, 6.5, 6.5)
LEFT = Body(
    lesions=(
        Lesion((72.0, -42.0, 8.0), BIG, lobes=0.05),
        Lesion((-72.0, -40.0, -10.0), SMALL, Uptake.PLATEAU),
    )
)
RIGHT = Body(
    lesions=(
        Lesion((-72.0, -42.0, 8.0), BIG, lobes=0.05),
        Lesion((72.0, -40.0, -10.0), SMALL, Uptake.PLATEAU),
    )
)
"""8 ml in one breast, 1.2 in the other."""

SHAPES = {
    Orientation.AXIAL: (57, 112, 152),
    Orientation.OBLIQUE: (57, 112, 152),
    Orientation.SAGITTAL: (96, 76, 112),
    Orientation.CORONAL: (72, 76, 152),
}
"""Voxels of 3 to 3.5 x 2.2 x 2.2 mm."""
LARGER = {
    Orientation.AXIAL: (85, 125, 170),
    Orientation.OBLIQUE: (85, 125, 170),
    Orientation.SAGITTAL: (170, 85, 125),
    Orientation.CORONAL: (125, 85, 170),
}
"""Voxels of 2 mm."""
SENT: dict[str, dict[str, Any]] = {
    "standard": {},
    "Siemens": {"orientation": Orientation.OBLIQUE},
    "Siemens, one series": {"backwards": True, "body": RIGHT},
    "GE": {"turned": True},
    "GE by trigger time": {"body": RIGHT},
    "GE, a series per phase": {"backwards": True, "turned": True},
    "Philips": {"body": RIGHT},
    "Philips, slice by slice": {},
    "Philips, pre and posts": {"backwards": True},
    "enhanced": {"body": RIGHT},
    "enhanced, a series per phase": {"orientation": Orientation.SAGITTAL},
    "Philips enhanced": {"backwards": True, "turned": True, "body": RIGHT},
    "legacy converted": {"orientation": Orientation.CORONAL},
    "legacy converted of GE": {"orientation": Orientation.OBLIQUE, "body": RIGHT},
}
"""What each style is sent of."""


def plans(orientation: Orientation | None) -> dict[str, StudyPlan]:
    """Return a study of each style: as SENT says, or all in one orientation, with small voxels."""
    made = {}
    for style in STYLES:
        wanted = {"body": LEFT, **SENT[style]}
        lies = orientation or wanted.pop("orientation", Orientation.AXIAL)
        wanted |= {"orientation": lies, "shape": (LARGER if orientation else SHAPES)[lies]}
        schedule = PhaseTimes(posts=PHASES - 1)
        made[style] = StudyPlan(style=STYLES[style], schedule=schedule, **wanted)
    return made
