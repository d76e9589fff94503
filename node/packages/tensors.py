"""What the network gets of images, as numbers to read and a picture to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from highdicom import VolumeGeometry
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw

from node.errors import ConfigError, NodeError
from node.imaging.grid import PlaneGrid
from node.imaging.motion import CAUTION_MM
from node.inference.session import Tensor
from node.manifest import Model
from node.packages.contact_sheet import contact_sheet, lying_of
from node.packages.exams import PreparedImage, PreparedPhase, PreparedUnit, prepared_units
from node.study import PRE_CONTRAST

_PERCENTILES = (1, 50, 99)
_GAP_PX, _TITLE_PX = 8, 16
_BAR_PX, _BARS_PX = 4, 200
"""Of a vector: how wide the bar of a number is, and how high the highest."""
_LARGEST_PX = 1600
"""Of one image; larger ones are shown smaller, every second pixel, third, ..."""


def show_tensors(model: Model, files: Sequence[Path], picture: Path | None) -> Iterator[str]:
    """Yield lines on what the network gets of files, and draw it."""
    units, refused = prepared_units(model, files)
    for unit in units:
        for one in unit.images:
            yield from _lines(unit, one)
        for phase in unit.phases:
            yield from _lines_of_phase(unit, phase)
    yield from (f"not given to the network: {line}" for line in refused)
    if not units:
        raise NodeError("the network gets none of these files")
    if picture is not None:
        yield from _draw(units, picture)


def _draw(units: Sequence[PreparedUnit], picture: Path) -> Iterator[str]:
    of_phases = [unit for unit in units if unit.phases]
    if of_phases:
        sheet, said = contact_sheet(of_phases)
        _save(sheet, picture)
        yield f"drawn in {picture}: {said}"
        return
    _save(_sheet([(_title(unit, one), one) for unit in units for one in unit.images]), picture)
    yield f"drawn in {picture}: black is the lowest number of each image, white its highest"


def _title(unit: PreparedUnit, one: PreparedImage) -> str:
    return unit.name if len(unit.images) == 1 else f"{unit.name}: {one.role}"


def _lines(unit: PreparedUnit, one: PreparedImage) -> Iterator[str]:
    tensor = one.prepared.tensor
    yield f"{_title(unit, one)}, {one.instance.path.name}"
    yield f"  tensor      {' x '.join(map(str, tensor.shape))} of float32"
    yield f"  numbers     {_numbers(tensor)}"
    rows, columns = one.image.shape
    spacing = one.image.spacing_mm
    spaced = f", {spacing[0]:.4g} x {spacing[1]:.4g} mm a pixel" if spacing else ", of no spacing"
    yield f"  image       {rows} x {columns} stored{spaced}"
    grid = one.prepared.grid
    yield from _place(grid, spacing) if grid else ["  place       none: it is a vector"]
    if one.prepared.is_against_laterality:
        yield "  side        its pixels lie mirrored against its laterality; no Patient Orientation"


def _lines_of_phase(unit: PreparedUnit, phase: PreparedPhase) -> Iterator[str]:
    tensor, stack = phase.volume.tensor, phase.stack
    yield f"{unit.name}: {phase.role}"
    yield f"  tensor      {' x '.join(map(str, tensor.shape))} of float32"
    yield f"  numbers     {_numbers(tensor)}"
    sizes = " x ".join(map(str, stack.shape))
    mm = " x ".join(f"{one:.4g}" for one in stack.geometry.spacing)
    yield f"  volume      {sizes} slices, rows and columns stored, {mm} mm a voxel"
    yield f"  stored      {lying_of(stack.geometry, with_slices=False)}; {phase.scale}"
    yield from (f"  doubt       {doubt}" for doubt in stack.doubts)
    yield from _place_in_patient(phase.volume.grid)
    for moved in phase.displaced:
        if moved is None:
            yield f"  moved       against {PRE_CONTRAST}: cannot be measured, too little is alike"
        else:
            caution = f" (more than {CAUTION_MM:g} mm)" if moved > CAUTION_MM else ""
            yield f"  moved       {moved:.1f} mm against {PRE_CONTRAST}{caution}"


def _place_in_patient(grid: VolumeGeometry) -> Iterator[str]:
    corners = grid.map_indices_to_reference(np.array([(0, 0, 0), np.subtract(grid.shape, 1)]))
    first, last = (", ".join(f"{mm + 0.0:.1f}" for mm in corner) for corner in corners)
    yield f"  place       its corners' voxels at ({first}) and ({last}) mm, x, y and z (LPS)"
    mm = " x ".join(f"{one:.4g}" for one in grid.spacing)
    yield f"  one voxel   {mm} mm, {lying_of(grid)}"


def _numbers(tensor: Tensor) -> str:
    values = tensor.astype(np.float64)
    marks = np.percentile(values, _PERCENTILES)
    shares = ", ".join(f"{mark} %: {v:.5g}" for mark, v in zip(_PERCENTILES, marks, strict=True))
    return (
        f"{values.min():.5g} to {values.max():.5g}, mean {values.mean():.5g}, "
        f"deviation {values.std():.5g}; {shares}"
    )


def _place(grid: PlaneGrid, spacing_mm: tuple[float, float] | None) -> Iterator[str]:
    filled, shown = grid.filled, grid.shown
    down, across = shown.height / filled.height, shown.width / filled.width
    yield (
        f"  place       columns {filled.left:.4g} to {filled.right:.4g}, rows {filled.top:.4g} to "
        f"{filled.bottom:.4g} of the tensor show stored columns {shown.left:.4g} to "
        f"{shown.right:.4g}, rows {shown.top:.4g} to {shown.bottom:.4g}"
    )
    scale = f"{down:.4g} x {across:.4g} stored pixels"
    if spacing_mm:
        scale += f", {spacing_mm[0] * down:.4g} x {spacing_mm[1] * across:.4g} mm"
    yield f"  one pixel   {scale}, {'mirrored' if grid.is_mirrored else 'not mirrored'}"


def _sheet(images: Sequence[tuple[str, PreparedImage]]) -> Pictures.Image:
    """Lay images side by side, as many across as down."""
    drawn = [(title, _drawn(one.prepared.tensor)) for title, one in images]
    across = math.ceil(math.sqrt(len(drawn)))
    width = max(max(grey.shape[1], 8 * len(title)) for title, grey in drawn) + _GAP_PX
    height = max(grey.shape[0] for _, grey in drawn) + _GAP_PX + _TITLE_PX
    sheet = Pictures.new("L", (across * width, math.ceil(len(drawn) / across) * height), 64)
    pen = ImageDraw.Draw(sheet)
    for number, (title, grey) in enumerate(drawn):
        left, top = number % across * width, number // across * height
        pen.text((left + 2, top + 2), title, fill=255)
        sheet.paste(Pictures.fromarray(grey), (left, top + _TITLE_PX))
    return sheet


def _drawn(tensor: Tensor) -> NDArray[np.uint8]:
    """Return a picture: of a vector bars, of several channels one beside the other."""
    if tensor.ndim == 2:
        return _bars(tensor[0])
    channels = tensor[0]
    is_repeated = all(np.array_equal(one, channels[0]) for one in channels)
    plane = channels[0] if is_repeated else np.concatenate(list(channels), axis=1)
    step = math.ceil(max(plane.shape) / _LARGEST_PX)
    return _grey(plane[::step, ::step])


def _grey(values: Tensor) -> NDArray[np.uint8]:
    span = float(np.ptp(values)) or 1.0
    grey: NDArray[np.uint8] = np.rint((values - values.min()) / span * 255).astype(np.uint8)
    return grey


def _bars(values: Tensor) -> NDArray[np.uint8]:
    heights = np.repeat(_grey(values).astype(int) * _BARS_PX // 255, _BAR_PX)
    bars = np.zeros((_BARS_PX, len(heights)), np.uint8)
    bars[np.arange(_BARS_PX)[::-1, np.newaxis] < heights] = 255
    return bars


def _save(sheet: Pictures.Image, path: Path) -> None:
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written ({error.strerror})") from error
