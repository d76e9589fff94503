"""What a kept score depends on in our own code: numbers of what reads and judges an image.

They are part of the key that a score is kept under. Whoever changes what one of these parts does
raises its number by hand, so that scores made before are computed once more; a patch anywhere
else leaves every score where it is. A test holds each number against a digest of the sources that
are reached from the names here, and says what to do when they differ.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Something that can change a score."""

    number: int
    sources: tuple[str, ...]
    """Where it begins, as module:name. What these call belongs to it as well, up to where
    another part begins."""


READERS = {
    "mask": Part(1, ("node.inference.mask:score_mask",)),
    "boxes": Part(1, ("node.inference.boxes:score_boxes",)),
    "classes": Part(1, ("node.inference.classes:score_classes",)),
    "score": Part(1, ("node.inference.whole_image:score_whole",)),
    "number": Part(1, ("node.inference.number:read_number",)),
    "solids": Part(1, ("node.inference.solids:score_solids",)),
    "heat map": Part(1, ("node.inference.whole_image:read_heat_map",)),
}
"""What makes scores of a network's answer, by the kind of output in the manifest; heat map: by
itself, or beside a score."""

JUDGES = {
    "steps": Part(1, ("node.inference.child:_Networks",)),
    "decoding": Part(3, ("node.imaging.image:open_image",)),
    "grey": Part(
        3,
        (
            "node.imaging.grey:displayed",
            "node.imaging.grey:is_shown_inverted",
            "node.imaging.grey:finished",
            "node.imaging.grey:padding_steps",
            "node.imaging.visibility:hidden_by",
        ),
    ),
    "spacing": Part(3, ("node.imaging.spacing:spacing_of",)),
    "preparation": Part(
        1,
        (
            "node.imaging.operations:prepare",
            "node.imaging.grid:PlaneGrid",
            "node.imaging.grid:Extent",
            "node.manifest.pixels:operations",
            "node.manifest.pixels:shape_after",
            "node.manifest.pixels:chest_wall",
            "node.manifest.pixels:without_orientation",
            "node.manifest.pixels:grey_values",
        ),
    ),
    "plausibility": Part(
        2,
        (
            "node.domains.mammography.plausibility:require_visible",
            "node.domains.mammography.plausibility:require_plausible",
            "node.domains.mammography.plausibility:require_plausible_outline",
            "node.domains.breast_mr.plausibility:require_visible",
            "node.domains.breast_mr.plausibility:require_plausible",
            "node.domains.breast_mr.plausibility:require_plausible_outline",
            "node.domains.plain:require_visible",
            "node.domains.plain:require_plausible",
            "node.domains.plain:require_plausible_outline",
        ),
    ),
    "network": Part(1, ("node.inference.onnx:OnnxSession",)),
}
"""What every image passes on its way to a score, and a volume."""

VOLUME_MAKERS = {
    "volumes": Part(
        1,
        (
            "node.imaging.volume:slices_of",
            "node.imaging.volume:volume_of",
            "node.imaging.planes:planes_of",
            "node.imaging.signal_scale:scales_of",
            "node.imaging.signal_scale:one_scale",
            "node.imaging.stack:stack_of",
            "node.imaging.stack:require_one_grid",
        ),
    ),
    "voxels": Part(1, ("node.imaging.voxels:prepare_phases",)),
    "motion": Part(1, ("node.imaging.motion:displacement_of", "node.imaging.motion:coarse")),
    "midline": Part(1, ("node.imaging.midline:midline_of",)),
}
"""What volumes pass besides: no part of the key of a score of images."""

FORM = Part(
    6,
    (
        "node.result:UnitScore",
        "node.result:Mark",
        "node.result:Measurement",
        "node.result:HeatMap",
        "node.result:Code",
        "node.result:PERCENT",
    ),
)
"""How a score is written: those of another form are not found, hence never read."""


def parts() -> dict[str, Part]:
    """Return all of them by name."""
    return {**JUDGES, **VOLUME_MAKERS, **READERS, "form": FORM}


def numbers_for(readers: Collection[str], *, of_volumes: bool) -> str:
    """Return what goes into the key of a model's scores, by what it reads and its answers."""
    makers = VOLUME_MAKERS if of_volumes else {}
    of_answers = {reader: READERS[reader] for reader in readers}
    named = {**JUDGES, **makers, **of_answers, "form": FORM}
    return " ".join(f"{name}={part.number}" for name, part in named.items())
