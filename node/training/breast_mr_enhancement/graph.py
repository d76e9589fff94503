"""The graph: percent enhancement, thresholds, and what rules take away; written, not trained.

Voxels are of 1 mm, so that what is said in voxels is in millimetres. S0 is the signal before
contrast, S1 early, S2 late.

- Percent enhancement (PE) early and the signal enhancement ratio (SER) are those of Hylton et al.,
  Radiology 2012;263(3):663-672 (ACRIN 6657, I-SPY): PE = (S1 - S0) / S0, SER = (S1 - S0) /
  (S2 - S0). That paper's functional tumour volume is taken inside a region that a reader drew; here
  nobody has drawn one. The SER of a breast is that of the mean signals of what is kept of it, the
  mean of S1 - S0 over the mean of S2 - S0: a mean of the voxels' own ratios would be ruled by those
  where S2 - S0 is next to nothing.
- Washout, plateau and persistent are the delayed phases of BI-RADS (ACR BI-RADS Atlas, 5th edition,
  2013, MRI): S2 below, within and above 10 % of S1. They are no classes of SER.
"""

from __future__ import annotations

import onnx

SIZE = (208, 208, 384)
"""Slices, rows and columns, of 1 mm each."""
PERCENT_ENHANCED = 70
"""PE from which on a voxel counts: that of Hylton et al. 2012."""
LEAST = 0.3
"""Of the mean signal of the breasts before contrast: what is divided by is at least this, so that
noise in what is dark is no enhancement."""
NEAR_MM = 3
HALF_WAY = 0.49
"""An edge lies where enhancement is so far, about half, of the way from the least to the most
within NEAR_MM, of means of 3 mm, which noise changes little: PE alone would not do, as a voxel that
is half lesion and half dark fat exceeds the threshold easily, and one that is half bright fat does
not at all."""
SHARPENED = 0.25
"""Of the Laplacian of S1 - S0 (per square mm), which is taken off before its edges are looked for:
voxels of 1 to 2 mm, brought to 1 mm, are blurred as by a variance of up to 1 square mm, by which
what is half way at a small ball lies inside it."""
STEEP = 0.25
"""A voxel below the threshold counts as the edge of what is above it if within NEAR_MM enhancement
falls below this share of the most: what enhances evenly, and less, is none."""
THIN_MM = 3
"""What is thinner is taken for a vessel."""
FEWEST = 5
"""Of middles of such cubes, within 2 mm of one: where fewer fit, a vessel is blurred, or turns."""
CHANGE = 0.1
"""Signal that rises late by more than this share of the early is persistent, that falls by more
washes out; between is a plateau."""
SMOOTH_MM = 3
"""In skin and chest wall the mean of a cube of this edge must exceed PERCENT_ENHANCED, too. Lungs,
and the liver far from the coil, are so dark that noise alone lifts single voxels above it."""
PARTS = ("enhancing", "washout", "plateau", "persistent", "thin", "skin", "chest wall")
"""The channels of the network's answer."""


