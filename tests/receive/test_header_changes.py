"""Which attributes differ when an instance comes again: too many rather than one too few."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factories
import pytest
from examples import examples
from factories import R_CC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom.header import DEFER_BYTES, read_header
from node.errors import Unreadable
from node.imaging.source import KEYWORDS_READ
from node.outputs.header import COPIED
from node.receive.header_changes import NOT_COMPARED, changed_attributes, header_digest

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def mammogram() -> Dataset:
    dataset = factories.exam(views=[R_CC])[0]
    del dataset.PixelData
    dataset.RequestAttributesSequence = [Dataset()]
    dataset.RequestAttributesSequence[0].RequestedProcedureID = "RP1"
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [3, 0, 12])
    lut.add_new("LUTData", "OW", b"\1\0\2\0\3\0")
    dataset.VOILUTSequence = [lut]
    return dataset


def header(dataset: Dataset, folder: Path, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Return a data set as it is read after it was written in a transfer syntax."""
    written = copy.deepcopy(dataset)
    if syntax == ExplicitVRBigEndian and "VOILUTSequence" in written:
        words = written.VOILUTSequence[0].LUTData
        written.VOILUTSequence[0].LUTData = bytes(
            byte for pair in zip(words[1::2], words[::2], strict=True) for byte in pair
        )
    written.file_meta.TransferSyntaxUID = UID(syntax)
    number = len(list(folder.iterdir()))
    written.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return read_header(folder / f"{number}.dcm")


def edited(change: Callable[[Dataset], Any]) -> Dataset:
    dataset = mammogram()
    change(dataset)
    return dataset


def changes(folder: Path, **values: Any) -> tuple[str, ...]:
    """Return what changes when attributes get other values."""

    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return changed_attributes(header(mammogram(), folder), header(edited(change), folder))


@pytest.mark.parametrize("after", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("before", SYNTAXES, ids=lambda syntax: syntax.name)
def test_another_encoding_changes_nothing(before: UID, after: UID, tmp_path: Path) -> None:
    one, other = header(mammogram(), tmp_path, before), header(mammogram(), tmp_path, after)
    assert changed_attributes(one, other) == ()


def test_a_corrected_patient_is_named_attribute_by_attribute(tmp_path: Path) -> None:
    found = changes(tmp_path, PatientName="Smith^Ann", PatientID="4711", StudyDescription="new")
    assert found == ("Study Description", "Patient's Name", "Patient ID")
    assert "Smith" not in str(found)


@pytest.mark.parametrize("keyword", sorted({*COPIED, *KEYWORDS_READ} - {"StudyInstanceUID"}))
def test_whatever_a_result_copies_or_an_image_is_made_of_is_compared(
    keyword: str, tmp_path: Path
) -> None:
    packing = ("SpecificCharacterSet", "BitsAllocated", "HighBit", "PlanarConfiguration")
    if keyword in packing or keyword in ("LUTDescriptor", "LUTData"):
        return
    tag = Tag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag)
    item = Dataset()
    item.CodeMeaning = "changed"
    value: Any = {"SQ": [item], "DA": "19010203", "AS": "099Y", "TM": "000001"}.get(vr, "7")
    value = 7 if vr.startswith("US") else value

    def change(dataset: Dataset) -> None:
        dataset[tag] = DataElement(tag, "US" if vr.startswith("US") else vr, value)

    after = header(edited(change), tmp_path)
    assert changed_attributes(header(mammogram(), tmp_path), after) == (
        dictionary_description(tag),
    )


