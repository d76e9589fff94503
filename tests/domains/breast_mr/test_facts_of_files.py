"""What an object says is the same as it was made and as it is read from a file."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.domains.breast_mr.headers import facts_of
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.styles import STYLES

from . import studies
from .generated import made, planned

SMALL: dict[str, Any] = {"schedule": PhaseTimes(posts=1), "shape": (2, 16, 16), "beside": True}


def through_a_file(one: Dataset, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Return an object as it is read from a file, its values undecoded."""
    file = io.BytesIO()
    one.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    file.seek(0)
    return dcmread(file, stop_before_pixels=True, force=True)


@pytest.mark.parametrize("style", STYLES)
def test_a_file_says_what_its_object_says(style: str) -> None:
    for one in made(planned(style, **SMALL)):
        assert facts_of(through_a_file(one)) == facts_of(one)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_numbers_that_are_no_text_are_read(syntax: str) -> None:
    one = studies.image(DiffusionBValue=800.0, AcquisitionDuration=61.5)
    (found,) = facts_of(through_a_file(one, syntax))
    assert (found.b_value, found.duration_s) == (800, 61.5)
    frames = facts_of(through_a_file(studies.enhanced(), syntax))
    assert {one.echo_ms for one in frames} == {1.6}
    assert {one.temporal_position for one in frames} == {1, 2, 3}
    assert {one.duration_s for one in frames} == {80}
    assert frames == facts_of(studies.enhanced())
