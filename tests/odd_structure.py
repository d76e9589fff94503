"""Objects whose elements lie oddly: each function makes one of a Part 10 file.

Explicit VR Little Endian, as dcmconv writes it, unless its words say otherwise.
"""

from __future__ import annotations

import struct

JPEG_LOSSLESS = b"1.2.840.10008.1.2.4.70"
_SHORT, _LONG, _NO_VR = struct.Struct("<HH2sH"), struct.Struct("<HH2sHL"), struct.Struct("<HHL")
_LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT")
UNDEFINED_LENGTH = 0xFFFFFFFF

PATIENT_NAME, PATIENT_ID, BIRTH_DATE = 0x00100010, 0x00100020, 0x00100030
STUDY_UID, SERIES_UID, SOP_UID = 0x0020000D, 0x0020000E, 0x00080018
PROCEDURE_CODES, VIEW_CODES = 0x00081032, 0x00540220
CODE_VALUE, SCHEME, MEANING = 0x00080100, 0x00080102, 0x00080104
IMAGE_LATERALITY, IMPLANT, WINDOW_CENTER = 0x00200062, 0x00281300, 0x00281050
PIXEL_DATA = 0x7FE00010


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element in Explicit VR Little Endian, of another stated length if one is given."""
    group, number, size = tag >> 16, tag & 0xFFFF, len(value) if length is None else length
    if vr in _LONG_VRS:
        return _LONG.pack(group, number, vr, 0, size) + value
    return _SHORT.pack(group, number, vr, size) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    """Return an element in Implicit VR Little Endian."""
    size = len(value) if length is None else length
    return _NO_VR.pack(tag >> 16, tag & 0xFFFF, size) + value


def item(content: bytes, length: int | None = None) -> bytes:
    """Return an item of a sequence."""
    return implicit(0xFFFEE000, content, length)


ITEM_END, SEQUENCE_END = implicit(0xFFFEE00D, b""), implicit(0xFFFEE0DD, b"")
CODE = (
    element(CODE_VALUE, b"SH", b"4711")
    + element(SCHEME, b"SH", b"L ")
    + element(MEANING, b"LO", b"Something ")
)
IMPLICIT_CODE = implicit(CODE_VALUE, b"4711") + implicit(SCHEME, b"L ")


def data_set_at(content: bytes) -> int:
    """Return where the data set of a file with a right group length begins."""
    return 144 + int.from_bytes(content[140:144], "little")


def place_of(content: bytes, tag: int) -> tuple[int, int]:
    """Return where an element of the data set begins and ends, by walking over all before it."""
    at = data_set_at(content)
    while at < len(content):
        group, number, vr, length = _SHORT.unpack_from(content, at)
        size = 8
        if vr in _LONG_VRS:
            size, length = 12, struct.unpack_from("<L", content, at + 8)[0]
        if group << 16 | number == tag:
            return at, at + size + length
        assert length != UNDEFINED_LENGTH, "as dcmconv +e writes it: of stated length"
        at += size + length
    raise LookupError(f"no {tag:08X}")


def before(content: bytes, tag: int, new: bytes) -> bytes:
    """Put something before an element."""
    at, _ = place_of(content, tag)
    return content[:at] + new + content[at:]


def behind(content: bytes, tag: int, new: bytes) -> bytes:
    """Put something behind an element."""
    _, at = place_of(content, tag)
    return content[:at] + new + content[at:]


def instead_of(content: bytes, tag: int, new: bytes) -> bytes:
    """Put something in the place of an element."""
    begins, ends = place_of(content, tag)
    return content[:begins] + new + content[ends:]


def value_of(content: bytes, tag: int) -> bytes:
    """Return the value of an element with a short length."""
    begins, ends = place_of(content, tag)
    return content[begins + 8 : ends]


# 1: damaged


def sequence_that_covers_the_name(content: bytes) -> bytes:
    """The stated length of a sequence covers Patient's Name, which follows it."""
    begins, ends = place_of(content, PATIENT_NAME)
    length = len(item(CODE)) + ends - begins
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", item(CODE), length))


