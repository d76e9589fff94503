"""The SOP classes that mammograms come in, and what others are called in a sentence."""

from __future__ import annotations

from pydicom import uid

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


MG_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"


MG_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"


_CLASS_WORDS = {
    MG_FOR_PRESENTATION: "For Presentation image",
    MG_FOR_PROCESSING: "For Processing image",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "tomosynthesis image",
    "1.2.840.10008.5.1.4.1.1.13.1.4": "tomosynthesis projection image",
    "1.2.840.10008.5.1.4.1.1.13.1.5": "tomosynthesis projection image",
    SECONDARY_CAPTURE: "Secondary Capture image",
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography image",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray image",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "For Processing image",
}


INTENTS = {MG_FOR_PRESENTATION: "FOR PRESENTATION", MG_FOR_PROCESSING: "FOR PROCESSING"}


def class_words(sop_class: str) -> str:
    """Return what an instance of a SOP class is called in a sentence."""
    known = uid.UID(sop_class)
    if sop_class in _CLASS_WORDS:
        return _CLASS_WORDS[sop_class]
    if known.name == sop_class:
        return "object of an unknown kind"
    return known.name.removesuffix(" Storage")
