"""`models check` and `models tensor` of packages that mark solids or read slices of breast MRI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mr_solid_models import enhancing_model
from mr_studies import small_plan, written
from PIL import Image
from test_package_beginning import call
from test_slices_through_the_pipeline import COUNT, sliced

from node.packages.checking import check_package


def test_packages_of_solids_and_of_slices_pass_their_checks(tmp_path: Path) -> None:
    for model in (enhancing_model(tmp_path / "solids"), sliced(tmp_path / "slices", "slices")):
        found = {one.what: (one.is_ok, one.words) for one in check_package(model)}
        assert {what for what, (is_ok, _) in found.items() if not is_ok} == {"card"}, found


def test_images_of_a_volume_are_drawn_one_by_one(tmp_path: Path) -> None:
    model = sliced(tmp_path, "columns")
    written(small_plan(shape=(24, 48, 64)), tmp_path / "study")
    out = tmp_path / "sheet.png"
    code, said = call("models", "tensor", model.folder, tmp_path / "study", "--out", out)
    assert code == 0, said
    with Image.open(out) as drawn:
        assert np.asarray(drawn).shape[0] > 2 * 48
    assert COUNT == 16
