"""What objects are called in a sentence."""

from __future__ import annotations

from pydicom import Dataset, uid

from node.dicom.untrusted import numbers
from node.study import Shown

_CLASS_WORDS = {
    "1.2.840.10008.5.1.4.1.1.1.2": "For Presentation image",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "For Processing image",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "tomosynthesis image",
    "1.2.840.10008.5.1.4.1.1.13.1.4": "tomosynthesis projection image",
    "1.2.840.10008.5.1.4.1.1.13.1.5": "tomosynthesis projection image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture image",
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography image",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray image",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "For Processing image",
}


def class_words(sop_class: str) -> str:
    """Return what an instance of a SOP class is called in a sentence."""
    known = uid.UID(sop_class)
    if sop_class in _CLASS_WORDS:
        return _CLASS_WORDS[sop_class]
    if known.name == sop_class:
        return "object of an unknown kind"
    return known.name.removesuffix(" Storage")


def image_name(shown: Shown, header: Dataset) -> str:
    """Return what an image is called: "R MLO", or by its numbers, "Series 2 image 1"."""
    if shown.view is not None:
        return str(shown.view)
    place = place_in_study(header)
    return f"Series {place[0]} image {place[1]}" if len(place) == 2 else "Image"


def place_in_study(header: Dataset) -> tuple[int, ...]:
    """Return Series Number (0020,0011) and Instance Number (0020,0013), () unless both are said."""
    found = [numbers(header, f"{what}Number") for what in ("Series", "Instance")]
    if not all(len(one) == 1 and one[0] == int(one[0]) for one in found):
        return ()
    return tuple(int(one[0]) for one in found)
