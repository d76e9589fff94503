"""Marks on CC and on MLO that are one lesion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

from node.manifest import BoxesOutput, MaskOutput
from node.result import OutputScore
from node.study import Laterality, Unit, View


def lesions_of_marks(
    output: MaskOutput | BoxesOutput,
    units: Sequence[Unit],
    scores: Mapping[str, OutputScore],
) -> dict[tuple[str, int], str]:
    """Name the lesions that are marked on CC and on MLO, by image and place among its marks."""
    if not isinstance(output, BoxesOutput) or output.same_lesion_within_mm is None:
        return {}
    names: dict[tuple[str, int], str] = {}
    for side in (Laterality.RIGHT, Laterality.LEFT):
        on_cc, on_mlo = (
            [
                ((unit.sop_uid, number), mark.depth_mm, mark.of_class)
                for unit in units
                if unit.instance.view == View(side, projection)
                for number, mark in enumerate(scores[unit.sop_uid].marks)
                if mark.depth_mm is not None
            ]
            for projection in ("CC", "MLO")
        )
        pairs = sorted(
            (abs(a[1] - b[1]), a[0], b[0]) for a, b in product(on_cc, on_mlo) if a[2] == b[2]
        )
        count = 0
        for difference_mm, *places in pairs:
            is_free = not any(place in names for place in places)
            if is_free and difference_mm <= output.same_lesion_within_mm:
                count += 1
                names |= dict.fromkeys(places, f"{side} lesion {count}")
    return names


def how_lesions_were_counted(
    output: MaskOutput | BoxesOutput,
    units: Sequence[Unit],
    scores: Mapping[str, OutputScore],
    lesions: Mapping[tuple[str, int], str],
) -> list[str]:
    """Say where one lesion may count as two, or two as one."""
    said = []
    if isinstance(output, BoxesOutput) and lesions:
        said.append(
            f"A mark on CC and one on MLO of the same breast count as one {output.label} where"
            f" their depths differ by at most {output.same_lesion_within_mm:g} mm, the nearest"
            " first; nothing else was compared."
        )
    counts = Counter(unit.name for unit in units if scores[unit.sop_uid].marks)
    repeated = ", ".join(name for name, count in counts.items() if count > 1)
    if repeated and output.looks_for:
        said.append(
            f"More than one image of {repeated}: a {output.label} that shows on several of them may"
            " be counted more than once."
        )
    elif repeated and isinstance(output, MaskOutput) and output.difference:
        said.append(
            f"More than one image of {repeated}: the left-right difference is that of the largest"
            f" {output.label}."
        )
    return said