def build_enhancement(size: tuple[int, int, int] = SIZE) -> onnx.ModelProto:
    """Build the graph: of the phases and where the breasts are, a mask for each of PARTS.

    And of the right and of the left breast the SER, NaN where there is none, and how many ml are
    above the threshold by themselves, whatever the rules make of them.
    """
    shape = ",".join(map(str, (1, 1, *size)))
    parts = ",".join(map(str, (1, len(PARTS), *size)))
    network = onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 21], producer_name: "node.training">
        breast_mr_enhancement (float[{shape}] pre, float[{shape}] early, float[{shape}] late,
                               float[{shape}] region) => (float[{parts}] masks, float[1, 2] ratios,
                               float[1, 2] every)
        <float one = {{1}}, float before_breasts = {{0.5}}, float behind_breasts = {{2.5}},
         float behind_skin = {{3.5}}, float right_alone = {{1.5}},
         float least = {{{LEAST}}}, float share = {{{PERCENT_ENHANCED / 100}}},
         float half = {{{HALF_WAY}}}, float steep = {{{STEEP}}},
         float enough = {{{(FEWEST - 0.5) / 5**3}}},
         float of_centre = {{{1 + 9 * SHARPENED}}}, float of_around = {{{3 * SHARPENED}}},
         float voxel_ml = {{0.001}}, float tiny = {{1e-6}}, float zero = {{0}},
         float risen = {{{1 + CHANGE}}}, float fallen = {{{1 - CHANGE}}}>
        {{
          {_REGIONS}
          {_ABOVE}
          {_sharpened()}
          {_found()}
          {_thick()}
          {_edges()}
          {_EVERY}
          {_beside("skin")}
          {_beside("wall")}
          {_CURVES}
          {_RATIOS}
          masks = Concat<axis = 1>(kept, washout, plateau, persistent, thin, of_skin, of_wall)
        }}
        """
    )
    onnx.checker.check_model(network, full_check=True)
    return network


def _highest(target: str, source: str, size: int) -> str:
    """Return what takes the highest of a cube of so many voxels."""
    return _along_axes(target, source, size, "MaxPool")


def _mean(target: str, source: str, size: int) -> str:
    """Return what takes the mean of a cube of so many voxels."""
    return _along_axes(target, source, size, "AveragePool")


def _along_axes(target: str, source: str, size: int, pool: str) -> str:
    """Return what pools a cube axis by axis, which is much faster than at once."""
    lines, given = list[str](), source
    for axis in range(3):
        made = target if axis == 2 else f"{target}_along{axis}"
        lines.append(f"{made} = {_pool_along(axis, size, pool)}({given})")
        given = made
    return "\n".join(lines)


def _pool_along(axis: int, size: int, pool: str) -> str:
    cube = [size if at == axis else 1 for at in range(3)]
    pads = [size // 2 if at == axis else 0 for at in range(3)] * 2
    return f"{pool}<kernel_shape = {cube}, pads = {pads}>"


_REGIONS = """
  is_not_outside = Greater(region, before_breasts)
  is_before_skin = Less(region, behind_breasts)
  is_breast = And(is_not_outside, is_before_skin)
  breast = Cast<to = 1>(is_breast)
  is_after_breast = Greater(region, behind_breasts)
  is_before_wall = Less(region, behind_skin)
  is_skin = And(is_after_breast, is_before_wall)
  skin = Cast<to = 1>(is_skin)
  is_wall = Greater(region, behind_skin)
  wall = Cast<to = 1>(is_wall)
  is_right_or_outside = Less(region, right_alone)
  right_or_outside = Cast<to = 1>(is_right_or_outside)
  right = Mul(breast, right_or_outside)
  left = Sub(breast, right)
"""
_ABOVE = """
  count = ReduceSum<keepdims = 1>(breast)
  some = Max(count, one)
  signal_of_breast = Mul(pre, breast)
  sum = ReduceSum<keepdims = 1>(signal_of_breast)
  mean = Div(sum, some)
  lowest_of_all = Mul(mean, least)
  lowest = Max(lowest_of_all, tiny)
  divisor = Max(pre, lowest)
  more = Sub(early, pre)
  enhancement = Div(more, divisor)
  is_above = GreaterOrEqual(enhancement, share)
  above = Cast<to = 1>(is_above)
  of_breast = Mul(above, breast)
"""
_CURVES = """
  still = Mul(early, risen)
  is_persistent = Greater(late, still)
  persistent_there = Cast<to = 1>(is_persistent)
  persistent = Mul(kept, persistent_there)
  not_less = Mul(early, fallen)
  is_washout = Less(late, not_less)
  washout_there = Cast<to = 1>(is_washout)
  washout = Mul(kept, washout_there)
  changing = Add(persistent, washout)
  plateau = Sub(kept, changing)
"""
_EVERY = """
  sides = Concat<axis = 1>(right, left)
  over_voxels = Constant<value_ints = [2, 3, 4]>()
  above_of_sides = Mul(of_breast, sides)
  voxels_of_sides = ReduceSum<keepdims = 0>(above_of_sides, over_voxels)
  every = Mul(voxels_of_sides, voxel_ml)
