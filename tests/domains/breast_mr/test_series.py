"""What an MR image is taken for, and why; what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom import Dataset, uid
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.domains.breast_mr import habits
from node.domains.breast_mr.facts import as_text, from_text
from node.domains.breast_mr.headers import MOST_FRAMES, facts_of
from node.domains.breast_mr.phases import read, series_of
from node.domains.breast_mr.series import SeriesKind, Taken, taken
from node.errors import StudyError

from .studies import SAGITTAL, enhanced, facts, image, one_each, stack

SPIN = {"ScanningSequence": "SE", "RepetitionTime": 4000}

TAKEN: list[tuple[dict[str, Any], SeriesKind, str]] = [
    (
        {},
        SeriesKind.T1,
        "T1-weighted: gradient echo, TR 4.5 ms, TE 1.6 ms, flip angle 10 degrees, 3D",
    ),
    ({**SPIN, "EchoTime": 90}, SeriesKind.T2, "T2-weighted: spin echo, TR 4000 ms, TE 90 ms"),
    ({**SPIN, "EchoTime": 12}, SeriesKind.OTHER, "neither T1- nor T2-weighted"),
    (
        {**SPIN, "ScanningSequence": ["SE", "IR"], "EchoTime": 60, "InversionTime": 170},
        SeriesKind.STIR,
        "STIR: inversion recovery, spin echo",
    ),
    ({"DiffusionBValue": 800.0}, SeriesKind.DIFFUSION, "Diffusion b-value of 800 s/mm2"),
    (
        {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "NORM"]},
        SeriesKind.ADC,
        "Image Type says ADC",
    ),
    (
        {"ImageType": ["DERIVED", "PRIMARY", "ADC"], "DiffusionBValue": 800.0},
        SeriesKind.OTHER,
        "contradicts itself: Image Type says ADC, but there is a Diffusion b-value above 0",
    ),
    (
        {"ImageType": ["DERIVED", "SECONDARY", "MODULUS SUBTRACT"]},
        SeriesKind.SUBTRACTION,
        "Image Type says MODULUS SUBTRACT",
    ),
    ({"SeriesDescription": "dyn_SUB"}, SeriesKind.SUBTRACTION, "Series Description says SUB"),
    (
        {"SeriesDescription": "(601/2/1)-(601/1/1)"},
        SeriesKind.SUBTRACTION,
        "Series Description says one image minus another",
    ),
    (
        {"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]},
        SeriesKind.MIP,
        "Image Type says PROJECTION IMAGE",
    ),
    ({"SeriesDescription": "SUB MIP"}, SeriesKind.SUBTRACTION, "Series Description says SUB"),
    ({"SeriesDescription": "MIP"}, SeriesKind.MIP, "Series Description says MIP"),
    (
        {"SeriesDescription": "FAST LOCALISER"},
        SeriesKind.LOCALISER,
        "Series Description says LOCALIZER",
    ),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, SeriesKind.LOCALISER, "LOCALIZER"),
    ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, SeriesKind.REFORMATTED, "Image Type says MPR"),
    ({"SequenceVariant": ["TOF", "SP"]}, SeriesKind.OTHER, "Sequence Variant says time of flight"),
    ({"ScanningSequence": None}, SeriesKind.OTHER, "Scanning Sequence missing"),
    ({"EchoTime": None}, SeriesKind.OTHER, "Echo Time missing"),
    ({"SOPClassUID": uid.CTImageStorage}, SeriesKind.OTHER, "no MR Image"),
    ({"SeriesDescription": "substitute"}, SeriesKind.T1, "T1-weighted"),
]


@pytest.mark.parametrize(("changes", "kind", "reason"), TAKEN)
def test_an_image_is_taken_for_what_it_says(
    changes: dict[str, Any], kind: SeriesKind, reason: str
) -> None:
    (found,) = series_of(facts([image(**changes)]))
    assert found.kind is kind
    assert reason in found.reason


def test_slices_in_several_directions_are_a_localiser() -> None:
    (found,) = series_of(facts([*stack(), *stack(copy=2, ImageOrientationPatient=SAGITTAL)]))
    assert found.kind is SeriesKind.LOCALISER
    assert found.reason.startswith("slices in 2 directions; T1-weighted")


def test_kinds_that_share_a_series_are_listed_apart() -> None:
    mixed = [*stack(), *stack(copy=2, ImageType=["DERIVED", "SECONDARY", "MODULUS SUBTRACT"])]
    assert [(one.kind, one.images) for one in series_of(facts(mixed))] == [
        (SeriesKind.T1, 4),
        (SeriesKind.SUBTRACTION, 4),
    ]


@pytest.mark.parametrize(
    ("changes", "is_suppressed", "by"),
    [
        ({"ScanOptions": ["PFP", "FS"]}, True, "Scan Options"),
        ({"SeriesDescription": "Ax T1 NON FS"}, False, "Series Description"),
        ({"SeriesDescription": "t1_fl3d_dyn_spair"}, True, "Series Description"),
        ({}, None, ""),
    ],
)
def test_fat_suppression_is_known_or_not(
    changes: dict[str, Any], is_suppressed: bool | None, by: str
) -> None:
    (found,) = series_of(facts([image(**changes)]))
    assert (found.fat_suppressed, found.fat_by) == (is_suppressed, by)


def test_an_image_that_was_compressed_with_loss_is_derived_and_may_still_be_of_a_phase() -> None:
    derived: dict[str, Any] = {"ImageType": ["DERIVED", "PRIMARY", "M"]}
    (plain,) = series_of(facts([image(**derived)]))
    (lossy,) = series_of(facts([image(**derived, LossyImageCompression="01")]))
    assert plain.reason.endswith("; derived")
    assert not lossy.reason.endswith("; derived")


# Private attributes


def with_private(creator: str, group: int, element: int, vr: str, value: object) -> Dataset:
    one = image()
    one.private_block(group, creator, create=True).add_new(element, vr, value)
    return one


def test_what_makers_keep_in_private_is_found_under_their_name_only() -> None:
    (found,) = facts_of(with_private("GEMS_ACQU_01", 0x0019, 0x5A, "FL", 90e6))
    assert (found.duration_s, found.duration_by) == (90, "private attribute (0019,xx5A) of GE")
    (found,) = facts_of(with_private("SOMEBODY ELSE", 0x0019, 0x5A, "FL", 90e6))
    assert found.duration_s is None
    (found,) = facts_of(with_private("SIEMENS MR HEADER", 0x0051, 0x0F, "LO", "Breast_18"))
    assert (found.coil, found.coil_by) == (
        "Breast_18",
        "private attribute (0051,xx0F) of Siemens",
    )
    (found,) = facts_of(with_private("GEMS_RELA_01", 0x0021, 0x4F, "SS", 72))
    assert found.locations == 72


def test_an_adc_map_of_siemens_says_privately_what_it_was_made_with() -> None:
    one = with_private("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", 1000)
    one.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]
    (found,) = series_of(facts([one]))
    assert found.kind is SeriesKind.ADC


def test_every_habit_names_its_source() -> None:
    every = (
        *(habits.IMAGE_TYPES, habits.SEQUENCE_NAMES, habits.SERIES_WORDS, habits.PHASE_WORDS),
        (habits.NO_AGENT,),
        habits.PRIVATE,
    )
    assert all(len(habit.source) > 20 and habit.says for group in every for habit in group)


# What is kept


@pytest.mark.parametrize(
    "one", [image(), image(EchoTime=None), enhanced(administered=("NO", "YES", "YES"))]
)
def test_what_an_object_says_is_kept_as_text_and_read_again(one: Dataset) -> None:
    said = facts_of(one)
    assert from_text(as_text(said)) == said


def test_the_frames_of_an_object_share_what_is_the_same() -> None:
    few, many = (len(as_text(facts_of(enhanced(phases=range(0, n, 90))))) for n in (180, 1800))
    assert (many - few) / (18 * 4) < 200


@pytest.mark.parametrize("text", ["", "[]", "{}", '[{"nobody":1},[{}]]', "[" * 100_000])
def test_what_is_no_such_text_is_refused(text: str) -> None:
    with pytest.raises(StudyError):
        from_text(text)


def test_an_enhanced_object_without_functional_groups_says_why_it_lies_nowhere() -> None:
    one = enhanced()
    del one.PerFrameFunctionalGroupsSequence
    (found,) = facts_of(one)
    assert found.no_plane == "functional groups of 0 frames, but 12 frames"


def test_broken_values_say_nothing_and_raise_nothing() -> None:
    one = image(EchoTime=None)
    one.add_new(0x00080032, "LO", "later")
    one.add_new(0x00080022, "LO", "soon")
    one.add_new(0x00180081, "LO", "short")
    one.add_new(0x00200100, "LO", "first")
    (found,) = facts_of(one)
    assert (found.echo_ms, found.temporal_position, found.acquired_s) == (None, None, None)


def test_a_series_of_thousands_of_slices_is_read_in_a_moment() -> None:
    one = facts([image(TemporalPositionIdentifier=1)])[0]
    many = [
        replace(one, sop_uid=f"1.{z}.{p}", position=(0.0, 0.0, float(z)), temporal_position=p)
        for z in range(500)
        for p in range(8)
    ]
    assert len(read(many).phases) == 8


def test_an_object_of_more_frames_than_are_asked_is_listed_and_its_study_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.domains.breast_mr.headers.MOST_FRAMES", 12)
    assert len(facts_of(enhanced(phases=(0, 90, 180)))) == 12
    large = enhanced(phases=(0, 90, 180, 270))
    (one,) = from_text(as_text(facts_of(large)))
    words = "16 frames in one object, and no more than 12 are read"
    assert taken(one) == Taken(SeriesKind.OTHER, words)
    found = read([*facts(one_each()), one])
    assert found.part.is_breast
    assert (found.phases, found.refusal) == ((), f"series 9: {words}")


@pytest.mark.parametrize("said", [20_000, None, 1])
def test_of_so_many_frames_none_is_asked(said: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    large = enhanced()
    large.NumberOfFrames = said
    large.PerFrameFunctionalGroupsSequence = [Dataset()] * 20_000
    monkeypatch.setattr("node.domains.breast_mr.headers.planes_of", lambda _: 1 / 0)
    monkeypatch.setattr("node.domains.breast_mr.headers._facts", lambda *_: 1 / 0)
    (one,) = facts_of(large)
    assert (
        one.why_not_asked == f"20000 frames in one object, and no more than {MOST_FRAMES} are read"
    )
    assert len(as_text([one])) < 1000


def test_a_number_of_frames_that_no_object_has_is_said_in_short() -> None:
    large = enhanced()
    del large.NumberOfFrames
    large[0x00280008] = RawDataElement(Tag(0x00280008), "IS", 5, b"1e300", 0, False, True)
    (one,) = facts_of(large)
    assert one.why_not_asked.startswith("1e+300 frames")
