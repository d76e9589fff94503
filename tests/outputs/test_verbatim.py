"""Whatever stands in a source, it is copied as it came or left out: building never raises."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from examples import examples
from factories import R_CC
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.sequence import Sequence

from node.errors import Held
from node.outputs import header, provenance, sr_document, verbatim
from node.outputs.case import Draft
from outputs.drafts import draft, report_set, reread

Change = tuple[str, str | None, "bytes | list[Change]"]
"""A keyword, the VR it is declared to be of, and its value: bytes, or elements of an item."""

READ = (
    *header.COPIED,
    *header.ACQUISITION_EQUIPMENT,
    *sr_document.REQUEST_TEXTS,
    *provenance.LOSSY,
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "RequestAttributesSequence",
    "RequestedProcedureCodeSequence",
    "ViewCodeSequence",
    "ViewModifierCodeSequence",
    "AnatomicRegionSequence",
    "PatientOrientation",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "Modality",
    "SmallestImagePixelValue",  # US or SS
    "Rows",
)
VRS = (None, "UN", "LO", "SH", "PN", "CS", "UI", "DS", "SQ", "US", "FD", "AT", "OB", "OW", "ZZ")

pytestmark = pytest.mark.filterwarnings("ignore")


def put(dataset: Dataset, changes: Iterable[Change]) -> None:
    """Set elements as a parser leaves them that believes what is declared."""
    for keyword, vr, value in changes:
        tag = verbatim.tag_of(keyword)
        if isinstance(value, bytes):
            dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        else:
            item = Dataset()
            put(item, value)
            dataset[tag] = DataElement(tag, "SQ", Sequence([item]))


def draft_with(changes: Iterable[Change]) -> Draft:
    made = draft([R_CC])
    for source in made.headers.values():
        put(source, changes)
    return made


def built(*changes: Change) -> list[Dataset]:
    """Return the report set as a reader gets it, every element decoded."""
    datasets = [reread(dataset) for dataset in report_set(draft_with(changes))]
    for dataset in datasets:
        for element in dataset.iterall():
            assert element.value is not NotImplemented
    return datasets


KEYWORDS, DECLARED = st.sampled_from(READ), st.sampled_from(VRS)
VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"", b"\0", b"ISO_IR\x00100", b"ISO_IR 192", b"a\\b", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"]
)
ELEMENTS = st.tuples(KEYWORDS, DECLARED, VALUES)
CHANGES = st.lists(
    ELEMENTS | st.tuples(KEYWORDS, st.just("SQ"), st.lists(ELEMENTS, max_size=4)),
    min_size=1,
    max_size=25,
)


# Shrinking would build hundreds of report sets.
@settings(
    max_examples=examples(12),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(CHANGES)
def test_no_header_makes_building_raise(changes: list[Change]) -> None:
    try:
        datasets = built(*changes)
    except Held:
        return
    assert len(datasets) == 3


@pytest.mark.parametrize(("vr", "value"), [("UN", b"a\\b"), ("FD", b"1"), ("LO", b""), ("SQ", [])])
def test_a_result_about_an_image_whose_size_cannot_be_read_is_held(
    vr: str, value: bytes | list[Change]
) -> None:
    with pytest.raises(Held, match="an image without a size"):
        built(("Rows", vr, value))


@pytest.mark.parametrize(
    ("vr", "value"),
    [("CS", b"ISO_IR\x00100"), ("FD", b"12345678"), ("US", b"12"), ("SQ", b""), ("ZZ", b"\xff\0a")],
)
def test_a_character_set_that_cannot_be_read_is_left_out(vr: str, value: bytes) -> None:
    for dataset in built(("SpecificCharacterSet", vr, value), ("PatientName", "PN", b"M\xfcller")):
        assert "SpecificCharacterSet" not in dataset
        assert verbatim.value_bytes(dataset, "PatientName") == b"M\xfcller"


def test_a_character_set_of_an_unknown_vr_is_taken_as_what_it_says() -> None:
    for dataset in built(("SpecificCharacterSet", "LO", b"ISO_IR 100")):
        assert dataset.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize("keyword", ["RequestAttributesSequence", "ProcedureCodeSequence"])
@pytest.mark.parametrize("vr", ["LO", "ZZ", "US"])
def test_a_sequence_declared_to_be_none_is_left_out(keyword: str, vr: str) -> None:
    report, *captures = built((keyword, vr, b"text"), ("ViewCodeSequence", vr, b"text"))
    for dataset in (report, *captures):
        assert keyword not in dataset
        assert "ViewCodeSequence" not in dataset
    assert "ReferencedRequestSequence" not in report


@pytest.mark.parametrize("vr", ["US", "ZZ", "LT", None])
def test_text_of_a_wrong_vr_is_written_with_the_right_one(vr: str | None) -> None:
    for dataset in built(("PatientID", vr, b"4711"), ("Manufacturer", vr, b"")):
        assert dataset.PatientID == "4711"
        assert dataset["PatientID"].VR == "LO"
        assert dataset.ContributingEquipmentSequence[0].Manufacturer == "UNKNOWN"


def test_text_declared_to_be_a_sequence_counts_as_absent() -> None:
    for dataset in built(("PatientComments", "SQ", b"x"), ("StudyID", "SQ", [])):
        assert dataset.StudyID == ""


def test_sequences_nested_without_end_are_left_out() -> None:
    nested: list[Change] = []
    for _ in range(40):
        nested = [("RequestAttributesSequence", "SQ", nested)]
    report, *_ = built(*nested)
    depth, inner = 0, report
    while inner.get("RequestAttributesSequence"):
        depth, inner = depth + 1, inner.RequestAttributesSequence[0]
    assert depth <= verbatim.DEEPEST