def test_what_is_inside_a_sequence_changes_the_sequence(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.RequestAttributesSequence[0].RequestedProcedureID = "RP2"
        dataset.VOILUTSequence[0].LUTData = b"\1\0\2\0\4\0"
        dataset.ViewCodeSequence.append(Dataset())

    assert changed_attributes(header(mammogram(), tmp_path), header(edited(change), tmp_path)) == (
        "VOI LUT Sequence",
        "Request Attributes Sequence",
        "View Code Sequence",
    )


def test_the_side_of_a_lossy_compression_is_seen(tmp_path: Path) -> None:
    assert changes(tmp_path, LossyImageCompression="01") == ("Lossy Image Compression",)


def test_what_an_archive_notes_down_changes_nothing(tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.add_new(0x00080000, "UL", 500)
        dataset.add_new(0x00090010, "LO", "ARCHIVE")
        dataset.add_new(0x00091001, "LO", "private")
        dataset.RequestAttributesSequence[0].add_new(0x00090010, "LO", "ARCHIVE")
        for keywords in NOT_COMPARED.values():
            for keyword in keywords:
                if keyword != "SpecificCharacterSet" and keyword not in dataset:
                    vr = dictionary_VR(keyword)
                    values = {"SQ": [Dataset()], "IS": 7, "US": 7, "DA": "19000101"}
                    values |= {"DT": "19000101", "TM": "000000", "UI": "1.2", "UR": "http://x"}
                    dataset.add_new(keyword, vr, values.get(vr, "X"))
        dataset.InstanceCreationDate, dataset.RetrieveAETitle = "20260101", "PACS"

    after = header(edited(change), tmp_path)
    assert changed_attributes(header(mammogram(), tmp_path), after) == ()


def test_every_attribute_of_the_table_exists() -> None:
    for keywords in NOT_COMPARED.values():
        assert all(tag_for_keyword(keyword) is not None for keyword in keywords)
    assert not {*COPIED} & {keyword for keywords in NOT_COMPARED.values() for keyword in keywords}


def test_an_empty_attribute_is_as_good_as_none_but_not_an_empty_sequence(tmp_path: Path) -> None:
    assert (
        changes(tmp_path, InstitutionName="", PatientComments=None, TableTopPitchAngle=None) == ()
    )
    assert changes(tmp_path, BiopsyTargetSequence=[]) == ("Biopsy Target Sequence",)
    assert changes(tmp_path, AccessionNumber="") == ("Accession Number",)


def raw(dataset: Dataset, keyword: str, value: bytes, vr: str | None = None) -> None:
    tag = Tag(tag_for_keyword(keyword) or 0)
    vr = vr or dictionary_VR(tag)
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def named(name: bytes, charset: bytes | None) -> Dataset:
    dataset = Dataset()
    if charset is not None:
        raw(dataset, "SpecificCharacterSet", charset)
    raw(dataset, "PatientName", name)
    return dataset


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Müller^Jürgen", "latin_1", b"ISO_IR 100"), ("Müller^Jürgen", "utf8", b"ISO_IR 192")),
        (("Müller^J", "latin_1", b"ISO_IR 100"), ("Müller^J", "gb18030", b"GB18030")),
        (("Doe^Jane", "ascii", None), ("Doe^Jane", "utf8", b"ISO_IR 192")),
        (("Doe^Jane", "ascii", b"ISO_IR 999"), ("Doe^Jane", "ascii", b"")),
        (("\u0414\u0436", "iso8859_5", b"ISO_IR 144 "), ("\u0414\u0436", "utf8", b"ISO_IR 192")),
        (("Doe^Jane", "ascii", None), ("Doe^Jane^^ ", "ascii", None)),
        (("Doe^Jane", "ascii", None), (" Doe ^Jane=^=", "ascii", None)),
        (("u\u0308", "utf8", b"ISO_IR 192"), ("\u00fc", "utf8", b"ISO_IR 192")),
    ],
)
def test_the_same_name_in_another_character_set_is_the_same(one: Any, other: Any) -> None:
    if other[0].startswith(" Doe ^"):
        one = ("Doe ^Jane", "ascii", None)  # padding inside a component is no padding
    before, after = (named(text.encode(codec), charset) for text, codec, charset in (one, other))
    assert changed_attributes(before, after) == ()


def test_code_extensions_are_text_too() -> None:
    korean = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"
    korean += b"=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    text = "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9"
    before = named(korean, b"\\ISO 2022 IR 149")
    assert changed_attributes(before, named(text.encode(), b"ISO_IR 192")) == ()
    other = text.replace("\u5409", "\u5408")
    assert changed_attributes(before, named(other.encode(), b"ISO_IR 192")) == ("Patient's Name",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"M\xfcller", None), (b"M\xfcller", b"ISO_IR 100")),
        ((b"M\xfcller", b"ISO_IR 100"), (b"M\xfcller", b"ISO_IR 101 x")),
        ((b"M\xfcller", b"ISO_IR 998"), (b"M\xfcller", b"ISO_IR 999")),
        ((b"M\xfcller", b"ISO_IR 192"), (b"M\xf6ller", b"ISO_IR 192")),
        ((b"M\xfcller", b"ISO_IR 100"), (b"M?ller", b"ISO_IR 100")),
        ((b"M\xbfller", b"ISO_IR 100"), (b"M\xbfller", b"ISO_IR 109")),
        ((b"M\xef\xbf\xbdller", b"ISO_IR 192"), (b"M\xffller", b"ISO_IR 192")),
        ((b"A^B", None), (b"A^^B", None)),
        ((b"A^B", None), (b"a^b", None)),
    ],
)
def test_two_names_never_become_one_by_what_cannot_be_decoded(one: Any, other: Any) -> None:
    assert "Patient's Name" in changed_attributes(named(*one), named(*other))


