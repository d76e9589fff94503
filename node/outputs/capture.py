"""Secondary Captures, which every viewer shows: summary page, marked views, heat maps, volumes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.identity import MANUFACTURER, MODEL_NAME
from node.outputs import header, marked_view, summary_page, verbatim
from node.outputs.case import Draft, local_time
from node.outputs.header import Series, code_item
from node.outputs.provenance import burned_in_annotation, copy_lossy, source_image
from node.outputs.volume_pages import VolumePage, volume_pages
from node.outputs.wording import ascii_text
from node.result import Code

SERIES_NUMBER = 9003
COMMENT = "AI generated, not verified by a physician"


def build(draft: Draft) -> list[Dataset]:
    """Return the summary page, then the pages of each view, as radiologists hang them.

    A view has a page with marks if it was searched, and one for each heat map of it.
    """
    shown = [uid for uid in summary_page.analysed(draft) if uid in draft.pictures]
    pages = [page for sop_uid in shown for page in _pages(draft, sop_uid)]
    of_volumes = [page for result in draft.results for page in volume_pages(draft, result)]
    sources = [*shown, *(uid for page in of_volumes for uid in page.sop_uids)]
    first_of_volumes = 2 + len(pages)
    objects = [
        _summary(draft, list(dict.fromkeys(sources))),
        *(_view(draft, page, index) for index, page in enumerate(pages, start=2)),
        *(_volume(draft, page, n) for n, page in enumerate(of_volumes, start=first_of_volumes)),
    ]
    draws: list[Callable[[], NDArray[np.uint8]]] = [partial(summary_page.draw_summary, draft)]
    draws += [page.draw for page in pages]
    draws += [page.draw for page in of_volumes]
    # Only now: headers are copied byte for byte, which they are not once drawing has read in them.
    # Pillow does most of it without Python's lock.
    with ThreadPoolExecutor(min(len(draws), os.cpu_count() or 1), "drawing") as threads:
        for dataset, drawn in zip(objects, [threads.submit(draw) for draw in draws], strict=True):
            _set_pixels(dataset, drawn.result())
    return objects


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of one image."""

    name: str
    """What tells it from the others of the set."""
    sop_uid: str
    what: str
    draw: Callable[[], NDArray[np.uint8]]


def _pages(draft: Draft, sop_uid: str) -> Iterator[_Page]:
    if any(sop_uid in r.analysed and marked_view.marks_images(r) for r in draft.results):
        draw = partial(marked_view.draw_marked_view, draft, sop_uid)
        yield _Page(sop_uid, sop_uid, "marks", draw)
    for result in draft.results:
        for heat_map in result.heat_maps:
            if heat_map.sop_uid == sop_uid:
                draw = partial(marked_view.draw_heat_map, draft, result, heat_map)
                name = f"{sop_uid} {result.model.name} {heat_map.concept.value}"
                yield _Page(name, sop_uid, "heat map", draw)


def _summary(draft: Draft, shown: list[str]) -> Dataset:
    dataset = _capture(draft, "summary", 1, shown)
    dataset.ConversionType = "SYN"
    dataset.DerivationDescription = f"{_models(draft)}: summary page. Not for measurement."
    dataset.PatientOrientation = ""
    if side := next((result.breasts for result in draft.results if result.breasts), None):
        dataset.ImageLaterality = str(side)
    elif draft.hanging or _has_sides(draft):
        dataset.ImageLaterality = "B"
    return dataset


def _view(draft: Draft, page: _Page, index: int) -> Dataset:
    sop_uid = page.sop_uid
    dataset = _capture(draft, page.name, index, [sop_uid])
    dataset.ConversionType = "WSD"
    dataset.DerivationDescription = (
        f"{_models(draft)}: {page.what} on a resampled copy. Not for measurement."
    )
    dataset.DerivationCodeSequence = [code_item(Code("113085", "DCM", "Spatial resampling"))]
    source = draft.headers[sop_uid]
    dataset.PatientOrientation = ""
    verbatim.copy(source, dataset, ("PatientOrientation", "AnatomicRegionSequence"))
    view = draft.instance(sop_uid).view
    if view is not None:
        dataset.ImageLaterality = str(view.laterality)
    _copy_view(source, dataset)
    return dataset


def _volume(draft: Draft, page: VolumePage, index: int) -> Dataset:
    dataset = _capture(draft, page.name, index, list(page.sop_uids))
    dataset.ConversionType = "SYN"
    title = f"{ascii_text(page.result.model.title)} {page.result.model.version}"
    dataset.DerivationDescription = f"{title}: {page.what}. Not for measurement."
    dataset.PatientOrientation = ""
    if _has_sides(draft):
        dataset.ImageLaterality = str(page.laterality)
    return dataset


def _has_sides(draft: Draft) -> bool:
    """Whether the captures are of both of a pair (PS3.3 C.7.3.1.1.3)."""
    is_breast = header.body_part_examined(draft.source) == "BREAST"
    return is_breast or any(s.laterality for result in draft.results for s in result.solids)


def _capture(draft: Draft, name: str, index: int, sources: list[str]) -> Dataset:
    body_part = header.body_part_examined(draft.source)
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
    dataset.SecondaryCaptureDeviceSoftwareVersions = list(header.software_versions())
    dataset.ImageType = ["DERIVED", "SECONDARY", "AI RESULT"]
    dataset.ImageComments = COMMENT
    dataset.RecognizableVisualFeatures = "NO"
    dataset.BurnedInAnnotation = burned_in_annotation(draft, sources)
    copy_lossy(draft, sources, dataset)
    if sources:
        dataset.SourceImageSequence = [source_image(draft, uid) for uid in sources]
    return dataset


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
