"""The graph: percent enhancement, thresholds, and what rules take away; written, not trained.

Voxels are of 1 mm, so that what is said in voxels is in millimetres. Percent enhancement (PE) early
and the signal enhancement ratio (SER) are those of Hylton et al., Radiology 2012;263(3):663-672
(ACRIN 6657, I-SPY): PE = (S1 - S0) / S0, SER = (S1 - S0) / (S2 - S0). That paper's functional
tumour volume is taken inside a region that a reader drew; here nobody has drawn one.
"""

from __future__ import annotations

import onnx

SIZE = (208, 208, 384)
"""Slices, rows and columns, of 1 mm each."""
PERCENT = 70
"""PE from which on a voxel counts: that of Hylton et al. 2012."""
LEAST = 0.15
"""Of the mean signal of the breasts before contrast: what is divided by is at least this, so that
noise in what is dark is no enhancement."""
NEAR_MM = 3
HALF = 0.45
"""A voxel at the edge counts if it enhances by more than this share of the most within NEAR_MM: one
that is half lesion and half fat exceeds PERCENT easily, for fat is dark."""
THIN_MM = 3
"""What is thinner is taken for a vessel."""
GROWN_MM = 8
"""As far as what is thicker reaches into what is thin beside it."""
PERSISTENT, WASHOUT = 0.9, 1.1
"""SER below which signal goes on rising, and above which it falls again; between is a plateau."""
PARTS = ("enhancing", "washout", "plateau", "persistent", "thin", "skin", "chest wall")
"""The channels of the network's answer."""


def build_enhancement() -> onnx.ModelProto:
    """Build the graph: of the phases and where the breasts are, a mask for each of PARTS."""
    shape = ",".join(map(str, (1, 1, *SIZE)))
    parts = ",".join(map(str, (1, len(PARTS), *SIZE)))
    network = onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 21], producer_name: "node.training">
        breast_mr_enhancement (float[{shape}] pre, float[{shape}] early, float[{shape}] late,
                               float[{shape}] region) => (float[{parts}] masks)
        <float one = {{1}}, float before_breasts = {{0.5}}, float behind_breasts = {{2.5}},
         float behind_skin = {{3.5}}, float least = {{{LEAST}}}, float share = {{{PERCENT / 100}}},
         float half = {{{HALF}}}, float tiny = {{1e-6}}, float persistent_below = {{{PERSISTENT}}},
         float washout_above = {{{WASHOUT}}}>
        {{
          {_REGIONS}
          {_ENHANCING.replace("NEAR", _pool(2 * NEAR_MM + 1)).replace("BESIDE", _pool(3))}
          {_thick()}
          {_CURVES}
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
  of_skin = Mul(above, skin)
  of_wall = Mul(above, wall)

  seen = Add(breast, skin)
  more_there = Mul(more, seen)
  most = NEAR(more_there)
  half_of_most = Mul(most, half)
  is_bright = Greater(more, half_of_most)
  bright = Cast<to = 1>(is_bright)
  rest = Sub(one, of_breast)
  near_rest = BESIDE(rest)
  inner = Sub(one, near_rest)
  counts = Max(bright, inner)
  found = Mul(of_breast, counts)
"""
_CURVES = """
  more_late = Sub(late, pre)
  late_divisor = Max(more_late, tiny)
  ratio = Div(more, late_divisor)
  is_persistent = Less(ratio, persistent_below)
  persistent_there = Cast<to = 1>(is_persistent)
  persistent = Mul(kept, persistent_there)
  is_washout = Greater(ratio, washout_above)
  washout_there = Cast<to = 1>(is_washout)
  washout = Mul(kept, washout_there)
  changing = Add(persistent, washout)
  plateau = Sub(kept, changing)
"""


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