def test_items_have_the_character_set_of_their_object_or_their_own(tmp_path: Path) -> None:
    def described(charset: str, own: str | None = None) -> Dataset:
        dataset = mammogram()
        dataset.SpecificCharacterSet = charset
        dataset.RequestAttributesSequence[0].RequestedProcedureDescription = "Brüste"
        if own:
            dataset.RequestAttributesSequence[0].SpecificCharacterSet = own
        return header(dataset, tmp_path)

    before = described("ISO_IR 100")
    assert changed_attributes(before, described("ISO_IR 192")) == ()
    assert changed_attributes(before, described("ISO_IR 192", "ISO_IR 100")) == ()


def test_a_sequence_under_an_unknown_vr_is_the_same_sequence() -> None:
    code = b"\x08\x00\x00\x01\x04\x00\x00\x00T-D1"
    item = b"\xfe\xff\x00\xe0" + len(code).to_bytes(4, "little") + code
    as_sequence, as_unknown = Dataset(), Dataset()
    inner = Dataset()
    inner.CodeValue = "T-D1"
    as_sequence.ProcedureCodeSequence = [inner]
    raw(as_unknown, "ProcedureCodeSequence", item, "UN")
    assert changed_attributes(as_sequence, as_unknown) == ()
    raw(as_unknown, "ProcedureCodeSequence", item.replace(b"T-D1", b"T-D2"), "UN")
    assert changed_attributes(as_sequence, as_unknown) == ("Procedure Code Sequence",)


def test_what_nobody_can_read_is_compared_as_bytes() -> None:
    def with_sequence(content: bytes) -> Dataset:
        dataset = Dataset()
        raw(dataset, "ProcedureCodeSequence", content)
        return dataset

    broken = b"\xfe\xff\x00\xe0\xff\xff"
    assert changed_attributes(with_sequence(broken), with_sequence(broken)) == ()
    found = changed_attributes(with_sequence(broken), with_sequence(broken + b"\1\1"))
    assert found == ("Procedure Code Sequence",)


def test_unknown_attributes_are_named_by_their_tag() -> None:
    one, other = Dataset(), Dataset()
    for dataset, value in ((one, b"old "), (other, b"new")):
        tag = Tag(0x00101234)
        dataset[tag] = RawDataElement(tag, "UN", len(value), value, 0, False, True)
    assert changed_attributes(one, other) == ("(0010,1234)",)
    assert changed_attributes(one, Dataset()) == ("(0010,1234)",)


def test_long_values_are_read_from_the_file_and_taken_for_changed_without_it(
    tmp_path: Path,
) -> None:
    def with_document(end: bytes, syntax: UID) -> Dataset:
        dataset = mammogram()
        dataset.EncapsulatedDocument = b"x" * (DEFER_BYTES + 2) + end
        return header(dataset, tmp_path, syntax)

    for syntax in SYNTAXES:
        one = with_document(b"ab", syntax)
        assert changed_attributes(one, with_document(b"ab", ExplicitVRLittleEndian)) == ()
        found = changed_attributes(one, with_document(b"ac", ImplicitVRLittleEndian))
        assert found == ("Encapsulated Document",)
    one, other = (with_document(b"ab", ExplicitVRLittleEndian) for _ in range(2))
    for path in tmp_path.iterdir():
        path.unlink()
    assert changed_attributes(one, other) == ("Encapsulated Document",)


def test_the_headers_are_left_as_they_were_read(tmp_path: Path) -> None:
    one, other = header(mammogram(), tmp_path), header(mammogram(), tmp_path)
    before = [type(element) for element in one.values()]
    changed_attributes(one, other)
    assert [type(element) for element in one.values()] == before
    assert before.count(RawDataElement) > 30


def test_a_header_that_somebody_has_looked_into_says_the_same(tmp_path: Path) -> None:
    one, other = header(mammogram(), tmp_path), header(mammogram(), tmp_path)
    assert len(str(other)) > 100  # decodes every element
    assert changed_attributes(one, other) == ()


def test_colours_transformed_by_a_codec_are_the_same_colours() -> None:
    def coloured(interpretation: str) -> Dataset:
        dataset = Dataset()
        dataset.PhotometricInterpretation = interpretation
        return dataset

    assert changed_attributes(coloured("YBR_RCT"), coloured("RGB")) == ()
    found = changed_attributes(coloured("MONOCHROME1"), coloured("MONOCHROME2"))
    assert found == ("Photometric Interpretation",)


