"""The kinds of object there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MammographyCADSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from node.config import OutputKind, presets
from node.outputs import (
    capture,
    encapsulated_pdf,
    key_images,
    mammography_cad,
    measurement_report,
    presentation_state,
    segmentation,
)
from node.outputs.case import Draft
from node.outputs.guard import check, check_patient, check_result


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    build: Callable[[Draft], list[Dataset]]
    """None of them if the results hold nothing that it could say."""
    sop_class: str
    """What tells it from the others on the wire."""


KINDS: Mapping[OutputKind, Kind] = {
    "measurement-report": Kind(measurement_report.build, ComprehensiveSRStorage),
    "measurement-report-3d": Kind(measurement_report.build_3d, Comprehensive3DSRStorage),
    "mammography-cad": Kind(mammography_cad.build, MammographyCADSRStorage),
    "capture": Kind(capture.build, SecondaryCaptureImageStorage),
    "segmentation": Kind(segmentation.build, SegmentationStorage),
    "presentation-state": Kind(presentation_state.build, GrayscaleSoftcopyPresentationStateStorage),
    "key-images": Kind(key_images.build, KeyObjectSelectionDocumentStorage),
    "encapsulated-pdf": Kind(encapsulated_pdf.build, EncapsulatedPDFStorage),
}


FALLBACKS: Mapping[OutputKind, OutputKind] = {"measurement-report-3d": "measurement-report"}
"""What goes to a destination that does not take the kind it should get."""


SUBSTITUTES: Mapping[str, str] = {
    KINDS[kind].sop_class: KINDS[instead].sop_class for kind, instead in FALLBACKS.items()
}
"""The same, by SOP class."""


def sop_classes(kinds: Iterable[OutputKind]) -> frozenset[str]:
    """Return the SOP classes of the objects of these kinds."""
    return frozenset(KINDS[kind].sop_class for kind in kinds)


def with_fallbacks(kinds: Iterable[OutputKind]) -> tuple[OutputKind, ...]:
    """Return the kinds and what may have to stand in for them, each once, in order."""
    wanted = tuple(kinds)
    return tuple(dict.fromkeys([*wanted, *(FALLBACKS[k] for k in wanted if k in FALLBACKS)]))


def build_report_set(draft: Draft, kinds: Iterable[OutputKind] | None = None) -> list[Dataset]:
    """Build and check every object of these kinds.

    Raises Held rather than return an object that would go into another patient's file.
    """
    check_patient(draft)
    for result in draft.results:
        check_result(draft, result)
    wanted = presets()["default"] if kinds is None else kinds
    datasets = [dataset for kind in wanted for dataset in KINDS[kind].build(draft)]
    for dataset in datasets:
        check(draft, dataset)
    return datasets


def to_bytes(dataset: Dataset) -> bytes:
    """Encode the object as a Part 10 file; the same object gives the same bytes."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
