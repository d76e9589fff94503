"""Networks of images that read slices or projections of breast MRI: which slice decides."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from mr_models import uptake_model
from mr_studies import small_plan, written
from pydicom import dcmread

from node.manifest import Model, load_model
from node.offline import analyse_folder
from node.result import Result
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan

SHAPE = (24, 48, 64)
COUNT = 16
GRAPH = """
    phase0, phase1 = Split<axis = 1, num_outputs = 2>(phases)
    more = Sub(phase1, phase0)
    flat = Flatten<axis = 1>(more)
    axes = Constant<value_ints = [1]>()
    most = ReduceMax<keepdims = 1>(flat, axes)
    zero = Constant<value_float = 0.0>()
    one = Constant<value_float = 1.0>()
    positive = Max(most, zero)
    score = Min(positive, one)
"""
"""By how much the brightest spot of each image is brighter than before."""
SUBTRACTED = '[[pixels]]\nop = "slices"\nalong = "{along}"\ncount = {count}\n'
WINDOW = (48, 64, 96)


def images_model(folder: Path, operation: str, shape: str, over_slices: str) -> Model:
    """Write a package that scores images by their brightest spot, and open it."""
    model = uptake_model(folder, size=WINDOW)
    batch = shape.split(",", maxsplit=1)[0]
    network = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        spots (float[{shape}] phases) => (float[{batch},1] score) {{ {GRAPH} }}"""
    )
    content = network.SerializeToString()
    (model.folder / "model.onnx").write_bytes(content)
    path = model.folder / "manifest.toml"
    text = re.sub(
        r'sha256 = ".*"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"', path.read_text()
    )
    text = text.replace('activation = "sigmoid"', over_slices)
    text = text.replace(
        "slices = 32\nrows = 48\ncolumns = 96", "slices = 48\nrows = 64\ncolumns = 96"
    )
    text = text.replace("low = 1\nhigh = 99\n", 'low = 0\nhigh = 99.99\nover = "breasts"\n')
    path.write_text(text.replace("\n[[outputs]]", f"\n{operation}\n[[outputs]]", 1), "utf-8")
    return load_model(model.manifest.name, folder)


def sliced(folder: Path, along: str, over: str = "highest") -> Model:
    rows, columns = (48, 64) if along == "columns" else (64, 96)
    operation = SUBTRACTED.format(along=along, count=COUNT)
    return images_model(folder, operation, f"{COUNT},2,{rows},{columns}", f'over_slices = "{over}"')


def result_of(of: StudyPlan, model: Model, folder: Path) -> Result:
    paths = written(of, folder / "study")
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    assert study.result is not None, study.words
    return study.result


def score(result: Result) -> float:
    (said,) = result.evaluations
    return said.measurements[0].value


@pytest.mark.parametrize("changes", [{}, {"backwards": True}, {"turned": True}], ids=str)
def test_the_slice_that_decides_is_the_one_with_the_lesion(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    of = small_plan(shape=SHAPE, **changes)
    result = result_of(of, sliced(tmp_path, "slices"), tmp_path)
    (said,) = result.evaluations
    (uid,) = said.sop_uids
    heights = {
        one.SOPInstanceUID: float(one.ImagePositionPatient[2])
        for one in (dcmread(path) for path in (tmp_path / "study").iterdir())
    }
    (lesion,) = of.truth(1, 0.5).lesions
    assert abs(heights[uid] - lesion.centre_mm[2]) < 14, "planes are 12 mm apart"
    (told,) = [one for one in result.statements if "of the 16 that were read" in one]
    assert re.fullmatch(
        r"Exam: AI uptake score is that of slice \d+ of the 16 that were read, nearest to pre, "
        r"slice \d+ of 24\.",
        told,
    )


def test_slices_across_what_was_acquired_are_told_as_the_network_counts_them(
    tmp_path: Path,
) -> None:
    for number, orientation in enumerate((Orientation.AXIAL, Orientation.SAGITTAL)):
        folder = tmp_path / str(number)
        of = small_plan(shape=SHAPE, orientation=orientation)
        result = result_of(of, sliced(folder, "columns"), folder)
        (told,) = [one for one in result.statements if "across the columns that were read" in one]
        assert ("nearest to pre" in told) == (orientation is Orientation.SAGITTAL)
        at = int(told.split("slice ")[1].split()[0])
        assert at > COUNT / 2, "the lesion is on the left, to which columns are counted"


def test_a_mean_is_that_of_all_slices_and_a_projection_shows_the_highest(tmp_path: Path) -> None:
    of = small_plan(shape=SHAPE)
    highest = score(result_of(of, sliced(tmp_path / "a", "slices"), tmp_path / "a"))
    mean = score(result_of(of, sliced(tmp_path / "b", "slices", "mean"), tmp_path / "b"))
    operation = '[[pixels]]\nop = "mip"\nalong = "rows"\n'
    model = images_model(tmp_path / "c", operation, "1,2,48,96", "")
    projected = score(result_of(of, model, tmp_path / "c"))
    assert 0 < mean < highest <= 100
    assert 0 < projected < highest, "before contrast, something else is the brightest"
