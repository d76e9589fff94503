"""What the display that an image brings leaves visible of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_images import mammogram, saved

from node.imaging.image import Image, open_image
from node.imaging.visibility import NOTHING_HIDDEN, Hidden, hidden_by
from node.study import Laterality, View
from node.trial import phantom

R_CC = View(Laterality.RIGHT, "CC")


def breast(folder: Path, *, monochrome1: bool = False, **changes: Any) -> Image:
    """Open a small generated mammogram: air is 0, the breast 700 to 4095."""
    technique = phantom.Technique(332, 256, monochrome1=monochrome1)
    (dataset,) = phantom.exam("visible", [R_CC], technique=technique)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return open_image(saved(dataset, folder))


@pytest.mark.parametrize("monochrome1", [False, True])
def test_a_window_made_for_the_image_hides_next_to_nothing(
    monochrome1: bool, tmp_path: Path
) -> None:
    for centre, width in ((2048, 4096), (1800, 2600), (2000, 3000)):
        centre = 4095 - centre if monochrome1 else centre
        image = breast(tmp_path, monochrome1=monochrome1, WindowCenter=centre, WindowWidth=width)
        assert max(image.hidden.black, image.hidden.white) < 0.05


@pytest.mark.parametrize("monochrome1", [False, True])
def test_a_window_beside_the_values_hides_all_of_them(monochrome1: bool, tmp_path: Path) -> None:
    for centre, black, white in ((6000, 1, 0), (-2000, 0, 1)):
        centre = 4095 - centre if monochrome1 else centre
        image = breast(tmp_path, monochrome1=monochrome1, WindowCenter=centre, WindowWidth=500)
        assert image.hidden.black == pytest.approx(black, abs=0.02)
        assert image.hidden.white == pytest.approx(white, abs=0.15)


def test_a_table_that_shows_the_brightest_values_alone_hides_the_rest(tmp_path: Path) -> None:
    entries = np.where(np.arange(4096) < 2400, 0, np.arange(4096)).tolist()
    (dataset,) = phantom.exam("visible", [R_CC], technique=phantom.Technique(332, 256))
    table = type(dataset)()
    table.add_new("LUTDescriptor", "US", [4096, 0, 12])
    table.add_new("LUTData", "US", entries)
    dataset.VOILUTSequence = [table]
    hidden = open_image(saved(dataset, tmp_path)).hidden
    assert hidden.black > 0.8
    assert hidden.white == 0


def test_what_no_instruction_asks_for_is_not_looked_at(tmp_path: Path) -> None:
    dark = np.random.default_rng(1).integers(0, 50, (40, 40)).astype(np.uint16)
    assert open_image(saved(mammogram(dark), tmp_path)).hidden == NOTHING_HIDDEN
    windowed = mammogram(dark, WindowCenter=2048, WindowWidth=4096)
    assert open_image(saved(windowed, tmp_path)).hidden.black == 1


def test_a_range_of_padding_that_covers_the_breast_hides_it(tmp_path: Path) -> None:
    padded = breast(tmp_path, PixelPaddingValue=0, PixelPaddingRangeLimit=600)
    assert max(padded.hidden.black, padded.hidden.white) < 0.05
    covered = breast(tmp_path, PixelPaddingValue=0, PixelPaddingRangeLimit=3000)
    assert covered.hidden.black > 0.5
    alone = breast(tmp_path, WindowCenter=None, WindowWidth=None, PixelPaddingValue=0)
    assert alone.hidden == NOTHING_HIDDEN
    alone = breast(
        tmp_path,
        WindowCenter=None,
        WindowWidth=None,
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=3000,
    )
    assert alone.hidden.black > 0.5


def test_what_fills_up_is_not_looked_at_and_the_brightest_are_white_by_right() -> None:
    brightness = np.linspace(0, 1, 5)
    values = (
        np.repeat(np.array([0, 1, 3, 4], np.uint16), 16).reshape(8, 8).repeat(4, 0).repeat(4, 1)
    )
    shown = np.array([0, 0, 0, 0, 1.0])
    assert hidden_by(shown, brightness, values, None) == Hidden(black=0.5, white=0)
    assert hidden_by(shown, brightness, values, slice(3, 4)) == NOTHING_HIDDEN
    assert hidden_by(np.ones(5), brightness, values, None) == Hidden(black=0, white=0.5)
    assert hidden_by(shown, brightness, np.ones((9, 9), np.uint16), None) == NOTHING_HIDDEN
