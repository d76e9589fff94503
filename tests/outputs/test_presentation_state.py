"""The marks lie where the result says, and the image looks as it does without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from factories import L_CC, R_CC, R_MLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
)

from node.outputs import presentation_state, verbatim
from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from node.result import Point, Region
from node.trial import phantom
from outputs.drafts import (
    as_version_2,
    detected,
    draft,
    graded,
    reread,
    scored,
    segmented,
    with_bytes,
    with_result,
)

EXAM = draft()
FOUND = detected(EXAM)


def states(made: Draft) -> list[Dataset]:
    return [reread(dataset) for dataset in presentation_state.build(made)]


def state(change: Callable[[Dataset], object]) -> Dataset:
    """Return the state of one view of an exam that was changed before it was read."""
    (dataset,) = states(detected(draft([R_CC], change=change)))
    return dataset


def with_attributes(**values: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)

    return change


def lookup_table(first: int = 0, bits: int = 12, vr: str = "US") -> Dataset:
    table = Dataset()
    table.add_new("LUTDescriptor", vr, [16, first, bits])
    table.LUTExplanation = "NORMAL"
    table.add_new("LUTData", "US", list(range(0, 4096, 256)))
    return table


def outlines(dataset: Dataset) -> list[Dataset]:
    return list(dataset.GraphicAnnotationSequence[0].GraphicObjectSequence)


def texts(dataset: Dataset) -> list[Dataset]:
    return list(dataset.GraphicAnnotationSequence[0].TextObjectSequence)


def points(graphic: Dataset) -> list[Point]:
    return [(float(x), float(y)) for x, y in np.reshape(graphic.GraphicData, (-1, 2))]


def referenced(dataset: Dataset) -> str:
    (series,) = dataset.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    return str(image.ReferencedSOPInstanceUID)


def test_there_is_one_for_each_image_with_findings_in_one_series() -> None:
    made = states(FOUND)
    wanted = [finding.region.sop_uid for finding in FOUND.results[0].findings]
    assert [referenced(dataset) for dataset in made] == wanted
    assert [dataset.InstanceNumber for dataset in made] == [1, 2, 3]
    assert {dataset.SeriesInstanceUID for dataset in made} == {made[0].SeriesInstanceUID}
    for dataset in made:
        assert dataset.SOPClassUID == GrayscaleSoftcopyPresentationStateStorage
        assert (dataset.Modality, dataset.SeriesNumber) == ("PR", 9004)
        assert dataset.SeriesDescription == "AI Mass Detector Marks - AI generated"


@pytest.mark.parametrize(
    "made",
    [
        with_result(FOUND, findings=()),
        graded(EXAM),
        scored(EXAM),
        draft(refuse=dict.fromkeys(phantom.EXAM, "the images are For Processing")),
    ],
    ids=["nothing found", "graded", "scored", "not analysed"],
)
def test_without_findings_there_is_none(made: Draft) -> None:
    assert presentation_state.build(made) == []


@pytest.mark.parametrize("made", [FOUND, segmented(EXAM), EXAM], ids=["boxes", "masks", "breasts"])
def test_outlines_are_those_of_the_result(made: Draft) -> None:
    drawn = [(referenced(d), points(outline)) for d in states(made) for outline in outlines(d)]
    found = [(f.region.sop_uid, list(f.region.outline)) for f in made.results[0].findings]
    assert [uid for uid, _ in drawn] == [uid for uid, _ in found]
    for (_, written), (_, said) in zip(drawn, found, strict=True):
        assert np.array_equal(np.asarray(written, np.float32), np.asarray(said, np.float32))
        assert written[0] == written[-1]


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.floats(0, 256, width=32), st.floats(0, 332, width=32)),
        min_size=3,
        max_size=40,
    )
)
def test_coordinates_are_read_back_as_they_were_said(outline: list[Point]) -> None:
    first = FOUND.results[0].findings[0]
    closed = (*outline, outline[0])
    finding = replace(first, region=Region(first.region.sop_uid, closed))
    (dataset,) = states(with_result(FOUND, findings=(finding,)))
    (graphic,) = outlines(dataset)
    assert points(graphic) == list(closed)
    assert graphic.NumberOfGraphicPoints == len(closed)
    assert (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    (text,) = texts(dataset)
    left, top = text.BoundingBoxTopLeftHandCorner
    right, bottom = text.BoundingBoxBottomRightHandCorner
    assert 0 <= left < right <= 256
    assert 0 <= top < bottom <= 332


def test_several_findings_of_an_image_share_its_state() -> None:
    first, *others = FOUND.results[0].findings
    second = replace(first, label="R CC mass 2", lesion="")
    made = states(with_result(FOUND, findings=(first, *others, second)))
    assert len(made) == 3
    assert [t.UnformattedTextValue for t in texts(made[0])] == [
        "AI 1: mass, Probability of cancer 87 %",
        "AI 2: mass, Probability of cancer 87 %",
    ]
    assert len(outlines(made[0])) == 2


def test_the_words_say_what_and_how_sure_and_stand_above_the_outline() -> None:
    made = states(FOUND)
    assert [t.UnformattedTextValue for d in made for t in texts(d)] == [
        "AI 1: mass, Probability of cancer 87 %",
        "AI 2: mass, Probability of cancer 56 %",
        "AI 1: mass, Probability of cancer 91 %",
    ]
    for dataset in made:
        (text,), (outline,) = texts(dataset), outlines(dataset)
        assert text.BoundingBoxAnnotationUnits == text.AnchorPointAnnotationUnits == "PIXEL"
        assert text.BoundingBoxBottomRightHandCorner[1] < min(y for _, y in points(outline))
        assert tuple(text.AnchorPoint) == points(outline)[0]


def test_words_that_find_no_room_above_stand_below() -> None:
    first = FOUND.results[0].findings[0]
    box = ((200.0, 1.0), (250.0, 1.0), (250.0, 30.0), (200.0, 30.0), (200.0, 1.0))
    finding = replace(first, region=Region(first.region.sop_uid, box, is_box=True))
    (dataset,) = states(with_result(FOUND, findings=(finding,)))
    (text,) = texts(dataset)
    assert text.BoundingBoxTopLeftHandCorner[1] > 30
    assert text.BoundingBoxBottomRightHandCorner[0] == 256


def test_references_are_to_the_image_and_its_series() -> None:
    for dataset in states(FOUND):
        instance = FOUND.instance(referenced(dataset))
        (series,) = dataset.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == instance.series_uid
        (annotation,) = dataset.GraphicAnnotationSequence
        for item in (*series.ReferencedImageSequence, *annotation.ReferencedImageSequence):
            assert item.ReferencedSOPInstanceUID == instance.sop_uid
            assert item.ReferencedSOPClassUID == instance.sop_class
        assert instance.view is not None
        assert dataset.ImageLaterality == str(instance.view.laterality)


def test_the_whole_image_is_displayed() -> None:
    (area,) = states(FOUND)[0].DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [256, 332]
    assert area.PresentationSizeMode == "SCALE TO FIT"
    assert list(area.PresentationPixelAspectRatio) == [1, 1]


@pytest.mark.parametrize(
    ("said", "ratio"),
    [
        ({"ImagerPixelSpacing": ["0.2", "0.1"]}, [2, 1]),
        ({"PixelSpacing": ["0.1", "0.15"]}, [2, 3]),
        ({"PixelAspectRatio": ["4", "3"]}, [4, 3]),
        ({"PixelAspectRatio": ["0", "3"]}, [1, 1]),
    ],
)
def test_pixels_keep_their_shape(said: dict[str, list[str]], ratio: list[int]) -> None:
    def change(dataset: Dataset) -> None:
        without("ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio")(dataset)
        with_attributes(**said)(dataset)

    (area,) = state(change).DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == ratio


def test_of_several_windows_the_first_is_taken_as_it_is_written() -> None:
    dataset = state(
        with_attributes(
            WindowCenter=["+2000.50", "100"],
            WindowWidth=["4.0E3", "200"],
            WindowCenterWidthExplanation=["A", "B"],
            VOILUTFunction="SIGMOID",
        )
    )
    (voi,) = dataset.SoftcopyVOILUTSequence
    assert verbatim.plain(voi, "WindowCenter") == "+2000.50"
    assert verbatim.plain(voi, "WindowWidth") == "4.0E3"
    assert voi.VOILUTFunction == "SIGMOID"


@pytest.mark.parametrize(
    "values",
    [
        {"WindowCenter": b"", "WindowWidth": b"4000"},
        {"WindowCenter": b"2000", "WindowWidth": b"0 "},
        {"WindowCenter": b"2,000", "WindowWidth": b"4000"},
        {"WindowCenter": b"2000", "WindowWidth": b"1E999 "},
    ],
)
def test_a_window_that_is_none_is_left_out(values: dict[str, bytes]) -> None:
    (dataset,) = states(with_bytes(detected(draft([R_CC])), **values))
    assert "SoftcopyVOILUTSequence" not in dataset


def test_what_is_read_otherwise_than_it_is_written_is_written_as_it_is_read() -> None:
    made = with_bytes(
        detected(draft([R_CC])),
        WindowCenter=b"2000,5",
        WindowWidth=b"4000\0",
        VOILUTFunction=b"linear exact",
        RescaleSlope=b"1,5 ",
        RescaleIntercept=b"0 ",
    )
    (dataset,) = states(made)
    voi = dataset.SoftcopyVOILUTSequence[0]
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (2000.5, 4000, "LINEAR_EXACT")
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1.5, 0)


def test_an_overlong_number_is_shortened_not_lost() -> None:
    made = with_bytes(
        detected(draft([R_CC])), WindowCenter=b"2047.500000000000000", WindowWidth=b"4096"
    )
    (dataset,) = states(made)
    assert verbatim.plain(dataset.SoftcopyVOILUTSequence[0], "WindowCenter") == "2047.5"


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_lookup_table_goes_before_the_window_in_whatever_encoding(syntax: UID, vr: str) -> None:
    numbers = np.arange(0, 4096, 256)

    def change(dataset: Dataset) -> None:
        table = lookup_table()
        if vr == "OW":
            order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
            table.add_new("LUTData", "OW", numbers.astype(order).tobytes())
        dataset.VOILUTSequence = [table, lookup_table(bits=8)]
        dataset.file_meta.TransferSyntaxUID = syntax

    (voi,) = state(change).SoftcopyVOILUTSequence
    (written,) = voi.VOILUTSequence
    assert "WindowCenter" not in voi
    assert list(written.LUTDescriptor) == [16, 0, 12]
    assert written.LUTExplanation == "NORMAL"
    assert np.array_equal(np.frombuffer(written.LUTData, "<u2"), numbers)


def test_a_table_of_65536_words_has_room() -> None:
    def change(dataset: Dataset) -> None:
        table = lookup_table(bits=16)
        table.LUTDescriptor = [0, 0, 16]
        table.add_new("LUTData", "OW", np.arange(65536, dtype="<u2").tobytes())
        dataset.VOILUTSequence = [table]

    (written,) = state(change).SoftcopyVOILUTSequence[0].VOILUTSequence
    assert np.array_equal(np.frombuffer(written.LUTData, "<u2"), np.arange(65536))


def test_a_table_that_begins_below_zero_stays_signed() -> None:
    change = with_attributes(VOILUTSequence=[lookup_table(first=-8, vr="SS")])
    (written,) = state(change).SoftcopyVOILUTSequence[0].VOILUTSequence
    assert list(written.LUTDescriptor) == [16, -8, 12]


def test_the_rescale_is_repeated() -> None:
    dataset = state(with_attributes(RescaleSlope="2.50", RescaleIntercept="-8", RescaleType="OD"))
    assert verbatim.plain(dataset, "RescaleSlope") == "2.50"
    assert (dataset.RescaleIntercept, dataset.RescaleType) == (-8, "OD")
    untyped = state(with_attributes(RescaleSlope="2", RescaleIntercept="0", RescaleType=""))
    assert untyped.RescaleType == "US"
    assert "RescaleSlope" not in state(without("RescaleSlope"))


def test_the_modality_lookup_table_is_repeated() -> None:
    table = lookup_table(bits=16)
    table.ModalityLUTType = "OD"
    dataset = state(with_attributes(ModalityLUTSequence=[table], RescaleSlope="1"))
    assert dataset.ModalityLUTSequence[0].ModalityLUTType == "OD"
    assert "RescaleSlope" not in dataset


def test_what_a_shutter_covers_stays_covered() -> None:
    dataset = state(
        with_attributes(
            ShutterShape="RECTANGULAR",
            ShutterLeftVerticalEdge="2",
            ShutterRightVerticalEdge="200",
            ShutterUpperHorizontalEdge="3",
            ShutterLowerHorizontalEdge="300",
        )
    )
    assert (dataset.ShutterShape, dataset.ShutterPresentationValue) == ("RECTANGULAR", 0)
    assert dataset.ShutterRightVerticalEdge == 200
    assert "ShutterShape" not in state(with_attributes(ShutterShape="BITMAP"))
    assert "ShutterPresentationValue" not in states(FOUND)[0]


@pytest.mark.parametrize(
    ("photometric", "shapes"),
    [("MONOCHROME2", ["IDENTITY"]), ("MONOCHROME1", ["INVERSE"]), ("RGB", [])],
)
def test_negatives_are_inverted_and_colours_left_out(photometric: str, shapes: list[str]) -> None:
    change = with_attributes(PhotometricInterpretation=photometric)
    made = states(detected(draft([R_CC], change=change)))
    assert [dataset.PresentationLUTShape for dataset in made] == shapes


def test_it_says_whose_marks_they_are_and_what_they_are_worth() -> None:
    dataset = states(FOUND)[0]
    assert dataset.ContentLabel == "AI_RESULT"
    assert dataset.ContentDescription == "Mass Detector 1.0.0, AI generated, not verified"
    assert dataset.ContentCreatorName == "Mass Detector^AI"
    assert dataset.ContentQualification == "RESEARCH"
    (layer,) = dataset.GraphicLayerSequence
    assert layer.GraphicLayerDescription == "Mass Detector 1.0.0, AI generated, not verified"
    assert layer.GraphicLayer == dataset.GraphicAnnotationSequence[0].GraphicLayer
    assert (dataset.PresentationCreationDate, dataset.PresentationCreationTime) == (
        "20260310",
        "094207",
    )


def test_a_long_title_gives_way_to_the_warning() -> None:
    model = replace(FOUND.results[0].model, title="Détecteur ^=\\ " * 20, version="12.0.0")
    (dataset, *_) = states(with_result(FOUND, model=model))
    for words in (
        dataset.ContentDescription,
        dataset.GraphicLayerSequence[0].GraphicLayerDescription,
    ):
        assert words.startswith("Detecteur")
        assert words.endswith(" 12.0.0, AI generated, not verified")
        assert len(words) <= 64
    assert len(str(dataset.ContentCreatorName)) <= 64
    assert str(dataset.ContentCreatorName).count("^") == 1


def test_version_2_says_so_in_the_same_series() -> None:
    made = as_version_2(detected(draft(refuse={R_MLO: "the view is magnified"})))
    first, *others = states(made)
    before = states(FOUND)[0]
    assert first.ContentDescription == "AI, not verified. Version 2, replaces that of 08:42"
    assert [first.InstanceNumber, *(d.InstanceNumber for d in others)] == [1001, 1002]
    assert first.SeriesInstanceUID == before.SeriesInstanceUID
    assert first.SOPInstanceUID != before.SOPInstanceUID


def test_the_longest_words_of_a_version_fit() -> None:
    long_ago = FOUND.version.decided_at.replace(year=2025)
    version = replace(FOUND.version, number=999, replaces=long_ago)
    dataset = states(replace(FOUND, version=version))[0]
    assert dataset.ContentDescription.endswith("replaces that of 2025-03-10 09:42")


def test_each_model_has_a_series_and_a_colour_of_its_own() -> None:
    made = states(replace(FOUND, results=(FOUND.results[0], EXAM.results[0])))
    assert len(made) == 3 + 4
    assert len({dataset.SOPInstanceUID for dataset in made}) == 7
    assert len({dataset.SeriesInstanceUID for dataset in made}) == 2
    colours = {
        tuple(dataset.GraphicLayerSequence[0].GraphicLayerRecommendedDisplayCIELabValue)
        for dataset in made
    }
    assert len(colours) == 2
    assert texts(made[3])[0].UnformattedTextValue.startswith("AI: outline, ")


def test_the_same_draft_gives_the_same_bytes() -> None:
    first, second = ([to_bytes(d) for d in presentation_state.build(FOUND)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO_IR 100", "Müller^Jürgen".encode("latin-1")),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    ],
    ids=["Latin-1", "Korean"],
)
def test_names_are_written_as_the_bytes_they_came_in(charset: bytes, name: bytes) -> None:
    made = with_bytes(detected(draft([L_CC])), SpecificCharacterSet=charset, PatientName=name)
    (dataset,) = states(made)
    assert verbatim.value_bytes(dataset, "SpecificCharacterSet") == charset
    assert verbatim.value_bytes(dataset, "PatientName") == name
    assert texts(dataset)[0].UnformattedTextValue == "AI: mass, Probability of cancer 56 %"


def test_the_request_comes_along() -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    dataset = state(with_attributes(RequestAttributesSequence=[request]))
    assert dataset.RequestAttributesSequence[0].RequestedProcedureID == "RP1"
