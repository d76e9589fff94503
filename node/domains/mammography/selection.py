"""Which mammograms a model may see, and for the others a reason a radiologist understands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom import Dataset

from node.dicom.body_part import body_part_in_words
from node.dicom.untrusted import term, text
from node.domains.domain import Selection
from node.domains.mammography.hanging import hanging_order
from node.domains.mammography.scope import is_in_scope, other_part
from node.domains.mammography.standard import (
    CONTRADICTIONS,
    PRIVATE_TOMOSYNTHESIS,
    is_implant_displaced,
    is_private_tomosynthesis,
    is_synthetic,
    why_not_standard,
)
from node.domains.mammography.views import (
    DESCRIPTIONS,
    contradicts_its_view,
    described_projections,
    projection_alone,
    sides_of,
    why_no_view,
)
from node.domains.naming import class_words
from node.manifest import Input
from node.result import Refusal
from node.study import IMAGE, Instance, Laterality, Shown, Unit

_SIDE_IN_WORDS = re.compile(r"(?<![A-Z])(R|L)(?:IGHT|EFT|T)?[ _-]?(?:CC|MLO)?(?![A-Z])")


def units(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], wanted: Input
) -> Selection:
    """Divide the mammograms of a study; headers are by SOP Instance UID.

    Repeats of a view are all selected.
    """
    of_breast = [i for i in instances if is_in_scope(i.shown, wanted)]
    considered = sorted(
        (i for i in of_breast if not is_passed_over(i.shown, wanted)), key=hanging_order
    )
    reasons = {i.sop_uid: why_refused(i.shown, headers[i.sop_uid], wanted) for i in considered}
    if wanted.implants == "refuse":
        for sop_uid in _in_front_of_implants(of_breast, headers):
            reasons[sop_uid] = reasons.get(sop_uid) or "breast implant"
    return Selection(
        units=tuple(_unit(i, headers[i.sop_uid]) for i in considered if not reasons[i.sop_uid]),
        refused=tuple(
            Refusal(
                sop_uid=i.sop_uid,
                what=_what(i.shown, headers[i.sop_uid]),
                reason=reasons[i.sop_uid],
                is_failure=_is_contradiction(reasons[i.sop_uid], headers[i.sop_uid]),
            )
            for i in considered
            if reasons[i.sop_uid]
        ),
    )


def _unit(instance: Instance, header: Dataset) -> Unit:
    return Unit({IMAGE: instance}, _what(instance.shown, header), doubts=tuple(_doubts(header)))


def _doubts(header: Dataset) -> Iterator[str]:
    """Yield what does not keep an image from being analysed, and should be known."""
    if name := described_projections(header)[1]:
        yield f"View taken from {name}"
    if said := other_part(header):
        yield f"Body part is said to be {body_part_in_words(said)}"
    for keyword, name in DESCRIPTIONS.items():
        if _names_the_other_side(text(header, keyword).upper(), sides_of(header)):
            yield f"{name} names the other side"


def _names_the_other_side(description: str, sides: Sequence[Laterality]) -> bool:
    """Whether a description names one side, and not that of the image."""
    named = set(_SIDE_IN_WORDS.findall(description))
    of_image = {str(side) for side in sides[:1]} - {str(Laterality.BOTH)}
    return len(named) == 1 and bool(of_image) and named != of_image


def _in_front_of_implants(
    instances: Iterable[Instance], headers: Mapping[str, Dataset]
) -> list[str]:
    """Return images that do not say whether there is an implant, of breasts that have one.

    Those are the breasts that were also imaged with the implant displaced.
    """
    in_views = [(i, i.view.laterality) for i in instances if i.view]
    displaced = {i.sop_uid for i, _ in in_views if is_implant_displaced(headers[i.sop_uid])}
    sides = {side for i, side in in_views if i.sop_uid in displaced}
    return [
        i.sop_uid
        for i, side in in_views
        if side in sides
        and i.sop_uid not in displaced
        and not term(headers[i.sop_uid], "BreastImplantPresent")
    ]


def is_passed_over(shown: Shown, wanted: Input) -> bool:
    """Whether a model leaves an image to others, as one that reads MLO leaves CC."""
    view = shown.view
    return shown.is_standard and view is not None and view.projection in wanted.passed_over


def why_refused(shown: Shown, header: Dataset, wanted: Input) -> str:
    """Return why a model with this input must not see the image, or "" if it may."""
    if shown.sop_class not in wanted.sop_classes:
        is_private = is_private_tomosynthesis(header)
        return PRIVATE_TOMOSYNTHESIS if is_private else class_words(shown.sop_class)
    return (
        why_not_standard(header)
        or _refused_by_manifest(header, wanted)
        or _refused_view(shown, header, wanted)
    )


def _is_contradiction(reason: str, header: Dataset) -> bool:
    """Whether an image is refused for what it says of itself: it may be one that is wanted."""
    is_of_view = reason == why_no_view(header) and contradicts_its_view(header)
    return is_of_view or reason in CONTRADICTIONS


def _refused_by_manifest(header: Dataset, wanted: Input) -> str:
    if wanted.synthetic_2d == "refuse" and is_synthetic(header):
        return "synthetic 2D image"
    has_implant = term(header, "BreastImplantPresent") == "YES"
    if wanted.implants == "refuse" and has_implant and not is_implant_displaced(header):
        return "breast implant"
    return ""


def _refused_view(shown: Shown, header: Dataset, wanted: Input) -> str:
    view = shown.view
    if view is None:
        return why_no_view(header) or "no view given"
    if view.laterality == Laterality.BOTH:
        return "both breasts in one image"
    if view.projection not in wanted.projections:
        return f"{view.projection} is not a view this model reads"
    return ""


def _what(shown: Shown, header: Dataset) -> str:
    if shown.view is not None:
        return str(shown.view)
    return projection_alone(header) or class_words(shown.sop_class)
