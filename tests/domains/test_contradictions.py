"""Whatever an image is judged by is looked at for contradictions."""

from __future__ import annotations

import ast
from pathlib import Path

from pydicom.datadict import keyword_dict, tag_for_keyword

import node
from node.domains.contradictions import SELECTED_BY, SLICES_READ_BY
from node.identity import NAMING
from node.imaging.source import KEYWORDS_READ

PACKAGE = Path(node.__file__).parent
READERS = ("domains/**/*.py", "imaging/*.py", "dicom/body_part.py", "dicom/lossy.py")
NOT_JUDGED_BY = {
    "in a sequence that is": (
        *("AnatomicRegionModifierSequence", "CodeValue", "CodingSchemeDesignator"),
    ),
    "in the file meta information": ("TransferSyntaxUID",),
    "in a manifest, where it is an operation": ("Crop",),
}


def read_in(source: str) -> set[str]:
    """Return the attributes that a module names."""
    found = set()
    for part in ast.walk(ast.parse(source)):
        name = part.value if isinstance(part, ast.Constant) else None
        name = part.attr if isinstance(part, ast.Attribute) else name
        if isinstance(name, str) and name and name != "UID" and name in keyword_dict:
            found.add(name)
    return found


def test_every_attribute_that_a_domain_or_an_image_is_read_by_is_looked_at() -> None:
    paths = {path for reader in READERS for path in PACKAGE.glob(reader)}
    assert len(paths) > 25
    read = set().union(*(read_in(path.read_text("utf-8")) for path in paths))
    assert {"ViewCodeSequence", "BreastImplantPresent", "WindowCenter", "Rows"} <= read
    looked_at = {*SELECTED_BY, *SLICES_READ_BY, *KEYWORDS_READ}
    elsewhere = {keyword for keywords in NOT_JUDGED_BY.values() for keyword in keywords}
    naming = {keyword for keyword in read if tag_for_keyword(keyword) in NAMING}
    assert read - looked_at - elsewhere - naming == set(), "add them to SELECTED_BY"