def sequence_that_ends_within_what_follows(content: bytes) -> bytes:
    """The stated length of a sequence ends in the middle of the element that follows it."""
    length = len(item(CODE)) + 10
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", item(CODE), length))


def sequence_that_ends_within_its_item(content: bytes) -> bytes:
    """The stated length of a sequence ends in the middle of its item."""
    length = len(item(CODE)) - 12
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", item(CODE), length))


def item_that_covers_what_follows(content: bytes) -> bytes:
    """The stated length of an item covers Patient's Name, which follows its sequence."""
    begins, ends = place_of(content, PATIENT_NAME)
    longer = item(CODE, len(CODE) + ends - begins)
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", longer))


def item_that_covers_the_next(content: bytes) -> bytes:
    """The stated length of an item covers the next item of its sequence."""
    two = item(CODE, 2 * len(CODE) + 8) + item(CODE)
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", two))


def item_that_ends_within_an_element(content: bytes) -> bytes:
    """The stated length of an item ends in the middle of its last element."""
    shorter = item(CODE, len(CODE) - 4)
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", shorter))


def inner_sequence_that_covers_what_follows(content: bytes) -> bytes:
    """A sequence in an item of another covers the element that follows it in that item."""
    inner = element(0x00082112, b"SQ", item(CODE), len(item(CODE)) + 12)
    outer = item(inner + element(CODE_VALUE, b"SH", b"4711"))
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", outer))


def element_that_leaves_its_item(content: bytes) -> bytes:
    """An element in an item of a sequence is longer than the item."""
    longer = item(element(CODE_VALUE, b"SH", b"4711", 400))
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", longer))


def unknown_sequence_that_covers_the_name(content: bytes) -> bytes:
    """A sequence written as UN, of stated length, covers Patient's Name, which follows it."""
    begins, ends = place_of(content, PATIENT_NAME)
    length = len(item(IMPLICIT_CODE)) + ends - begins
    return before(
        content, PATIENT_NAME, element(PROCEDURE_CODES, b"UN", item(IMPLICIT_CODE), length)
    )


def sequence_without_its_end(content: bytes) -> bytes:
    """A sequence of undefined length has no delimiter."""
    new = element(PROCEDURE_CODES, b"SQ", item(CODE), UNDEFINED_LENGTH)
    return before(content, PATIENT_NAME, new)


def item_without_its_end(content: bytes) -> bytes:
    """An item of undefined length has no delimiter before its sequence ends."""
    new = element(
        PROCEDURE_CODES, b"SQ", item(CODE, UNDEFINED_LENGTH) + SEQUENCE_END, UNDEFINED_LENGTH
    )
    return before(content, PATIENT_NAME, new)


def item_end_between_elements(content: bytes) -> bytes:
    """The delimiter of an item stands between two elements of the data set."""
    return before(content, PATIENT_NAME, ITEM_END)


def pixel_data_cut_off(content: bytes) -> bytes:
    """The pixel data ends before its stated length."""
    return content[:-100_001]


def in_one_fragment(content: bytes, more: int = 0, end: bytes = SEQUENCE_END) -> bytes:
    """Return an object that says it is JPEG Lossless, its fragment of so many more bytes."""
    begins, ends = place_of(content, PIXEL_DATA)
    code = content[begins + 12 : ends]
    fragments = item(b"") + item(code, len(code) + more) + end
    return (
        with_syntax(content[:begins], JPEG_LOSSLESS)
        + element(PIXEL_DATA, b"OB", fragments, UNDEFINED_LENGTH)
        + content[ends:]
    )


def with_syntax(content: bytes, syntax: bytes) -> bytes:
    """Return an object whose file meta information names another transfer syntax."""
    begins = data_set_at(content)
    meta, at = content[144:begins], 0
    kept = b""
    while at < len(meta):
        _, number, vr, length = _SHORT.unpack_from(meta, at)
        size = 8
        if vr in _LONG_VRS:
            size, length = 12, struct.unpack_from("<L", meta, at + 8)[0]
        whole = meta[at : at + size + length]
        kept += element(0x00020010, b"UI", syntax) if number == 0x0010 else whole
        at += size + length
    return content[:140] + struct.pack("<L", len(kept)) + kept + content[begins:]


