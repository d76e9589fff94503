"""What an object of ours says of the images it was made from."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset

from node.dicom.lossy import WITH_LOSS, compressed_with_loss
from node.outputs import verbatim
from node.outputs.case import Draft
from node.outputs.header import code_item
from node.result import Code

SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def reference(sop_class: str, sop_uid: str) -> Dataset:
    """Return a reference to an object (SOP Instance Reference Macro, PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_uid
    return item


def image_reference(draft: Draft, sop_uid: str) -> Dataset:
    """Return a reference to an image of the study."""
    return reference(draft.instance(sop_uid).sop_class, sop_uid)


def source_image(draft: Draft, sop_uid: str) -> Dataset:
    """Return a reference to an image of the study that says it is what ours was made from."""
    item = image_reference(draft, sop_uid)
    item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
    return item


def copy_lossy(draft: Draft, sop_uids: Iterable[str], dataset: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = "00"
    for sop_uid in sop_uids:
        header = draft.headers[sop_uid]
        if compressed_with_loss(header) == WITH_LOSS:
            verbatim.copy(header, dataset, LOSSY)
            dataset.LossyImageCompression = "01"
            return


def burned_in_annotation(draft: Draft, sop_uids: Iterable[str]) -> str:
    """Return "YES" if what a modality wrote into one of these images may show in ours."""
    said = (verbatim.plain(draft.headers[uid], "BurnedInAnnotation") for uid in sop_uids)
    return "YES" if "YES" in said else "NO"
