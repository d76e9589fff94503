"""Model packages whose networks answer what they must not, each in one way."""

from __future__ import annotations

from pathlib import Path

from small_models import model

from node.manifest import Model

SCORED = """\
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "S1", scheme = "99TEST", meaning = "Score" }
"""
BOXED = """\
kind = "boxes"
tensor = "boxes"
boxes = 2
threshold = 0.3
label = "mass"
finding = { value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }
score = { value = "S1", scheme = "99TEST", meaning = "Score" }
"""
MEAN = "axes = Constant<value_ints = [2, 3]>() mean = ReduceMean<keepdims = 0>(image, axes)"


def scorer(folder: Path, body: str, described: str = SCORED) -> Model:
    """Write a package that makes a score of `mean`, the mean of the image."""
    body = f"{MEAN.replace(') ', ')' + chr(10))}\n{body}"
    return model(folder, body, output="float[1,1] score", described=described)


def detector(folder: Path, *rows: tuple[float, float, float, float, float]) -> Model:
    """Write a package that answers these boxes, their scores a little by the image."""
    numbers = ", ".join(str(float(number)) for row in rows for number in row)
    body = f"""
        axes = Constant<value_ints = [2, 3]>()
        mean = ReduceMean<keepdims = 1>(image, axes)
        first = Constant<value_ints = [1, 1, 1]>()
        part = Reshape(mean, first)
        a_little = Constant<value = float[1,1,5] {{0.0, 0.0, 0.0, 0.0, 0.1}}>()
        moved = Mul(part, a_little)
        fixed = Constant<value = float[1,{len(rows)},5] {{{numbers}}}>()
        boxes = Add(fixed, moved)
    """
    described = BOXED.replace("boxes = 2", f"boxes = {len(rows)}")
    return model(folder, body, output=f"float[1,{len(rows)},5] boxes", described=described)