def fragment_cut_off(content: bytes) -> bytes:
    """A fragment of encapsulated pixel data goes beyond the end of the object."""
    return in_one_fragment(content, more=10_000, end=b"")


def fragments_without_their_end(content: bytes) -> bytes:
    """Encapsulated pixel data has no delimiter."""
    return in_one_fragment(content, end=b"")


def attribute_behind_the_pixels_cut_off(content: bytes) -> bytes:
    """The object ends in the middle of an element behind the pixel data."""
    return content + element(0xFFFCFFFC, b"OB", bytes(100), 1000)


DAMAGED = (
    pixel_data_cut_off,
    fragment_cut_off,
    fragments_without_their_end,
    attribute_behind_the_pixels_cut_off,
    sequence_that_covers_the_name,
    sequence_that_ends_within_what_follows,
    sequence_that_ends_within_its_item,
    item_that_covers_what_follows,
    item_that_covers_the_next,
    item_that_ends_within_an_element,
    inner_sequence_that_covers_what_follows,
    element_that_leaves_its_item,
    unknown_sequence_that_covers_the_name,
    sequence_without_its_end,
    item_without_its_end,
    item_end_between_elements,
)


# 1: readable as before


def unknown_sequence_implicit_inside(content: bytes) -> bytes:
    """A sequence is written as UN, of undefined length, in Implicit VR inside."""
    value = item(IMPLICIT_CODE) + SEQUENCE_END
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"UN", value, UNDEFINED_LENGTH))


def unknown_sequence_explicit_inside(content: bytes) -> bytes:
    """A sequence is written as UN, of undefined length, in Explicit VR inside."""
    value = item(CODE) + SEQUENCE_END
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"UN", value, UNDEFINED_LENGTH))


def unknown_sequence_of_stated_length(content: bytes) -> bytes:
    """A sequence is written as UN, of stated length."""
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"UN", item(IMPLICIT_CODE)))


def sequence_with_a_delimiter_in_its_length(content: bytes) -> bytes:
    """A sequence of stated length ends in a delimiter as well."""
    value = item(CODE + ITEM_END) + SEQUENCE_END
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", value))


def sequence_of_undefined_length(content: bytes) -> bytes:
    """A sequence and its item are of undefined length."""
    value = implicit(0xFFFEE000, CODE, UNDEFINED_LENGTH) + ITEM_END + SEQUENCE_END
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", value, UNDEFINED_LENGTH))


def empty_items(content: bytes) -> bytes:
    """A sequence holds an empty item of stated and one of undefined length."""
    value = item(b"") + item(b"", UNDEFINED_LENGTH) + ITEM_END
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", value))


def icon_of_fragments(content: bytes) -> bytes:
    """An icon in a sequence has encapsulated pixel data of its own."""
    fragments = item(b"") + item(b"\xfe\xff\xdd\xe0\0\0\0\0") + SEQUENCE_END
    icon = item(element(PIXEL_DATA, b"OB", fragments, UNDEFINED_LENGTH))
    return before(content, PATIENT_NAME, element(0x00880200, b"SQ", icon))


def private_bytes_like_an_item(content: bytes) -> bytes:
    """A private UN value of stated length begins like an item, and is none."""
    new = element(0x00090010, b"LO", b"ACME") + element(0x00091001, b"UN", item(b"1234", 9999))
    return before(content, PATIENT_NAME, new)


def elements_out_of_order(content: bytes) -> bytes:
    """Patient's Name stands behind the Study Instance UID."""
    begins, ends = place_of(content, PATIENT_NAME)
    name = content[begins:ends]
    return behind(content[:begins] + content[ends:], STUDY_UID, name)


def odd_length(content: bytes) -> bytes:
    """A text has an odd number of bytes."""
    return before(content, PATIENT_NAME, element(0x00081080, b"LO", b"odd"))


