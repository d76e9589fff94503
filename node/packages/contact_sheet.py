"""Volumes as a contact sheet: slices of each phase in rows, with what lies at their edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import VolumeGeometry
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw

from node.inference.session import Tensor
from node.packages.exams import PreparedPhase, PreparedUnit

MOST_SLICES = 40
"""Of one phase; of more every second one is shown, third, ..."""
_ACROSS = 8
_WIDEST_PX = 240
_SMALLEST_PX = 144
_GAP_PX, _LETTER_PX, _TITLE_PX = 6, 12, 14

_TOWARDS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of x, y and z in LPS, along and against."""
_WORDS = {
    "L": "the left",
    "R": "the right",
    "P": "the back",
    "A": "the front",
    "H": "the head",
    "F": "the feet",
}
_PLANES = ("sagittal", "coronal", "axial")
"""By the axis of the patient that is nearest to their normal."""
_ORDINALS = {1: "", 2: "second ", 3: "third "}
_STRAIGHT_DEGREES = 1.0


def lying_of(grid: VolumeGeometry, *, with_slices: bool = True) -> str:
    """Return how slices lie: "axial, slices to the head, rows to the back, columns to the left"."""
    counted = zip(("slices", "rows", "columns"), letters_of(grid), strict=True)
    towards = [f"{what} to {_WORDS[letter]}" for what, letter in counted]
    if not with_slices:
        del towards[0]
    normal = np.abs(grid.direction[:, 0])
    turned = math.degrees(math.acos(min(1.0, float(normal.max()))))
    oblique = f" turned by {turned:.0f} degrees" if turned > _STRAIGHT_DEGREES else ""
    return f"{_PLANES[int(np.argmax(normal))]}{oblique}, {', '.join(towards)}"


def letters_of(grid: VolumeGeometry) -> tuple[str, ...]:
    """Return where slices, rows and columns are counted to, the nearest of L, R, P, A, H and F."""
    axes = grid.direction.T
    nearest = [int(np.argmax(np.abs(axis))) for axis in axes]
    return tuple(_TOWARDS[of][int(axis[of] < 0)] for axis, of in zip(axes, nearest, strict=True))


def contact_sheet(units: Sequence[PreparedUnit]) -> tuple[Pictures.Image, str]:
    """Return a picture of the volumes of units, one below the other, and what is to be said."""
    blocks = list[Pictures.Image]()
    steps = set[int]()
    for unit in units:
        tensors = [phase.volume.tensor for phase in unit.phases]
        lowest = min(float(tensor.min()) for tensor in tensors)
        highest = max(float(tensor.max()) for tensor in tensors)
        for phase in unit.phases:
            title = phase.role if len(units) == 1 else f"{unit.name}: {phase.role}"
            step = math.ceil(len(_planes(phase)) / MOST_SLICES)
            steps.add(step)
            blocks.append(_Block(phase, title, step, lowest, highest).drawn())
    width = max(block.width for block in blocks)
    sheet = Pictures.new("L", (width, sum(block.height for block in blocks)), 48)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    shown = " or ".join(f"every {_ORDINALS.get(n, f'{n}th ')}slice" for n in sorted(steps))
    return sheet, f"{shown}; black is the lowest number of all phases of an exam, white the highest"


@dataclass(frozen=True, slots=True)
class _Block:
    """The slices of a phase."""

    phase: PreparedPhase
    title: str
    step: int
    lowest: float
    highest: float

    def drawn(self) -> Pictures.Image:
        tensor, grid = _planes(self.phase), self.phase.volume.grid
        is_volume = tensor.shape == tuple(grid.shape)
        width, height = _thumb(grid) if is_volume else _size(tensor.shape[1:])
        shown = range(0, len(tensor), self.step)
        cell = width + _GAP_PX + 2 * _LETTER_PX, height + _GAP_PX + 2 * _LETTER_PX + _TITLE_PX
        rows = math.ceil(len(shown) / _ACROSS)
        sheet = Pictures.new("L", (min(_ACROSS, len(shown)) * cell[0], rows * cell[1]), 48)
        pen = ImageDraw.Draw(sheet)
        for number, index in enumerate(shown):
            left, top = number % _ACROSS * cell[0], number // _ACROSS * cell[1]
            place = _place(grid, index) if is_volume else f"image {index + 1}"
            pen.text((left + 2, top + 1), f"{self.title}  {place}", fill=255)
            one = Pictures.fromarray(self._grey(tensor[index]))
            one = one.resize((width, height), Pictures.Resampling.BILINEAR)
            at = left + _LETTER_PX, top + _TITLE_PX + _LETTER_PX
            sheet.paste(one, at)
            if is_volume:
                _letters(pen, grid, at, (width, height))
        return sheet

    def _grey(self, plane: Tensor) -> NDArray[np.uint8]:
        span = (self.highest - self.lowest) or 1.0
        grey: NDArray[np.uint8] = np.rint((plane - self.lowest) / span * 255).astype(np.uint8)
        return grey


def _planes(phase: PreparedPhase) -> Tensor:
    """Return the slices of a volume, or the images that are made of it, each in one channel."""
    tensor = phase.volume.tensor
    return tensor[0, 0] if tensor.ndim == 5 else tensor[:, 0]


def _size(plane: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of an image as it is shown."""
    height, width = plane
    scale = min(1.0, _WIDEST_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _thumb(grid: VolumeGeometry) -> tuple[int, int]:
    """Return width and height of a slice as it is shown, as long and wide as in the patient."""
    _, down, across = (count * mm for count, mm in zip(grid.shape, grid.spacing, strict=True))
    width = min(max(grid.shape[2], _SMALLEST_PX), _WIDEST_PX)
    height = max(1, round(width * down / across))
    if height > _WIDEST_PX:
        width, height = max(1, round(width * _WIDEST_PX / height)), _WIDEST_PX
    return width, height


def _place(grid: VolumeGeometry, index: int) -> str:
    """Return where the middle of a slice lies along the axis that is nearest to its normal."""
    middle = np.array([[index, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2]])
    axis = int(np.argmax(np.abs(grid.direction[:, 0])))
    return f"{'xyz'[axis]} {grid.map_indices_to_reference(middle)[0, axis] + 0.0:.1f} mm"


def _letters(
    pen: ImageDraw.ImageDraw, grid: VolumeGeometry, at: tuple[int, int], size: tuple[int, int]
) -> None:
    """Write what lies to the left and right, above and below."""
    _, down, across = letters_of(grid)
    opposite = {a: b for pair in _TOWARDS for a, b in (pair, pair[::-1])}
    (left, top), (width, height) = at, size
    middle_x, middle_y = left + width // 2 - 3, top + height // 2 - 5
    pen.text((left - _LETTER_PX + 3, middle_y), opposite[across], fill=255)
    pen.text((left + width + 3, middle_y), across, fill=255)
    pen.text((middle_x, top - _LETTER_PX), opposite[down], fill=255)
    pen.text((middle_x, top + height), down, fill=255)