"""
# Of nothing, and of what has lost all of its contrast agent by the late phase, there is no ratio.
_RATIOS = """
  no_number = Div(zero, zero)
  more_late = Sub(late, pre)
  kept_of_sides = Mul(kept, sides)
  early_there = Mul(more, kept_of_sides)
  early_of_sides = ReduceSum<keepdims = 0>(early_there, over_voxels)
  late_there = Mul(more_late, kept_of_sides)
  late_of_sides = ReduceSum<keepdims = 0>(late_there, over_voxels)
  is_enhanced_late = Greater(late_of_sides, tiny)
  ratios_of_sides = Div(early_of_sides, late_of_sides)
  ratios = Where(is_enhanced_late, ratios_of_sides, no_number)
"""


def _beside(tissue: str) -> str:
    """Return what enhances beside the breasts' tissue: by itself, and with what is around it."""
    return f"""
      {tissue}_more = Mul(more, {tissue})
      {_mean(f"{tissue}_mean_more", f"{tissue}_more", SMOOTH_MM)}
      {tissue}_before = Mul(divisor, {tissue})
      {_mean(f"{tissue}_mean_before", f"{tissue}_before", SMOOTH_MM)}
      {tissue}_needed = Mul({tissue}_mean_before, share)
      is_{tissue}_smoothly = GreaterOrEqual({tissue}_mean_more, {tissue}_needed)
      {tissue}_smoothly = Cast<to = 1>(is_{tissue}_smoothly)
      {tissue}_above = Mul(above, {tissue})
      of_{tissue} = Mul({tissue}_above, {tissue}_smoothly)
    """


def _sharpened() -> str:
    """Return S1 - S0 without its Laplacian's share; three means along an axis make that up."""
    means = [f"along{axis} = {_pool_along(axis, 3, 'AveragePool')}(more)" for axis in range(3)]
    return "\n".join(
        [
            *means,
            "around = Sum(along0, along1, along2)",
            "of_middle = Mul(more, of_centre)",
            "of_neighbours = Mul(around, of_around)",
            "sharp = Sub(of_middle, of_neighbours)",
            _mean("mean_more", "more", 3),
        ]
    )


def _found() -> str:
    """Return what is above the threshold: its inside, and its edge where that is steep enough."""
    return f"""
      more_above = Mul(mean_more, of_breast)
      {_highest("most", "more_above", 2 * NEAR_MM + 1)}
      less = Neg(mean_more)
      {_highest("least_near_turned", "less", 2 * NEAR_MM + 1)}
      least_near = Neg(least_near_turned)
      least_there = Max(least_near, zero)
      range_there = Sub(most, least_there)
      half_of_range = Mul(range_there, half)
      half_way = Add(least_there, half_of_range)
      is_bright = Greater(sharp, half_way)
      bright = Cast<to = 1>(is_bright)
      rest = Sub(one, of_breast)
      {_highest("near_rest", "rest", 3)}
      inner = Sub(one, near_rest)
      counts = Max(bright, inner)
      found = Mul(of_breast, counts)
    """


def _thick() -> str:
    """Return what is not thin: an opening, and what of the found lies beside that."""
    return f"""
      not_found = Sub(one, found)
      {_highest("near_not_found", "not_found", THIN_MM)}
      fitting = Sub(one, near_not_found)
      {_mean("share_fitting", "fitting", 5)}
      is_enough = GreaterOrEqual(share_fitting, enough)
      enough_fit = Cast<to = 1>(is_enough)
      core = Mul(fitting, enough_fit)
      {_highest("beside_core", "core", 3)}
      thick = Mul(beside_core, found)
    """


def _edges() -> str:
    """Return what counts: the thick, with its edges."""
    return f"""
      more_of_thick = Mul(mean_more, thick)
      {_highest("most_of_thick", "more_of_thick", 2 * NEAR_MM + 1)}
      low_enough = Mul(most_of_thick, steep)
      is_steep = Less(least_near, low_enough)
      range_of_thick = Sub(most_of_thick, least_there)
      half_of_thick = Mul(range_of_thick, half)
      half_way_of_thick = Add(least_there, half_of_thick)
      is_half = Greater(sharp, half_way_of_thick)
      is_edge = And(is_steep, is_half)
      edge = Cast<to = 1>(is_edge)
      {_highest("beside_thick", "thick", 3)}
      edge_there = Mul(edge, beside_thick)
      edge_of_breast = Mul(edge_there, breast)
      kept = Max(thick, edge_of_breast)
      not_kept = Sub(one, kept)
      thin = Mul(found, not_kept)
    """