READABLE = (
    unknown_sequence_implicit_inside,
    unknown_sequence_explicit_inside,
    unknown_sequence_of_stated_length,
    sequence_with_a_delimiter_in_its_length,
    sequence_of_undefined_length,
    empty_items,
    icon_of_fragments,
    private_bytes_like_an_item,
    elements_out_of_order,
    odd_length,
)


# 3: twice


def two_patient_ids(content: bytes) -> bytes:
    """Patient ID is there twice, with different values."""
    return behind(content, PATIENT_ID, element(PATIENT_ID, b"LO", b"SOMEBODY-ELSE "))


def two_names(content: bytes) -> bytes:
    """Patient's Name is there twice, with different values."""
    return behind(content, PATIENT_NAME, element(PATIENT_NAME, b"PN", b"Else^Somebody "))


def two_birth_dates(content: bytes) -> bytes:
    """Patient's Birth Date is there twice, with different values."""
    return behind(content, BIRTH_DATE, element(BIRTH_DATE, b"DA", b"19010203"))


def two_study_uids(content: bytes) -> bytes:
    """Study Instance UID is there twice, with different values."""
    return behind(content, STUDY_UID, element(STUDY_UID, b"UI", b"1.2.3.4\0"))


def two_sop_uids(content: bytes) -> bytes:
    """SOP Instance UID is there twice, with different values."""
    return behind(content, SOP_UID, element(SOP_UID, b"UI", b"1.2.3.4\0"))


def two_lateralities(content: bytes) -> bytes:
    """Image Laterality is there twice, R and L."""
    said = value_of(content, IMAGE_LATERALITY)
    other = b"L " if said == b"R " else b"R "
    return behind(content, IMAGE_LATERALITY, element(IMAGE_LATERALITY, b"CS", other))


def two_view_codes(content: bytes) -> bytes:
    """View Code Sequence is there twice, with different views."""
    code = element(CODE_VALUE, b"SH", b"399192008 ") + element(SCHEME, b"SH", b"SCT ")
    return behind(content, VIEW_CODES, element(VIEW_CODES, b"SQ", item(code)))


def two_codes_in_the_view(content: bytes) -> bytes:
    """The item of View Code Sequence has two different Code Values."""
    code = (
        element(CODE_VALUE, b"SH", b"399162004 ")
        + element(CODE_VALUE, b"SH", b"399192008 ")
        + element(SCHEME, b"SH", b"SCT ")
    )
    return instead_of(content, VIEW_CODES, element(VIEW_CODES, b"SQ", item(code)))


def another_patient_id_behind_the_pixels(content: bytes) -> bytes:
    """A second, different Patient ID stands behind the pixel data."""
    return content + element(PATIENT_ID, b"LO", b"SOMEBODY-ELSE ")


def another_laterality_behind_the_pixels(content: bytes) -> bytes:
    """A second, different Image Laterality stands behind the pixel data."""
    other = b"L " if value_of(content, IMAGE_LATERALITY) == b"R " else b"R "
    return content + element(IMAGE_LATERALITY, b"CS", other)


def implant_behind_the_pixels(content: bytes) -> bytes:
    """Breast Implant Present stands behind the pixel data, and nowhere else."""
    begins, ends = place_of(content, IMPLANT)
    return content[:begins] + content[ends:] + content[begins:ends]


def patient_id_behind_the_pixels(content: bytes) -> bytes:
    """Patient ID stands behind the pixel data, and nowhere else."""
    begins, ends = place_of(content, PATIENT_ID)
    return content[:begins] + content[ends:] + content[begins:ends]


def two_pixel_data(content: bytes) -> bytes:
    """Pixel Data is there twice, with different values."""
    begins, ends = place_of(content, PIXEL_DATA)
    return content + element(PIXEL_DATA, b"OW", bytes(ends - begins - 12))


def implant_and_none(content: bytes) -> bytes:
    """Breast Implant Present is there twice, NO and YES."""
    both = element(IMPLANT, b"CS", b"NO") + element(IMPLANT, b"CS", b"YES ")
    return before(content, PIXEL_DATA, both)


def two_windows(content: bytes) -> bytes:
    """Window Center is there twice, with different values."""
    both = element(WINDOW_CENTER, b"DS", b"1200") + element(WINDOW_CENTER, b"DS", b"900 ")
    return before(content, PIXEL_DATA, both)


