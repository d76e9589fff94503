"""Generated studies are read as they were made, in every style, however sliced and sent."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import tag_for_keyword

import node.domains.breast_mr
from node.domains.breast_mr.series import SeriesKind
from node.imaging.midline import midline_of
from node.imaging.signal_scale import one_scale
from node.imaging.stack import require_one_grid, stack_of
from node.imaging.volume import volume_of
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.styles import STYLES, Arrangement

from .generated import (
    SLICES,
    around,
    gained,
    phases_of,
    planned,
    reading_of,
    seen,
    volumes_of,
)

NAMES = ["pre", "post 1", "post 2", "post 3"]
CLASSIC = ["standard", "Siemens", "GE", "GE by trigger time", "Philips"]
WAYS = [
    (orientation, *way)
    for orientation in Orientation
    for way in ((False, False), (True, False), (True, True))
]
BESIDE = Counter(
    {
        SeriesKind.LOCALISER: 9,
        SeriesKind.T2: SLICES // 2,
        SeriesKind.DIFFUSION: SLICES,
        SeriesKind.ADC: SLICES // 2,
        SeriesKind.SUBTRACTION: SLICES,
        SeriesKind.MIP: 2,
    }
)
"""How many images of each kind lie beside the dynamic series."""


@pytest.mark.parametrize("style", STYLES)
def test_phases_and_series_of_each_style_are_what_they_were_made_as(style: str) -> None:
    plan = planned(style, beside=True)
    found = reading_of(plan)
    assert found.refusal == ""
    assert [phase.name for phase in found.phases] == NAMES
    assert [len(phase.images) for phase in found.phases] == [SLICES] * 4
    images: Counter[SeriesKind] = Counter()
    for one in found.series:
        images[one.kind] += one.images
    assert images == BESIDE + Counter({SeriesKind.DYNAMIC: 4 * SLICES})
    dynamic = [one for one in found.series if one.kind is SeriesKind.DYNAMIC]
    assert [name for one in dynamic for name in one.phases] == NAMES
    assert {one.fat_suppressed for one in dynamic} == {True}
    assert found.stated in (None, 4)
    assert not [doubt for doubt in found.doubts if "overlap" in doubt or "stated" in doubt]


@pytest.mark.parametrize("style", STYLES)
def test_times_of_each_style_are_those_of_the_schedule(style: str) -> None:
    plan = planned(style)
    times, found = plan.schedule, reading_of(plan)
    states_injection = plan.style.injection_time
    assert found.injected_by.startswith("Contrast/Bolus Start Time") == states_injection
    injected_s = times.injected_s if states_injection else times.begin_s(1)
    for number, phase in enumerate(found.phases):
        assert phase.after_s == pytest.approx(times.begin_s(number) - injected_s, abs=0.01)
        assert phase.lasts_s == pytest.approx(times.phase_s, abs=0.01)
        middle_s = times.begin_s(number) + times.phase_s / 2 - injected_s
        assert phase.middle_s == pytest.approx(middle_s, abs=0.01)


@pytest.mark.parametrize("arrangement", Arrangement)
@pytest.mark.parametrize("style", [*CLASSIC, "enhanced", "Philips enhanced", "legacy converted"])
def test_phases_lie_in_series_in_any_way(style: str, arrangement: Arrangement) -> None:
    plan = planned(style, arrangement=arrangement)
    found = reading_of(plan)
    assert found.refusal == ""
    assert [phase.name for phase in found.phases] == NAMES
    assert [len(phase.images) for phase in found.phases] == [SLICES] * 4
    starts = [plan.schedule.begin_s(number) for number in range(4)]
    after = [phase.after_s or 0.0 for phase in found.phases]
    assert np.diff(after) == pytest.approx(np.diff(starts), abs=0.01)
    assert found.stated in (None, 4)
    assert not [doubt for doubt in found.doubts if "overlap" in doubt or "stated" in doubt]


@pytest.mark.parametrize("style", ["Siemens", "GE", "Philips, slice by slice", "enhanced"])
def test_the_order_in_which_objects_come_changes_nothing(style: str) -> None:
    plan = planned(style, beside=True)
    assert reading_of(plan, 1) == reading_of(plan, 2)


@pytest.mark.parametrize(("style", "way"), list(zip(STYLES, itertools.cycle(WAYS), strict=False)))
def test_each_phase_has_the_signal_that_the_scanner_saw_where_it_saw_it(
    style: str, way: tuple[Orientation, bool, bool], tmp_path: Path
) -> None:
    orientation, backwards, turned = way
    plan = planned(style, orientation=orientation, backwards=backwards, turned=turned)
    phases = phases_of(plan, tmp_path)
    require_one_grid({n: stack_of([one.plane for one in of]) for n, of in phases.items()})
    one_scale(one.scale for of in phases.values() for one in of)
    factors = []
    for number, name in enumerate(NAMES):
        volume = volume_of(phases[name])
        assert volume.spacing == pytest.approx(plan.raster().spacing_mm, abs=1e-3)
        truly = seen(plan, volume, number)
        factors.append(float(volume.array.sum() / truly.sum()))
        np.testing.assert_allclose(volume.array / factors[-1], truly, atol=0.6)
    # Of whatever scale, it is one: else what takes up nothing would seem to.
    assert factors == pytest.approx([factors[0]] * 4, rel=0.002)


@pytest.mark.parametrize(
    ("style", "orientation", "backwards", "turned"),
    [
        *(("standard", *way) for way in WAYS),
        ("enhanced", Orientation.SAGITTAL, True, False),
        ("Philips, pre and posts", Orientation.OBLIQUE, False, False),
    ],
)
def test_a_lesion_takes_up_contrast_where_it_is_and_on_its_side(
    style: str, orientation: Orientation, backwards: bool, turned: bool, tmp_path: Path
) -> None:
    plan = planned(
        style,
        orientation=orientation,
        backwards=backwards,
        turned=turned,
        shape=_finer(orientation),
        schedule=PhaseTimes(posts=1),
    )
    volumes = volumes_of(plan, tmp_path)
    (lesion,) = plan.truth(1, 0.5).lesions
    assert midline_of(volumes["pre"]).side_of(lesion.centre_mm) is lesion.side
    near = around(volumes["pre"], lesion.centre_mm, 6)
    x, y, z = lesion.centre_mm
    elsewhere = around(volumes["pre"], (-x, y, z), 6)
    assert gained(volumes, "post 1", near) > 0.8
    assert gained(volumes, "post 1", elsewhere) < 0.4


def _finer(orientation: Orientation) -> tuple[int, int, int]:
    """Return slices of which a lesion is in more than one."""
    return (60, 48, 48) if orientation is Orientation.SAGITTAL else (40, 64, 64)


def test_every_attribute_that_is_asked_is_one_of_the_standard() -> None:
    asked = {
        str(one.value)
        for path in Path(*node.domains.breast_mr.__path__).glob("*.py")
        for one in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(one, ast.Constant)
        and isinstance(one.value, str)
        and re.fullmatch("[A-Z]+[a-z]+[A-Za-z]*", one.value)
        and one.value != "Exam"  # what a unit is called
    }
    assert len(asked) > 50
    said = {"Exam"}  # what a result calls it
    assert {keyword for keyword in asked if tag_for_keyword(keyword) is None} <= said
