"""What an object's elements, items and sequences say of where they end is believed, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import factories
import odd_structure as odd
import pytest
from factories import R_CC
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom import structure
from node.dicom.header import read_header
from node.dicom.part10 import structure_of
from node.dicom.structure import Order, Structure, structure_between
from node.dicom.untrusted import items
from node.domains.contradictions import why_contradictory
from node.errors import Unreadable
from node.identity import identity_of
from node.store import dataset_digest
from node.trial import phantom

Maker = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def mammogram(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    [path] = factories.saved_exam(tmp_path_factory.mktemp("exam"), views=[R_CC])
    return path.read_bytes()


def header_of(content: bytes, folder: Path) -> Dataset:
    path = folder / "object.dcm"
    path.write_bytes(content)
    return read_header(path)


# 1: what is damaged


@pytest.mark.parametrize("make", odd.DAMAGED)
def test_what_ends_elsewhere_than_it_says_is_damaged(
    make: Maker, mammogram: bytes, tmp_path: Path
) -> None:
    words = r"is damaged: |outside of a sequence|not a well-formed|ends early|in the middle of an"
    with pytest.raises(Unreadable, match=words):
        header_of(make(mammogram), tmp_path)


def test_the_reason_names_the_sequence_and_what_is_wrong_with_it(
    mammogram: bytes, tmp_path: Path
) -> None:
    with pytest.raises(Unreadable) as caught:
        header_of(odd.sequence_that_covers_the_name(mammogram), tmp_path)
    assert str(caught.value) == (
        "Procedure Code Sequence (0008,1032) is damaged: something else than its items lies in it"
    )


@pytest.mark.parametrize("make", odd.READABLE)
def test_what_has_one_reading_is_read(make: Maker, mammogram: bytes, tmp_path: Path) -> None:
    header = header_of(make(mammogram), tmp_path)
    assert (header.PatientName, header.PatientID) == ("GENERATED^MAMMOGRAM", "GENERATED-1")
    assert structure_of(header) == Structure()
    for code in items(header, "ProcedureCodeSequence"):
        assert code.get("CodeValue", "4711") == "4711"


def with_a_sequence(syntax: str, folder: Path) -> tuple[bytes, int]:
    """Return an object with a sequence before the name, and where its length stands."""
    [dataset] = factories.exam(views=[R_CC])
    dataset.ProcedureCodeSequence = [phantom.code("4711", "L", "Something")]
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(folder / "whole.dcm", enforce_file_format=True)
    content = (folder / "whole.dcm").read_bytes()
    if syntax == DeflatedExplicitVRLittleEndian:
        at = odd.data_set_at(content)
        content = content[:at] + zlib.decompress(content[at:], -zlib.MAX_WBITS)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    tag = struct.pack(f"{order}HH", 0x0008, 0x1032)
    return content, content.index(tag, 300) + (4 if syntax == ImplicitVRLittleEndian else 8)


@pytest.mark.parametrize(
    "syntax",
    [
        *(ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        *(ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    ],
)
def test_a_wrong_length_is_noticed_in_every_transfer_syntax(syntax: str, tmp_path: Path) -> None:
    content, at = with_a_sequence(syntax, tmp_path)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    (length,) = struct.unpack_from(f"{order}L", content, at)

    def encoded(stated: int) -> bytes:
        changed = content[:at] + struct.pack(f"{order}L", stated) + content[at + 4 :]
        if syntax != DeflatedExplicitVRLittleEndian:
            return changed
        begins = odd.data_set_at(changed)
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return changed[:begins] + deflate.compress(changed[begins:]) + deflate.flush()

    header = header_of(encoded(length), tmp_path)
    assert header.ProcedureCodeSequence[0].CodeValue == "4711"
    for wrong in (length - 8, length - 2, length + 8, length + 28):
        with pytest.raises(Unreadable, match="Procedure Code Sequence"):
            header_of(encoded(wrong), tmp_path)


def test_a_long_value_that_is_cut_short_is_noticed(mammogram: bytes, tmp_path: Path) -> None:
    begins, _ = odd.place_of(mammogram, odd.PIXEL_DATA)
    long_value = odd.element(0x00420011, b"OB", bytes(100_000))  # pydicom leaves it on disk
    with pytest.raises(Unreadable, match="ends in the middle of an attribute"):
        header_of(mammogram[:begins] + long_value[:-1], tmp_path)
    assert header_of(mammogram[:begins] + long_value, tmp_path)


def test_sequences_in_one_another_have_an_end(mammogram: bytes, tmp_path: Path) -> None:
    def nested(depth: int) -> bytes:
        inner = b""
        for _ in range(depth):
            inner = odd.element(0x0040A730, b"SQ", odd.item(inner))
        return odd.before(mammogram, odd.PATIENT_NAME, inner)

    assert header_of(nested(structure.DEEPEST_SEQUENCE), tmp_path)
    with pytest.raises(Unreadable, match="in one another more than 64 deep"):
        header_of(nested(structure.DEEPEST_SEQUENCE + 1), tmp_path)


def test_what_would_take_the_memory_of_the_node_is_refused(
    mammogram: bytes, tmp_path: Path
) -> None:
    many = b"".join(odd.element(0x10000000 + n, b"UL", b"") for n in range(1, 1 << 16))
    whole = odd.element(0x0040A730, b"SQ", odd.item(many))
    assert header_of(odd.before(mammogram, odd.PATIENT_NAME, whole), tmp_path)
    too_many = odd.element(
        0x0040A730,
        b"SQ",
        odd.item(many + b"".join(odd.element(tag, b"UL", b"") for tag in (0x20000000, 0x20000001))),
    )
    with pytest.raises(Unreadable, match="more than 65536 attributes in one place"):
        header_of(odd.before(mammogram, odd.PATIENT_NAME, too_many), tmp_path)
    in_all = odd.element(0x0040A730, b"SQ", 33 * odd.item(many))
    with pytest.raises(Unreadable, match="more than 2097152 attributes"):
        header_of(odd.before(mammogram, odd.PATIENT_NAME, in_all), tmp_path)


def test_what_is_there_many_times_is_named_once(mammogram: bytes, tmp_path: Path) -> None:
    long_value = odd.element(0x00420011, b"OB", bytes(60_000))
    many = odd.before(
        mammogram, odd.PIXEL_DATA, long_value + 60_000 * odd.element(0x00420011, b"OB", b"")
    )
    assert structure_of(header_of(many, tmp_path)).twice == ((0x00420011,),)


CODES = st.builds(
    phantom.code, st.from_regex(r"[0-9]{1,16}", fullmatch=True), st.just("L"), st.just("Word")
)


@st.composite
def nested_items(draw: st.DrawFn, depth: int = 3) -> Dataset:
    """Draw an item, of sequences that each are of stated or undefined length."""
    made = draw(CODES)
    for keyword in ("PurposeOfReferenceCodeSequence", "ReferencedImageSequence"):
        if depth and draw(st.booleans()):
            inner = Sequence(draw(st.lists(nested_items(depth=depth - 1), max_size=2)))
            for one in inner:
                one.is_undefined_length_sequence_item = draw(st.booleans())
            setattr(made, keyword, inner)
            made[keyword].is_undefined_length = draw(st.booleans())
            made[keyword].value.is_undefined_length = made[keyword].is_undefined_length
    return made


ENCODINGS = st.sampled_from([(True, True), (False, True), (False, False)])


@given(made=nested_items(), encoding=ENCODINGS)
def test_whatever_pydicom_writes_is_whole(made: Dataset, encoding: tuple[bool, bool]) -> None:
    content = encoded(made, *encoding)
    order = Order(is_little_endian=encoding[1])
    found = structure_between(io.BytesIO(content), 0, len(content), order, is_implicit=encoding[0])
    assert found == Structure()


@given(made=nested_items(), encoding=ENCODINGS, data=st.data())
def test_bytes_that_are_missing_or_too_many_in_a_sequence_are_noticed(
    made: Dataset, encoding: tuple[bool, bool], data: st.DataObject
) -> None:
    is_implicit, is_little = encoding
    outer = Dataset()
    outer.ProcedureCodeSequence = [made]
    outer.PatientID = "4711"
    content = bytearray(encoded(outer, *encoding))
    at = 4 if is_implicit else 8
    order = "<" if is_little else ">"
    (length,) = struct.unpack_from(f"{order}L", content, at)
    by = data.draw(st.integers(-length + 4, len(content) - length - at - 4).filter(bool))
    struct.pack_into(f"{order}L", content, at, length + by)
    with pytest.raises(Unreadable):
        structure_between(
            io.BytesIO(content),
            0,
            len(content),
            Order(is_little_endian=is_little),
            is_implicit=is_implicit,
        )


@given(content=st.binary(max_size=300), encoding=ENCODINGS)
def test_whatever_bytes_there_are_it_answers_or_refuses(
    content: bytes, encoding: tuple[bool, bool]
) -> None:
    order = Order(is_little_endian=encoding[1])
    try:
        structure_between(io.BytesIO(content), 0, len(content), order, is_implicit=encoding[0])
    except Unreadable as error:
        assert str(error)


def encoded(dataset: Dataset, is_implicit: bool, is_little_endian: bool) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = is_implicit, is_little_endian
    write_dataset(stream, dataset)
    return stream.getvalue()


# 3: what is there twice


@pytest.mark.parametrize(
    ("make", "keyword", "words"),
    [
        (odd.two_patient_ids, "PatientID", "states Patient ID twice, with different values"),
        (odd.two_names, "PatientName", "states Patient's Name twice, with different values"),
        (odd.two_study_uids, "StudyInstanceUID", "states Study Instance UID twice, with"),
        (odd.two_lateralities, "ImageLaterality", "states Image Laterality twice, with different"),
        (odd.two_view_codes, "ViewCodeSequence", "states View Code Sequence twice, with different"),
        (odd.two_station_names, "StationName", "states Station Name twice, with different values"),
        (odd.another_patient_id_behind_the_pixels, "PatientID", "states Patient ID twice, with"),
        (odd.another_laterality_behind_the_pixels, "ImageLaterality", "states Image Laterality tw"),
    ],
)
def test_of_two_different_values_the_first_is_taken_as_other_software_does(
    make: Maker, keyword: str, words: str, mammogram: bytes, tmp_path: Path
) -> None:
    whole, header = header_of(mammogram, tmp_path), header_of(make(mammogram), tmp_path)
    assert header[keyword] == whole[keyword]
    tag = frozenset({int(whole[keyword].tag)})
    [said] = structure_of(header).contradictions(tag)
    assert said.startswith(words)


def test_what_is_twice_in_an_item_is_named_with_its_sequence(
    mammogram: bytes, tmp_path: Path
) -> None:
    header = header_of(odd.two_codes_in_the_view(mammogram), tmp_path)
    [said] = structure_of(header).contradictions(frozenset({odd.VIEW_CODES}))
    assert said == "states Code Value of View Code Sequence twice, with different values"


def test_the_same_value_twice_contradicts_nothing(mammogram: bytes, tmp_path: Path) -> None:
    header = header_of(odd.same_patient_id_twice(mammogram), tmp_path)
    assert structure_of(header) == Structure()
    long_value = odd.element(0x00420011, b"OB", bytes(2_000_000))
    twice = odd.before(mammogram, odd.PIXEL_DATA, 2 * long_value)
    assert structure_of(header_of(twice, tmp_path)) == Structure()
    other = odd.element(0x00420011, b"OB", bytes(1_999_998) + b"\0\1")
    both = odd.before(mammogram, odd.PIXEL_DATA, long_value + other)
    assert structure_of(header_of(both, tmp_path)).twice == ((0x00420011,),)


@pytest.mark.parametrize(("one", "other"), [(0, 8192), (32, 0), (0x2020, 0)])
def test_numbers_are_not_the_same_for_bytes_that_pad_a_text(
    one: int, other: int, mammogram: bytes, tmp_path: Path
) -> None:
    tag = 0x00280120
    both = b"".join(odd.element(tag, b"US", struct.pack("<H", value)) for value in (one, other))
    header = header_of(odd.before(mammogram, odd.PIXEL_DATA, both), tmp_path)
    assert structure_of(header).twice == ((tag,),)
    assert header.PixelPaddingValue == one


def test_pixel_data_that_is_there_twice_is_noticed(mammogram: bytes, tmp_path: Path) -> None:
    header = header_of(odd.two_pixel_data(mammogram), tmp_path)
    assert why_contradictory(header) == "states Pixel Data twice, with different values"
    assert "PixelData" not in header


def test_what_stands_behind_the_pixel_data_alone_is_read(mammogram: bytes, tmp_path: Path) -> None:
    whole = header_of(mammogram, tmp_path)
    header = header_of(odd.patient_id_behind_the_pixels(mammogram), tmp_path)
    assert header["PatientID"] == whole["PatientID"]
    assert identity_of(header) == identity_of(whole)
    assert why_contradictory(header) == ""


def test_no_image_is_judged_by_what_stands_behind_its_pixel_data(
    mammogram: bytes, tmp_path: Path
) -> None:
    header = header_of(odd.implant_behind_the_pixels(mammogram), tmp_path)
    assert header.BreastImplantPresent == "NO"
    assert why_contradictory(header) == "states Breast Implant Present behind the pixel data"


def test_fragments_that_end_where_they_say_are_whole(mammogram: bytes, tmp_path: Path) -> None:
    assert structure_of(header_of(odd.in_one_fragment(mammogram), tmp_path)) == Structure()
    behind = odd.in_one_fragment(mammogram) + odd.element(odd.PATIENT_ID, b"LO", b"ELSE")
    assert structure_of(header_of(behind, tmp_path)).twice == ((odd.PATIENT_ID,),)


def test_the_end_of_a_deflated_object_is_looked_at_too(mammogram: bytes, tmp_path: Path) -> None:
    def deflated(content: bytes) -> bytes:
        named = odd.with_syntax(content, DeflatedExplicitVRLittleEndian.encode() + b"\0")
        begins = odd.data_set_at(named)
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return named[:begins] + deflate.compress(named[begins:]) + deflate.flush()

    assert structure_of(header_of(deflated(mammogram), tmp_path)) == Structure()
    header = header_of(deflated(odd.another_patient_id_behind_the_pixels(mammogram)), tmp_path)
    assert structure_of(header).twice == ((odd.PATIENT_ID,),)
    with pytest.raises(Unreadable, match="pixel data ends early"):
        header_of(deflated(odd.pixel_data_cut_off(mammogram)), tmp_path)


# 7: what is no sequence


@pytest.mark.parametrize("make", [odd.text_as_view_codes, odd.text_as_view_codes_by_its_vr])
def test_a_text_where_a_sequence_belongs_holds_no_items(
    make: Maker, mammogram: bytes, tmp_path: Path
) -> None:
    header = header_of(make(mammogram), tmp_path)
    assert items(header, "ViewCodeSequence") == []
    [said] = structure_of(header).contradictions(frozenset({odd.VIEW_CODES}))
    assert said == "states View Code Sequence as something else than items"


def test_blanks_are_an_empty_sequence(mammogram: bytes, tmp_path: Path) -> None:
    header = header_of(odd.blanks_as_view_modifiers(mammogram), tmp_path)
    assert items(header, "ViewModifierCodeSequence") == []
    assert structure_of(header) == Structure()


def test_items_where_a_value_belongs_are_noticed(mammogram: bytes, tmp_path: Path) -> None:
    new = odd.element(odd.IMAGE_LATERALITY, b"SQ", odd.item(odd.CODE))
    header = header_of(odd.instead_of(mammogram, odd.IMAGE_LATERALITY, new), tmp_path)
    [said] = structure_of(header).contradictions(frozenset({odd.IMAGE_LATERALITY}))
    assert said == "states Image Laterality as items, not as a value"


# 7 and 9: where the file meta information ends


@pytest.mark.parametrize(
    "make",
    [
        *(odd.without_group_length, odd.with_a_wrong_group_length),
        *(odd.with_a_long_group_length, odd.with_a_group_length_of_zero),
    ],
)
def test_without_a_right_group_length_header_and_digest_are_those_of_the_data_set(
    make: Maker, mammogram: bytes, tmp_path: Path
) -> None:
    whole, changed = tmp_path / "whole.dcm", tmp_path / "changed.dcm"
    whole.write_bytes(mammogram)
    changed.write_bytes(make(mammogram))
    assert dataset_digest(changed) == dataset_digest(whole)
    assert list(read_header(changed)) == list(read_header(whole))


@pytest.mark.parametrize(
    "make",
    [
        *(odd.another_syntax_inside, odd.meta_information_inside),
        odd.another_syntax_further_inside,
    ],
)
def test_what_a_data_set_says_of_its_transfer_syntax_is_ignored(
    make: Maker, mammogram: bytes, tmp_path: Path
) -> None:
    whole, header = header_of(mammogram, tmp_path), header_of(make(mammogram), tmp_path)
    assert header.file_meta == whole.file_meta
    assert [element for element in header if element.tag.group != 2] == list(whole)
