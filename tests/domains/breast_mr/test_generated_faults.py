"""What is wrong with a generated study is answered in words, with the numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from node.domains.breast_mr.phases import read
from node.errors import StudyError
from node.imaging.signal_scale import ScaleSource, one_scale
from node.imaging.stack import require_one_grid, stack_of
from node.imaging.volume import Slice, volume_of
from node.trial.breast_mr.faults import SPOILT_PHASE, WRONG_SLOPE, Fault
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES, Family, Vendor

from .generated import SLICES, kept, made, phases_of, planned, reading_of, received

SPOILT = f"post {SPOILT_PHASE}"
MIDDLE = SLICES // 2


def spoilt(style: str, fault: Fault, orientation: Orientation = Orientation.AXIAL) -> StudyPlan:
    return planned(style, fault=fault, orientation=orientation)


def along_mm(plan: StudyPlan, index: int) -> float:
    """Where a slice lies along the axis that is nearest to its normal."""
    position = np.array(plan.raster().position(index))
    through = np.array(plan.raster().through)
    return float(position @ through * np.sign(through[np.argmax(np.abs(through))]))


def scales(phases: dict[str, list[Slice]]) -> ScaleSource:
    return one_scale(one.scale for of in phases.values() for one in of)


def require_grid(phases: dict[str, list[Slice]]) -> None:
    require_one_grid({n: stack_of([one.plane for one in of]) for n, of in phases.items()})


@pytest.mark.parametrize("style", STYLES)
def test_a_missing_slice_is_said_with_its_phase_and_place(style: str, tmp_path: Path) -> None:
    plan = spoilt(style, Fault.MISSING_SLICE)
    found = reading_of(plan)
    assert [doubt for doubt in found.doubts if f"{SPOILT} {SLICES - 1}" in doubt] == [
        "not as many slices in each phase: pre 12, post 1 12, post 2 11, post 3 12"
    ]
    phases = phases_of(plan, tmp_path)
    low, high = sorted((along_mm(plan, MIDDLE - 1), along_mm(plan, MIDDLE + 1)))
    words = f"a slice is missing between {low:.1f} mm and {high:.1f} mm"
    with pytest.raises(StudyError, match=f"^{re.escape(words)}$"):
        volume_of(phases[SPOILT])
    assert volume_of(phases["post 1"]).shape == plan.shape
    with pytest.raises(StudyError, match="post 2 has another grid than pre: 11 slices"):
        require_grid(phases)


@pytest.mark.parametrize("orientation", [Orientation.SAGITTAL, Orientation.OBLIQUE])
def test_the_place_of_a_missing_slice_is_along_its_own_normal(
    orientation: Orientation, tmp_path: Path
) -> None:
    plan = spoilt("standard", Fault.MISSING_SLICE, orientation)
    low, high = sorted((along_mm(plan, MIDDLE - 1), along_mm(plan, MIDDLE + 1)))
    with pytest.raises(StudyError, match=rf"between {low:.1f} mm and {high:.1f} mm$"):
        volume_of(phases_of(plan, tmp_path)[SPOILT])


@pytest.mark.parametrize("style", STYLES)
def test_a_missing_phase_is_said_where_a_count_is_stated_or_the_times_leave_room(
    style: str,
) -> None:
    found = reading_of(planned(style, fault=Fault.MISSING_PHASE, schedule=PhaseTimes(posts=5)))
    assert len(found.phases) == 5
    said = [doubt for doubt in found.doubts if "missing" in doubt or "stated" in doubt]
    room = "180 s from post 1 to post 2 and 90 s between the others: a phase may be missing"
    counted = "6 phases stated, 5 found"
    names = [phase.name for phase in found.phases]
    if names == ["pre", "post 1", "post 3", "post 4", "post 5"]:
        assert said == [f"{counted}: Temporal Position 3 missing"]
        assert not found.uncertain
    else:
        assert names == ["pre", "post 1", "post 2", "post 3", "post 4"]
        assert said == ([room, counted] if found.stated else [room])
        assert found.uncertain == (f"{counted}; {room}" if found.stated else "")
    whole = reading_of(planned(style, schedule=PhaseTimes(posts=5)))
    assert (whole.stated is None) == (found.stated is None)
    assert not [doubt for doubt in whole.doubts if "missing" in doubt or "stated" in doubt]


@pytest.mark.parametrize("style", STYLES)
def test_another_grid_is_said_with_both_sizes(style: str, tmp_path: Path) -> None:
    plan = spoilt(style, Fault.OTHER_GRID)
    phases = phases_of(plan, tmp_path)
    sizes = plan.raster().spacing_mm
    usual, other = (
        " x ".join(f"{mm:.3g}" for mm in (sizes[0], by * sizes[1], by * sizes[2]))
        for by in (1.0, 0.9)
    )
    words = f"post 2 has another grid than pre: voxels of {other} mm instead of {usual} mm"
    with pytest.raises(StudyError, match=f"^{re.escape(words)}$"):
        require_grid(phases)


@pytest.mark.parametrize("style", STYLES)
def test_phases_of_two_scales_are_not_compared(style: str, tmp_path: Path) -> None:
    phases = phases_of(spoilt(style, Fault.WRONG_RESCALE), tmp_path)
    kind = STYLES[style]
    if kind.vendor is Vendor.PHILIPS and kind.family is Family.CLASSIC:
        # What it displays is of no account: its private scale says what was measured.
        assert scales(phases) is ScaleSource.PHILIPS
        sums = [float(volume_of(phases[name]).array.sum()) for name in ("post 1", SPOILT)]
        assert sums[1] == pytest.approx(sums[0], rel=0.05)
        return
    with pytest.raises(StudyError, match=rf"^signal on different scales \(.*x {WRONG_SLOPE} \+0"):
        scales(phases)


@pytest.mark.parametrize("style", STYLES)
def test_a_doubled_slice_is_said_with_its_series_and_place(style: str) -> None:
    plan = spoilt(style, Fault.DOUBLED_SLICE)
    usual = reading_of(planned(style))
    (series,) = [one for one in usual.series if SPOILT in one.phases]
    found, once = reading_of(plan), len(series.phases)
    assert not found.phases
    assert found.refusal == (
        f"series {series.number}: {once + 1} images of the slice at "
        f"{along_mm(plan, MIDDLE):.1f} mm and {once} of each other, and nothing says which is one "
        "too many"
    )


def test_of_slices_with_a_double_no_volume_is_made(tmp_path: Path) -> None:
    plan = spoilt("standard", Fault.DOUBLED_SLICE)
    of_phase = [one for one in made(plan) if one.AcquisitionNumber == SPOILT_PHASE + 1]
    with pytest.raises(StudyError, match=f"^2 slices at {along_mm(plan, MIDDLE):.1f} mm$"):
        volume_of(kept(of_phase, tmp_path))


@pytest.mark.parametrize("style", ["standard", "Siemens", "GE", "Philips"])
@pytest.mark.parametrize("body_part", ["KNEE", "BREAST", "CHEST", None])
def test_a_knee_is_no_breast_whatever_its_header_says(style: str, body_part: str | None) -> None:
    found = read(received(knee_mr("knee", STYLES[style], body_part=body_part, shape=(4, 16, 16))))
    assert not found.phases
    assert not found.part.is_breast
    if body_part == "BREAST":
        says = "Receive Coil Name" if STYLES[style].coil else "Study Description"
        assert found.refusal == f"Body Part Examined says BREAST, and {says} KNEE"
    else:
        assert found.refusal.startswith("MR of KNEE: ")
    assert {one.images for one in found.series} == {4}
