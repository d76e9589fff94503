"""Secondary Captures, which every viewer shows: a summary page, and each analysed view marked."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.identity import MANUFACTURER, MODEL_NAME
from node.outputs import header, marked_view, summary_page, verbatim
from node.outputs.draft import Draft, local_time
from node.outputs.header import Series, code_item
from node.outputs.wording import ascii_text
from node.result import Code

SERIES_NUMBER = 9003
COMMENT = "AI generated, not verified by a physician"
LOSSY = (
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def build(draft: Draft) -> list[Dataset]:
    """Return the summary page, then one capture per view that was searched and can be displayed."""
    shown = [uid for uid in summary_page.analysed(draft) if uid in draft.pictures]
    searched = {uid for r in draft.results if r.is_about_places for uid in r.analysed}
    marked = [uid for uid in shown if uid in searched]
    return [
        _summary(draft, shown),
        *(_marked(draft, sop_uid, index) for index, sop_uid in enumerate(marked, start=2)),
    ]


def _summary(draft: Draft, shown: list[str]) -> Dataset:
    dataset = _capture(draft, "summary", 1, shown)
    dataset.ConversionType = "SYN"
    dataset.DerivationDescription = f"{_models(draft)}: summary page. Not for measurement."
    dataset.PatientOrientation = ""
    dataset.ImageLaterality = "B"
    _set_pixels(dataset, summary_page.draw(draft))
    return dataset


def _marked(draft: Draft, sop_uid: str, index: int) -> Dataset:
    dataset = _capture(draft, sop_uid, index, [sop_uid])
    dataset.ConversionType = "WSD"
    dataset.DerivationDescription = (
        f"{_models(draft)}: marks on a resampled copy. Not for measurement."
    )
    dataset.DerivationCodeSequence = [code_item(Code("113085", "DCM", "Spatial resampling"))]
    source = draft.headers[sop_uid]
    dataset.PatientOrientation = ""
    verbatim.copy(source, dataset, ("PatientOrientation", "AnatomicRegionSequence"))
    view = draft.instance(sop_uid).view
    if view is not None:
        dataset.ImageLaterality = str(view.laterality)
    _copy_view(source, dataset)
    _set_pixels(dataset, marked_view.draw(draft, sop_uid))
    return dataset


def _capture(draft: Draft, name: str, index: int, sources: list[str]) -> Dataset:
    body_part = _body_part(draft.source)
    series = Series(("capture", body_part), "OT", SERIES_NUMBER, "Images", draft.results)
    dataset = header.begin(draft, series, SecondaryCaptureImageStorage, name, index)
    verbatim.copy(draft.source, dataset, ("RequestAttributesSequence",))
    if body_part:
        dataset.BodyPartExamined = body_part
    moment = local_time(draft, draft.version.decided_at)
    dataset.DateOfSecondaryCapture = f"{moment:%Y%m%d}"
    dataset.TimeOfSecondaryCapture = f"{moment:%H%M%S}"
    dataset.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    dataset.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    dataset.SecondaryCaptureDeviceSoftwareVersions = header.software_versions()
    dataset.ImageType = ["DERIVED", "SECONDARY", "AI RESULT"]
    dataset.ImageComments = COMMENT
    dataset.RecognizableVisualFeatures = "NO"
    burned_in = any(_says(draft, uid, "BurnedInAnnotation", "YES") for uid in sources)
    dataset.BurnedInAnnotation = "YES" if burned_in else "NO"
    _copy_lossy(draft, dataset, sources)
    if sources:
        dataset.SourceImageSequence = [_reference(draft, uid) for uid in sources]
    return dataset


def _body_part(source: Dataset) -> str:
    """Return the Body Part Examined (0018,0015) of the series, "" if it is not known."""
    said = verbatim.plain(source, "BodyPartExamined")
    if re.fullmatch(r"[A-Z0-9_ ]{1,16}", said):
        return said
    return "BREAST" if verbatim.plain(source, "Modality") == "MG" else ""


def _copy_lossy(draft: Draft, dataset: Dataset, sources: list[str]) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5)."""
    dataset.LossyImageCompression = "00"
    for sop_uid in sources:
        if _says(draft, sop_uid, "LossyImageCompression", "01"):
            verbatim.copy(draft.headers[sop_uid], dataset, LOSSY)
            return


def _copy_view(source: Dataset, dataset: Dataset) -> None:
    """Copy the view; an empty modifier sequence, usual in mammograms, is not legal here."""
    copied = Dataset()
    verbatim.copy(source, copied, ("ViewCodeSequence",))
    items = list(copied.get("ViewCodeSequence") or [])[:1]
    for item in items:
        if "ViewModifierCodeSequence" in item and not item.ViewModifierCodeSequence:
            del item.ViewModifierCodeSequence
    if items:
        dataset.ViewCodeSequence = items


def _reference(draft: Draft, sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = draft.instance(sop_uid).sop_class
    item.ReferencedSOPInstanceUID = sop_uid
    item.PurposeOfReferenceCodeSequence = [
        code_item(Code("121322", "DCM", "Source image for image processing operation"))
    ]
    return item


def _set_pixels(dataset: Dataset, pixels: NDArray[np.uint8]) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    content = pixels.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))


def _models(draft: Draft) -> str:
    return ascii_text(", ".join(f"{r.model.title} {r.model.version}" for r in draft.results))


def _says(draft: Draft, sop_uid: str, keyword: str, value: str) -> bool:
    return verbatim.plain(draft.headers[sop_uid], keyword) == value
