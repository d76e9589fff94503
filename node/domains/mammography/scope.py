"""What is a mammogram, what it shows, and what a study of them must show to be complete."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.domains.domain import Awaited
from node.domains.mammography.standard import why_not_standard
from node.domains.mammography.views import view_or_reason
from node.manifest import Input
from node.study import Laterality, Shown, View

MODALITY = "MG"


def read(header: Dataset, shown: Shown) -> Shown:
    """Return what a mammogram shows: its view, and the breast in whatever words that is said."""
    if shown.modality != MODALITY:
        return shown
    view = view_or_reason(header)
    is_breast = any(word in shown.body_part for word in ("BREAST", "MAMM"))
    return replace(
        shown,
        body_part="BREAST" if is_breast else shown.body_part,
        view=view if isinstance(view, View) else None,
        is_standard=not why_not_standard(header),
    )


def is_in_scope(shown: Shown, wanted: Input) -> bool:
    """Whether it is a mammogram, and of no other body part: many do not say of which they are."""
    return shown.modality == wanted.modality and shown.body_part in ("", *wanted.body_parts)


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