def test_deep_nesting_is_taken_for_changed_and_ends() -> None:
    def nested(depth: int) -> Dataset:
        dataset = Dataset()
        for _ in range(depth):
            outer = Dataset()
            outer.ContentSequence = [dataset]
            dataset = outer
        return dataset

    assert changed_attributes(nested(5), nested(5)) == ()
    assert changed_attributes(nested(5), nested(6)) == ("Content Sequence",)
    assert changed_attributes(nested(200), nested(200)) == ("Content Sequence",)


fuzzed = settings(
    max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzed
@given(st.data())
def test_no_header_makes_it_raise(tmp_path: Path, data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES[:3]))
    good = header(mammogram(), tmp_path, syntax)
    content = bytearray(sorted(tmp_path.iterdir())[-1].read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "odd"
    path.write_bytes(bytes(content))
    try:
        odd = read_header(path)
    except Unreadable:
        return
    finally:
        for old in tmp_path.iterdir():
            old.unlink()
    for one, other in ((good, odd), (odd, good), (odd, odd)):
        found = changed_attributes(one, other)
        assert "GENERATED" not in str(found)
        assert have_same_digest(one, other) is (found == ())


texts = st.text(st.characters(codec="latin_1", exclude_characters="\\^=\x1b", min_codepoint=32))


@given(texts, texts, st.sampled_from(["latin_1", "utf8"]), st.sampled_from(["latin_1", "utf8"]))
def test_names_are_the_same_if_and_only_if_they_read_the_same(
    one: str, other: str, first: str, second: str
) -> None:
    terms = {"latin_1": b"ISO_IR 100", "utf8": b"ISO_IR 192"}
    found = changed_attributes(
        named(one.encode(first), terms[first]), named(other.encode(second), terms[second])
    )
    assert (found == ()) is (one.strip(" \0") == other.strip(" \0"))


def have_same_digest(one: Dataset, other: Dataset) -> bool:
    first, second = header_digest(one), header_digest(other)
    return first == second != ""


values = st.one_of(
    st.builds(lambda value: ("PatientName", value), st.sampled_from(["A^B", "A^B^^", "A^C", ""])),
    st.builds(lambda value: ("StudyDescription", value), st.sampled_from(["MG", " MG ", ""])),
    st.builds(lambda value: ("InstanceNumber", value), st.sampled_from(["1", "2"])),
    st.builds(lambda value: ("PixelSpacing", value), st.sampled_from([["1", "1"], ["1", "1.0"]])),
    st.builds(lambda value: ("BitsAllocated", value), st.sampled_from([8, 16])),
    st.builds(lambda value: ("Rows", value), st.sampled_from([8, 16])),
    st.just(("ViewCodeSequence", [])),
    st.just(("DerivationCodeSequence", [Dataset()])),
)
headers = st.lists(values, max_size=5).map(dict)


@fuzzed
@given(headers, headers, st.sampled_from(SYNTAXES[:2]), st.sampled_from(SYNTAXES[:2]))
def test_digests_are_equal_if_and_only_if_nothing_that_may_matter_differs(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], first: UID, second: UID
) -> None:
    def with_values(values: dict[str, Any], syntax: UID) -> Dataset:
        dataset = mammogram()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return header(dataset, tmp_path, syntax)

    before, after = with_values(one, first), with_values(other, second)
    assert have_same_digest(before, after) is (changed_attributes(before, after) == ())


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_digest_is_that_of_every_encoding_and_of_the_file(syntax: UID, tmp_path: Path) -> None:
    one, other = header(mammogram(), tmp_path), header(mammogram(), tmp_path, syntax)
    assert have_same_digest(one, other)
    assert header_digest(sorted(tmp_path.iterdir())[-1]) == header_digest(one)


def test_a_digest_that_was_kept_is_the_same_in_every_release() -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "M\u00fcller^Eva"
    dataset.Rows = 16
    dataset.StudyDescription = ""
    dataset.RequestAttributesSequence = [Dataset()]
    dataset.RequestAttributesSequence[0].RequestedProcedureID = "RP1"
    kept = "1:b789364b01be8570a7f6d7f20c39731f5f4575199ebbf7ae35dea49ee808d471"
    assert header_digest(dataset) == kept, "raise _DIGEST_FORM, if it must be another"


def test_what_nobody_can_compare_has_a_digest_that_equals_nothing(tmp_path: Path) -> None:
    deep = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.ContentSequence = [deep]
        deep = outer
    assert header_digest(deep) == ""
    lost = mammogram()
    lost.EncapsulatedDocument = b"x" * (DEFER_BYTES + 2)
    without_file = header(lost, tmp_path)
    sorted(tmp_path.iterdir())[-1].unlink()
    assert header_digest(without_file) == ""
