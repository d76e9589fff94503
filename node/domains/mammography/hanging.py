"""The order in which mammograms are hung."""

from __future__ import annotations

from node.study import Instance

HANGING_ORDER = ("R CC", "L CC", "R MLO", "L MLO")


def hanging_order(instance: Instance) -> tuple[int, str]:
    """Return what sorts images as they are hung: CC before MLO, right before left."""
    name = str(instance.view)
    place = HANGING_ORDER.index(name) if name in HANGING_ORDER else len(HANGING_ORDER)
    return place, instance.sop_uid
