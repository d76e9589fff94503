"""The solids of a result in a measurement report: each an outline on a slice, and its volume.

OHIF 3.13 shows a report black that has a measurement group without coordinates, and merges the
groups that share a Tracking Unique Identifier. So the group of a volume (TID 1411), which refers to
the segment, follows one of an outline on the slice that says most (TID 1410), under the same
identifier: it is one thing, measured in a plane and as a whole.

Where no segmentation is made there is nothing to refer to, and Stone draws no region of TID 1411:
the volume is then said among the derived measurements, inferred from the decisive slices.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    GraphicTypeValues,
    ImageContentItem,
    ScoordContentItem,
)
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.imaging.outlines import regions, signed_area
from node.imaging.solid_bits import Voxels
from node.outputs import header, provenance
from node.outputs.case import Draft
from node.outputs.solid_segmentation import (
    Lain,
    lain_of,
    segment_numbers,
    segment_voxels,
    segmentation_series,
    site_of,
    solid_tracking,
    sop_uid_of,
)
from node.outputs.sr_content import (
    CONCEPT_MOD,
    CONTAINS,
    EQUIVALENT_MEANING,
    FINDING,
    FINDING_SITE,
    INFERRED_FROM,
    LATERALITY,
    MEASURED,
    OBS_CONTEXT,
    ORIGINAL_SOURCE,
    SELECTED_FROM,
    SIDES,
    algorithm,
    coded,
    concept,
    container,
    image,
    num_item,
    text_item,
    uid,
    with_children,
)
from node.outputs.wording import solid_label
from node.result import Code, Measurement, ModelIdentity, Point, Result, Solid

MEASUREMENT_GROUP = Code("125007", "DCM", "Measurement Group")
IMAGE_REGION = Code("111030", "DCM", "Image Region")
REFERENCED_SEGMENT = Code("121191", "DCM", "Referenced Segment")
SEGMENTED_IMAGE = Code("121233", "DCM", "Source image for segmentation")
AREA = Code("42798000", "SCT", "Area")
MM2 = Code("mm2", "UCUM", "square millimeter")
MOST_DECISIVE = 6
"""Slices that are referred to for each solid that counts, hundreds are looked at by nobody; for
what a rule left out it is one."""


def solid_groups(draft: Draft, result: Result) -> list[ContainerContentItem]:
    """Return the groups of all solids that have voxels."""
    lain = lain_of(draft, result)
    if lain is None:
        return []
    groups = []
    for place in lain.solids:
        groups.append(_outlined(draft, result, lain, place))
        if has_segments(draft, result) and result.solids[place].measurements:
            groups.append(_measured(draft, result, place))
    return groups


def has_segments(draft: Draft, result: Result) -> bool:
    """Whether there is a segmentation of the result, to refer to."""
    if "segmentation" not in draft.kinds or not segment_voxels(result):
        return False
    return lain_of(draft, result) is not None


def segmentations_beside(draft: Draft, result: Result) -> dict[str, list[Dataset]]:
    """Return the reference to the segmentation that the report refers to, by its series."""
    if not has_segments(draft, result):
        return {}
    series_uid = header.series_uid(draft, segmentation_series(result))
    return {series_uid: [provenance.reference(SegmentationStorage, sop_uid_of(draft, result))]}


def derived_of_solids(draft: Draft, result: Result) -> list[ContentItem]:
    """Return the numbers of the solids that no group of a volume has."""
    with_group = segment_numbers(result) if has_segments(draft, result) else {}
    return [
        num_item(measurement, described_solid(draft, result, solid))
        for place, solid in enumerate(result.solids)
        if place not in with_group
        for measurement in solid.measurements
    ]


def described_solid(draft: Draft, result: Result, solid: Solid) -> list[ContentItem]:
    """Return where a number was measured, on which slices, what of and by whom (TID 300).

    The finding is what tells a volume that a rule left out from one that counts: where nothing
    groups them the numbers of both have the same concept.
    """
    frames = _decisive(result, solid)
    return [
        coded(FINDING, solid.kind, CONCEPT_MOD),
        *_site(solid),
        *(image(draft, sop_uid, INFERRED_FROM, MEASURED, frame) for sop_uid, frame in frames),
        text_item(EQUIVALENT_MEANING, solid_label(solid), CONCEPT_MOD),
        *algorithm(result.model),
    ]


def library_of_solids(draft: Draft, result: Result) -> tuple[str, ...]:
    """Return the objects that stand for the volumes in the image library: what is referred to.

    These are the decisive slices, those with an outline, and those that numbers are about; where
    nothing is referred to the middle one of the stack. Not the thousands that were analysed: they
    stand among the evidence.
    """
    assert result.stack is not None
    lain = lain_of(draft, result)
    frames = [frame for solid in result.solids for frame in _decisive(result, solid)]
    frames += [] if lain is None else [_outlined_slice(result, lain, at)[1] for at in lain.solids]
    uids = [uid for uid, _ in frames] + [uid for e in result.evaluations for uid in e.sop_uids]
    slices = result.stack.slices
    return tuple(dict.fromkeys(uids or [slices[len(slices) // 2][0]]))


def outline_on(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> tuple[Point, ...]:
    """Return the closed outline of the largest part of a mask, in its own columns and rows."""
    found = regions(mask.astype(np.float32), 0.5)
    return tuple((float(x), float(y)) for x, y in found[0]) if found else ()


def most_telling(solid: Solid, voxels: Voxels) -> int:
    """Return the slice that says most about a solid that has voxels: else its largest."""
    for place in solid.decisive:
        if voxels.on(place).any():
            return place
    return max(voxels.places(), key=lambda place: int(voxels.on(place).sum()))


def _outlined(draft: Draft, result: Result, lain: Lain, place: int) -> ContainerContentItem:
    solid, voxels = result.solids[place], lain.voxels[place]
    at, (sop_uid, frame) = _outlined_slice(result, lain, place)
    outline = np.asarray(outline_on(voxels.on(at)), dtype=np.float64)
    region = with_children(
        ScoordContentItem(
            concept(IMAGE_REGION), GraphicTypeValues.POLYLINE, outline, relationship_type=CONTAINS
        ),
        [image(draft, sop_uid, SELECTED_FROM, ORIGINAL_SOURCE, frame)],
    )
    between_rows, between_columns = lain.planes[at].spacing
    area = abs(signed_area(outline)) * between_rows * between_columns
    of_slice = num_item(Measurement(AREA, area, MM2, 0), algorithm(result.model))
    return container(
        MEASUREMENT_GROUP,
        [*_named(draft, result.model, place, solid), region, *_site(solid), of_slice],
        template="1410",
    )


def _outlined_slice(result: Result, lain: Lain, place: int) -> tuple[int, tuple[str, int | None]]:
    """Return the place of the slice that a solid is outlined on, and its image.

    Of the phase that shows it: before contrast there is nothing to be seen.
    """
    stack = result.contrasted or result.stack
    assert stack is not None
    at = most_telling(result.solids[place], lain.voxels[place])
    return at, stack.slices[at]


def _measured(draft: Draft, result: Result, place: int) -> ContainerContentItem:
    solid = result.solids[place]
    segment = ImageContentItem(
        concept(REFERENCED_SEGMENT),
        SegmentationStorage,
        sop_uid_of(draft, result),
        referenced_segment_numbers=[segment_numbers(result)[place]],
        relationship_type=CONTAINS,
    )
    frames = _decisive(result, solid)
    return container(
        MEASUREMENT_GROUP,
        [
            *_named(draft, result.model, place, solid),
            segment,
            *(image(draft, sop_uid, CONTAINS, SEGMENTED_IMAGE, frame) for sop_uid, frame in frames),
            *_site(solid),
            *(num_item(m, algorithm(result.model)) for m in solid.measurements),
        ],
        template="1411",
    )


def _named(draft: Draft, model: ModelIdentity, place: int, solid: Solid) -> Iterator[ContentItem]:
    identifier, tracking_uid = solid_tracking(draft, model, place, solid)
    yield text_item(Code("112039", "DCM", "Tracking Identifier"), identifier, OBS_CONTEXT)
    yield uid(Code("112040", "DCM", "Tracking Unique Identifier"), tracking_uid)
    yield coded(FINDING, solid.kind)


def _site(solid: Solid) -> list[ContentItem]:
    """Return where it lies, and on which side if it has one; nothing if that is not known."""
    site = site_of(solid)
    if site is None:
        return []
    side = solid.laterality
    sides = [] if side is None else [coded(LATERALITY, SIDES[side], CONCEPT_MOD)]
    return [with_children(coded(FINDING_SITE, site, CONCEPT_MOD), sides)]


def _decisive(result: Result, solid: Solid) -> list[tuple[str, int | None]]:
    """Return the slices that say most about a solid, the first most."""
    if result.stack is None:
        return []
    places = list(solid.decisive[: 1 if solid.is_left_out else MOST_DECISIVE])
    if not places:
        voxels = segment_voxels(result).get(result.solids.index(solid))
        places = [] if voxels is None else [most_telling(solid, voxels)]
    return [result.stack.slices[place] for place in places]
