"""What is a mammogram, what it shows, and what a study of them must show to be complete."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.body_part import KNOWN, body_part, coded_body_part
from node.domains.domain import Awaited
from node.domains.mammography.standard import why_not_standard
from node.domains.mammography.views import view_or_reason
from node.manifest import BODY_PARTS_OF_MAMMOGRAMS, Input
from node.study import Laterality, Shown, View

MODALITY = "MG"


def read(header: Dataset, shown: Shown) -> Shown:
    """Return what a mammogram shows: its view, and the breast in whatever words that is said.

    Who says a side and a mammographic view has said that it is a breast, and words that nobody here
    knows, of any language, say nothing: a study that is not in scope goes unanswered.
    """
    if shown.modality != MODALITY:
        return shown
    view = view_or_reason(header)
    is_breast = isinstance(view, View) or _names_a_breast(header, shown)
    return replace(
        shown,
        body_part="BREAST" if is_breast else other_part(header),
        view=view if isinstance(view, View) else None,
        is_standard=not why_not_standard(header),
    )


def other_part(header: Dataset) -> str:
    """Return the term of a body part that a mammogram names and that is no breast, "" if none."""
    said = (body_part(header), coded_body_part(header))
    others = (part for part in said if part in KNOWN and part not in BODY_PARTS_OF_MAMMOGRAMS)
    return next(others, "")


def _names_a_breast(header: Dataset, shown: Shown) -> bool:
    is_named = any(word in shown.body_part for word in ("BREAST", "MAMM", "AXILLA"))
    return is_named or coded_body_part(header) in BODY_PARTS_OF_MAMMOGRAMS


def is_in_scope(shown: Shown, wanted: Input) -> bool:
    """Whether it is a mammogram, and of no other body part: many do not say of which they are."""
    return shown.modality == wanted.modality and shown.body_part in ("", *wanted.body_parts)


def why_not_in_scope(_: Collection[Shown], __: Input) -> str:
    """Return "": each mammogram says itself what it is."""
    return ""


def told(_: Collection[Shown]) -> tuple[str, ...]:
    """Tell nothing: a mammogram is shown with its view."""
    return ()


def awaited(shown: Collection[Shown], wanted: Sequence[Input]) -> Awaited:
    """Return which of the expected views are there, in objects that can stand for them."""
    sop_classes = {sop_class for one in wanted for sop_class in one.sop_classes}
    expected = {view for one in wanted for view in one.expected}
    seen = {
        one.view
        for one in shown
        if one.is_standard
        and one.sop_class in sop_classes
        and any(is_in_scope(one, each) for each in wanted)
    }
    there, missing = in_order(expected & seen), in_order(expected - seen)
    return Awaited("views", tuple(map(str, there)), tuple(map(str, missing)))


def missing_views(wanted: Input, present: Collection[View | None]) -> list[View]:
    """Return the expected views that a model reads and that are not among these, in order."""
    expected = {view for view in wanted.expected if view.projection in wanted.projections}
    return in_order(expected - set(present))


def in_order(views: Collection[View]) -> list[View]:
    """Return views in a fixed order: projection by projection, right before left."""
    return sorted(views, key=lambda view: (view.projection, view.laterality != Laterality.RIGHT))
