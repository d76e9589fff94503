"""The plane between the breasts is found where the body lies, and one breast is said to be one."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from highdicom import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from mr_bodies import Body, Grid, volume_of_body
from mr_stacks import AXIAL, CORONAL, SAGITTAL

from node.errors import StudyError
from node.imaging.midline import BESIDE_ERROR_MM, MIDLINE_ERROR_MM, Midline, midline_of
from node.study import Laterality

OBLIQUE = (0.9848, 0.1736, 0.0, -0.171, 0.9698, -0.1736)
GRIDS = {
    "axial": Grid(AXIAL, (4.0, 3.0, 3.0), (150.0, 210.0, 350.0)),
    "feet first": Grid((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (4.0, 3.0, 3.0), (150.0, 210.0, 350.0)),
    "sagittal": Grid(SAGITTAL, (4.0, 3.0, 3.0), (350.0, 150.0, 210.0)),
    "coronal": Grid(CORONAL, (4.0, 3.0, 3.0), (210.0, 150.0, 350.0)),
    "oblique with corners": Grid(
        (0.97, 0.1982, -0.1407, -0.1999, 0.9798, 0.0), (4.0, 3.0, 3.0), (160.0, 230.0, 340.0)
    ),
    "oblique": Grid(OBLIQUE, (4.0, 3.0, 3.0), (190.0, 230.0, 350.0)),
}


def off_mm(found: Midline, body: Body) -> float:
    """How far off it is at most, where breasts are."""
    between = [[0, y, z] for y in (-60, -20, 20) for z in (-50, 0, 50)]
    return float(np.abs(found.to_left_mm(body.in_patient(np.array(between, float)))).max())


@settings(max_examples=examples(80))
@given(
    across=st.floats(-40, 40),
    turned=st.floats(-10, 10),
    along=st.floats(-10, 10),
    right_size=st.sampled_from([1.0, 0.85, 0.7]),
    is_fat_suppressed=st.booleans(),
    has_implant=st.booleans(),
    uptake=st.sampled_from([0.0, 2.0]),
    noise=st.sampled_from([4.0, 10.0]),
    way=st.sampled_from(sorted(GRIDS)),
)
def test_the_plane_lies_between_two_breasts_wherever_the_body_was_put(
    across: float,
    turned: float,
    along: float,
    right_size: float,
    is_fat_suppressed: bool,
    has_implant: bool,
    uptake: float,
    noise: float,
    way: str,
) -> None:
    body = Body(
        shift_mm=(across, along / 2, along),
        turned_degrees=turned,
        right_size=right_size,
        is_fat_suppressed=is_fat_suppressed,
        has_implant=has_implant,
        uptake=uptake,
        noise=noise,
    )
    found = midline_of(volume_of_body(body, GRIDS[way]))
    assert off_mm(found, body) <= MIDLINE_ERROR_MM
    assert found.only is None
    assert found.doubt == ""


def test_a_lesion_10_mm_from_the_plane_is_on_its_side() -> None:
    body = Body(shift_mm=(40.0, 0.0, 0.0), turned_degrees=10.0)
    found = midline_of(volume_of_body(body, GRIDS["axial"]))
    for x, side in ((-10.0, Laterality.RIGHT), (10.0, Laterality.LEFT)):
        a, b, c = map(float, body.in_patient(np.array([x, -20.0, 10.0])))
        assert found.side_of((a, b, c)) is side


@pytest.mark.parametrize("breast", ["R", "L"])
@pytest.mark.parametrize("across", [-40.0, 0.0, 40.0])
@pytest.mark.parametrize("turned", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize("way", ["axial", "oblique with corners"])
def test_of_one_breast_it_is_said_which(
    breast: str, across: float, turned: float, way: str
) -> None:
    body = Body(breasts=breast, shift_mm=(across, 0.0, 0.0), turned_degrees=turned)
    found = midline_of(volume_of_body(body, GRIDS[way]))
    assert off_mm(found, body) <= BESIDE_ERROR_MM
    assert found.only == breast
    assert found.doubt == f"one breast only ({'right' if breast == 'R' else 'left'})"
    x, y, z = map(float, body.in_patient(np.array([-78.0 if breast == "R" else 78.0, -20.0, 0.0])))
    assert found.side_of((x, y, z)) == breast


def test_of_one_breast_that_fills_the_image_it_is_said_that_no_side_is_seen() -> None:
    alone = Grid(SAGITTAL, (4.0, 3.0, 3.0), (140.0, 150.0, 210.0), (78.0, 0.0, 0.0))
    with pytest.raises(StudyError, match="one breast only, and not which"):
        midline_of(volume_of_body(Body(), alone))


def _flat() -> Volume:
    return volume_of_body(Body(), GRIDS["axial"])


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (volume_of_body(Body(breasts=""), GRIDS["axial"]), "nothing protrudes like a breast"),
        (_flat().with_array(np.full(_flat().shape, 7, np.float32)), "image of one tone"),
        (_flat()[:2], "too few slices or pixels"),
    ],
)
def test_where_no_plane_is_seen_that_is_said(volume: Volume, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        midline_of(volume)