def same_patient_id_twice(content: bytes) -> bytes:
    """Patient ID is there twice, with the same value but for its padding."""
    again = value_of(content, PATIENT_ID).rstrip(b" ") + b"  "
    return behind(content, PATIENT_ID, element(PATIENT_ID, b"LO", again + b" " * (len(again) % 2)))


def two_station_names(content: bytes) -> bytes:
    """Station Name, which nothing is decided by, is there twice, with different values."""
    return behind(content, 0x00081010, element(0x00081010, b"SH", b"OTHER "))


# 7: texts where sequences belong


def text_as_procedure_codes(content: bytes) -> bytes:
    """Procedure Code Sequence, which results copy, is a text (written as SQ)."""
    return before(content, PATIENT_NAME, element(PROCEDURE_CODES, b"SQ", b"Mammography "))


def text_as_view_codes(content: bytes) -> bytes:
    """View Code Sequence is a text (written as SQ)."""
    return instead_of(content, VIEW_CODES, element(VIEW_CODES, b"SQ", b"cranio-caudal "))


def text_as_view_codes_by_its_vr(content: bytes) -> bytes:
    """View Code Sequence is a text (written as LO)."""
    return instead_of(content, VIEW_CODES, element(VIEW_CODES, b"LO", b"cranio-caudal "))


def blanks_as_view_modifiers(content: bytes) -> bytes:
    """View Modifier Code Sequence is a few blanks instead of empty (written as SQ)."""
    return behind(content, VIEW_CODES, element(0x00540222, b"SQ", b"    "))


# 7: file meta information


def without_group_length(content: bytes) -> bytes:
    """The file meta information has no group length, and begins with the SOP class."""
    return content[:132] + content[158:]


def with_a_wrong_group_length(content: bytes) -> bytes:
    """The group length of the file meta information ends in the middle of an element."""
    return content[:140] + struct.pack("<L", 7) + content[144:]


def with_a_long_group_length(content: bytes) -> bytes:
    """The group length of the file meta information covers the whole file, and more."""
    return content[:140] + struct.pack("<L", 2 * len(content)) + content[144:]


def with_a_group_length_of_zero(content: bytes) -> bytes:
    """The group length of the file meta information is zero."""
    return content[:140] + bytes(4) + content[144:]


# 9: group 0002 inside the data set, padding


def another_syntax_inside(content: bytes) -> bytes:
    """The data set begins with a Transfer Syntax UID of its own, another one."""
    at = data_set_at(content)
    return content[:at] + element(0x00020010, b"UI", JPEG_LOSSLESS) + content[at:]


def meta_information_inside(content: bytes) -> bytes:
    """The data set begins with the file meta information once more."""
    at = data_set_at(content)
    return content[:at] + content[132:at] + content[at:]


def another_syntax_further_inside(content: bytes) -> bytes:
    """A Transfer Syntax UID, another one, stands among the elements of the data set."""
    return before(content, PATIENT_NAME, element(0x00020010, b"UI", JPEG_LOSSLESS))


def padded_pixels(content: bytes, size: int = 512) -> bytes:
    """The pixel data is longer than the image needs: zeros stand behind it."""
    begins, ends = place_of(content, PIXEL_DATA)
    head = content[begins : begins + 8]
    length = struct.pack("<L", ends - begins - 12 + size)
    return content[:begins] + head + length + content[begins + 12 : ends] + bytes(size)


def pixels_with_more(content: bytes) -> bytes:
    """The pixel data is longer than the image needs, and not by zeros."""
    padded = padded_pixels(content)
    return padded[:-512] + b"\x01\x02" * 256


def trailing_padding(content: bytes) -> bytes:
    """Data Set Trailing Padding (FFFC,FFFC) stands behind the pixel data."""
    return content + element(0xFFFCFFFC, b"OB", bytes(200))


def zeros_behind_the_end(content: bytes) -> bytes:
    """Zeros stand behind the last element of the data set."""
    return content + bytes(200)
