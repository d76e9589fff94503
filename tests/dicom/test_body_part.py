"""Which body part an object says it shows, in whichever place and words."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.sr._snomed_dict import mapping
from pydicom.tag import Tag

from node.dicom.body_part import _CODES, TERMS, body_part, body_part_in_words, code_of
from node.trial.phantom import code


def saying(body_part_examined: str = "", *regions: Dataset) -> Dataset:
    header = Dataset()
    written = body_part_examined.encode()
    header[0x0018_0015] = RawDataElement(
        Tag(0x0018_0015), "CS", len(written), written, 0, False, True
    )
    header.AnatomicRegionSequence = list(regions)
    return header


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (Dataset(), ""),
        (saying(), ""),
        (saying("CHEST"), "CHEST"),
        (saying(" Chest "), "CHEST"),
        (saying("THORAX"), "THORAX"),
        (saying("", code("816094009", "SCT", "Chest")), "CHEST"),
        (saying("", code("T-D3000", "SRT", "Chest")), "CHEST"),
        (saying("", code("t-d3000", "SNM3", "Chest")), "CHEST"),
        (saying("", code("80248007", "SCT", "Left breast")), "BREAST"),
        (saying("", code("39607008", "SCT", "Lung")), "39607008"),
        (saying("", code("CHEST", "99ACME", "Chest")), ""),
        (saying("", code("", "", "")), ""),
        (saying("HAND", code("816094009", "SCT", "Chest")), "HAND"),
        (saying("PHANTOM", code("816094009", "SCT", "Chest")), "CHEST"),
        (saying("unknown"), ""),
        (saying("x" * 1000), "X" * 64),
    ],
)
def test_body_part_examined_says_it_else_the_code_of_the_anatomic_region(
    header: Dataset, found: str
) -> None:
    assert body_part(header) == found


@pytest.mark.parametrize("term", _CODES)
def test_the_old_code_of_a_term_means_the_same_as_one_of_the_new_ones(term: str) -> None:
    """As pydicom's dictionary of SNOMED RT and CT has them."""
    known = [one for one in _CODES[term] if one in mapping["SRT"]]
    assert known
    assert all(mapping["SRT"][one] in _CODES[term] for one in known)
    assert TERMS[code_of(term)] == term


def test_what_is_no_term_is_not_repeated_to_a_reader() -> None:
    assert body_part_in_words("CHEST") == "CHEST"
    assert body_part_in_words("PROSTATE") == "PROSTATE"
    for said in ("DOE, JANE", "MEIER ANNA", "MEIER", "39607008", "X" * 17, "Ä", "KNEE MEIER", ""):
        assert body_part_in_words(said) == "another body part"
    assert code_of("THORAX") == ""
