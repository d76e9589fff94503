"""The order in which mammograms are hung."""

from __future__ import annotations

from node.study import Instance, Laterality, View

HANGING = tuple(View(side, name) for name in ("CC", "MLO") for side in Laterality if side != "B")
"""R CC, L CC, R MLO, L MLO."""


def hanging() -> tuple[View, ...]:
    """Return the views of a screening exam: CC before MLO, right before left."""
    return HANGING


def hanging_order(instance: Instance) -> tuple[int, str]:
    """Return what sorts images as they are hung."""
    place = HANGING.index(instance.view) if instance.view in HANGING else len(HANGING)
    return place, instance.sop_uid
