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
LEAST = 0.15
"""Of the mean signal of the breasts before contrast: what is divided by is at least this, so that
noise in what is dark is no enhancement."""
NEAR_MM = 3
SHARE_OF_MOST = 0.42
"""A voxel at the edge counts if it enhances by more than this share of the most within NEAR_MM, of
means of 3 mm, which noise lifts little. One that is half lesion and half dark fat exceeds the
threshold easily. At half the most a small ball, blurred, is too small."""
MIXED_MM = 2
BRIGHT = 1.25
"""Where fat is bright, a voxel that is half fat stays below the threshold, for there is much to
divide by. One within MIXED_MM of what counts, that was brighter before contrast by this factor than
what counts there, counts by SHARE_OF_MOST alone."""
THIN_MM = 3
"""What is thinner is taken for a vessel."""
GROWN_MM = 8
"""As far as what is thicker reaches into what is thin beside it."""
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

    And the SER of the right and of the left breast, NaN where there is none.
    """
    shape = ",".join(map(str, (1, 1, *size)))
    parts = ",".join(map(str, (1, len(PARTS), *size)))
    network = onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 21], producer_name: "node.training">
        breast_mr_enhancement (float[{shape}] pre, float[{shape}] early, float[{shape}] late,
                               float[{shape}] region) => (float[{parts}] masks, float[1, 2] ratios)
        <float one = {{1}}, float before_breasts = {{0.5}}, float behind_breasts = {{2.5}},
         float behind_skin = {{3.5}}, float right_alone = {{1.5}},
         float least = {{{LEAST}}}, float share = {{{PERCENT_ENHANCED / 100}}},
         float half = {{{SHARE_OF_MOST}}}, float bright_fat = {{{BRIGHT}}},
         float tiny = {{1e-6}}, float zero = {{0}},
         float risen = {{{1 + CHANGE}}}, float fallen = {{{1 - CHANGE}}}>
        {{
          {_REGIONS}
          {_enhancing()}
          {_MIXED}
          {_beside("skin")}
          {_beside("wall")}
          {_thick()}
          {_CURVES}
          {_RATIOS}
          masks = Concat<axis = 1>(kept, washout, plateau, persistent, thin, of_skin, of_wall)
        }}
        """
    )
    onnx.checker.check_model(network, full_check=True)
    return network


def _pool(size: int) -> str:
    """Return the operator that takes the highest of a cube of so many voxels."""
    edge = size // 2
    return f"MaxPool<kernel_shape = {[size] * 3}, pads = {[edge] * 6}>"


def _mean(target: str, source: str, size: int) -> str:
    """Return what takes the mean of a cube of so many voxels: axis by axis, for speed."""
    edge, lines, given = size // 2, list[str](), source
    for axis in range(3):
        cube = [size if at == axis else 1 for at in range(3)]
        pads = [edge if at == axis else 0 for at in range(3)] * 2
        made = target if axis == 2 else f"{target}_along{axis}"
        lines.append(f"{made} = AveragePool<kernel_shape = {cube}, pads = {pads}>({given})")
        given = made
    return "\n".join(lines)


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
_ENHANCING = """
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

  seen = Add(breast, skin)
  more_there = Mul(more, seen)
  MEAN
  most = NEAR(mean_there)
  half_of_most = Mul(most, half)
  is_bright = Greater(more, half_of_most)
  bright = Cast<to = 1>(is_bright)
  rest = Sub(one, of_breast)
  near_rest = BESIDE(rest)
  inner = Sub(one, near_rest)
  counts = Max(bright, inner)
  found_alone = Mul(of_breast, counts)
"""
_MIXED = f"""
  {_mean("share_near", "of_breast", 2 * MIXED_MM + 1)}
  is_near = Greater(share_near, zero)
  some_near = Max(share_near, tiny)
  before_counting = Mul(pre, of_breast)
  {_mean("mean_before_near", "before_counting", 2 * MIXED_MM + 1)}
  before_near = Div(mean_before_near, some_near)
  fat_near = Mul(before_near, bright_fat)
  is_fat = Greater(pre, fat_near)
  is_fat_near = And(is_fat, is_near)
  is_mixed = And(is_fat_near, is_bright)
  mixed = Cast<to = 1>(is_mixed)
  mixed_of_breast = Mul(mixed, breast)
  found = Max(found_alone, mixed_of_breast)
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
# Of nothing, and of what has lost all of its contrast agent by the late phase, there is no ratio.
_RATIOS = """
  no_number = Div(zero, zero)
  more_late = Sub(late, pre)
  sides = Concat<axis = 1>(right, left)
  kept_of_sides = Mul(kept, sides)
  over_voxels = Constant<value_ints = [2, 3, 4]>()
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


def _enhancing() -> str:
    pools = {
        "NEAR": _pool(2 * NEAR_MM + 1),
        "BESIDE": _pool(3),
        "MEAN": _mean("mean_there", "more_there", 3),
    }
    text = _ENHANCING
    for name, operator in pools.items():
        text = text.replace(name, operator)
    return text


def _thick() -> str:
    """Return what divides the thin from the rest: an opening, grown back within what was found."""
    lines = [
        "not_found = Sub(one, found)",
        f"near_not_found = {_pool(THIN_MM)}(not_found)",
        "core = Sub(one, near_not_found)",
        "grown0 = Mul(core, found)",
    ]
    for step in range(GROWN_MM):
        lines.append(f"wide{step} = {_pool(3)}(grown{step})")
        lines.append(f"grown{step + 1} = Mul(wide{step}, found)")
    lines += [f"kept = Identity(grown{GROWN_MM})", "thin = Sub(found, kept)"]
    return "\n".join(lines)
