"""A bright disc, drawn into a mammogram: something to find where nothing may be called a lesion.

It is as even as no tissue is, lies at one depth from the chest wall on CC and on MLO, and the image
says that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.study import Laterality, View

DRAWN = "a bright disc was drawn into this image; it is no lesion"
"""What such an image says in Derivation Description (0008,2111)."""
_AT_RIGHT_EDGE = "P"
"""Patient Orientation of an image whose rows run towards the chest wall."""


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc in one breast."""

    side: Laterality
    depth_mm: float
    """Of its middle, from the chest wall's edge of the image."""
    below_mm: Mapping[str, float]
    """How far below the middle of the image it lies on each projection that shows it."""
    radius_mm: float
    contrast: float
    """By how much it is brighter than what it covers on the average: a share of white."""

    def is_on(self, view: View) -> bool:
        """Whether this view shows it."""
        return view.laterality is self.side and view.projection in self.below_mm


def draw_disc(dataset: Dataset, view: View, disc: Disc) -> None:
    """Draw a disc into a mammogram whose view shows it; the image then says so."""
    if not disc.is_on(view):
        return
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        dataset.decompress(generate_instance_uid=False)
    stored = dataset.pixel_array.astype(np.float64)
    white = 2.0**dataset.BitsStored - 1
    is_inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    values = white - stored if is_inverse else stored
    share = _covered(dataset, view, disc)
    assert share.any(), "a disc lies on its image"
    tone = min(white, values[share > 0].mean() + disc.contrast * white)
    drawn = np.round(values * (1 - share) + tone * share)
    pixels = white - drawn if is_inverse else drawn
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = np.ascontiguousarray(pixels.astype("<u2")).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.ImageType = ["DERIVED", *dataset.ImageType[1:]]
    dataset.DerivationDescription = DRAWN
    dataset.ImageComments = "; ".join(filter(None, [dataset.get("ImageComments"), DRAWN]))


def _covered(dataset: Dataset, view: View, disc: Disc) -> NDArray[np.float64]:
    """Return how much of each pixel the disc covers: its edge is one pixel soft."""
    rows, columns = dataset.Rows, dataset.Columns
    magnification = float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1)
    per_mm = magnification / float(dataset.ImagerPixelSpacing[0])
    depth = disc.depth_mm * per_mm
    column = columns - depth if dataset.PatientOrientation[0] == _AT_RIGHT_EDGE else depth
    row = rows / 2 + disc.below_mm[view.projection] * per_mm
    y, x = np.ogrid[0:rows, 0:columns]
    inside = disc.radius_mm * per_mm - np.hypot(x + 0.5 - column, y + 0.5 - row) + 0.5
    return np.asarray(np.clip(inside, 0, 1), dtype=np.float64)
