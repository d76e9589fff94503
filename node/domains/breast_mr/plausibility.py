"""What a network must not get of a breast MRI."""

from __future__ import annotations

import numpy as np

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.imaging.visibility import Hidden
from node.manifest import Manifest


def require_visible(_: Hidden) -> None:
    """Accept any window: it is of a display, and signal is read."""


def require_plausible(seen: Float32, _: Manifest) -> None:
    """Raise StudyError if a volume is of one tone, of which any answer would be made up."""
    if np.ptp(seen) == 0:
        raise StudyError("nothing to be seen in this volume: it is of one tone")


def require_plausible_outline(_: Points, __: PlaneGrid, ___: Manifest) -> None:
    """Accept any region: none is of a volume."""
