"""Recipes of breast MRI: what they leave to us, and what cannot be.

Their images are slices of a study, or one projection of it: the label is that of the study, and its
score that of the highest of its images. Left and right are both in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from node.manifest import Input, ManifestUnit
from node.manifest.inputs import OF_SLICES, amiss_in_expected_phases, amiss_in_slices
from node.manifest.pixels import Operations, are_of_volumes, shape_after
from node.manifest.voxels import needs_pre
from node.toml_file import Place

MAGNETIC_RESONANCE = "MR"
_UNIT: dict[str, Any] = {
    "of": "exam",
    "roles": ["pre", "early"],
    "early": {"middle_s": 150, "within_s": 60},
}
_SLICES: list[dict[str, Any]] = [
    {"op": "signal"},
    {"op": "orient", "axes": "HPL"},
    {"op": "spacing", "mm": [2.5, 1.5, 1.5]},
    {"op": "size", "slices": 64, "rows": 128, "columns": 224, "about": "breasts"},
    {"op": "subtract"},
    {"op": "percentiles", "low": 0, "high": 99.9, "of": "pre", "over": "breasts"},
    {"op": "slices", "along": "slices", "count": 32},
]
"""Axial slices of what the agent adds: white is as much as the brightest was before it."""
_UNCHANGED = {"flip_rows": False, "rotation_degrees": 0, "scale": 0, "grey": 0}
"""What [augmentation] does is what mammograms differ by: about the chest wall, on the left."""


def with_words_of_phases(words: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of breast MRI with all that it left to us; another one as it is."""
    given = words.get("input")
    if not isinstance(given, dict) or given.get("modality") != MAGNETIC_RESONANCE:
        return words
    usual = {
        "about": "exam",
        "unit": _UNIT,
        "channels": ["early"] if "unit" not in words else None,
        "pixels": _SLICES,
        "augmentation": _UNCHANGED,
    }
    of_input = {"body_parts": ["BREAST"], "sop_classes": list(OF_SLICES)}
    return {**usual, **words, "input": {**of_input, **given}}


def amiss_in_phases(
    wanted: Input, unit: ManifestUnit | None, channels: Sequence[str], of: Operations
) -> Iterator[tuple[Place, str]]:
    """Yield what cannot be learnt from, of a recipe of breast MRI."""
    if wanted.body_parts != ("BREAST",):
        yield ("input", "body_parts"), 'expected ["BREAST"], or leave it out'
    for place, words in amiss_in_slices(wanted):
        yield ("input", *place), words
    if unit is None:
        yield ("unit",), 'missing: which phases? of = "exam", roles = ["pre", "early"]'
        return
    for place, words in amiss_in_expected_phases(wanted, unit.roles):
        yield ("input", *place), words
    for place, words in unit.amiss_in_phases():
        yield ("unit", *place), words
    if unit.is_repeated:
        yield ("unit", "roles"), '"each post" gives many scores of a study, and it has one label'
    yield from _amiss_in_channels(unit, channels, of)
    yield from _amiss_in_images(unit, of)


def _amiss_in_channels(
    unit: ManifestUnit, channels: Sequence[str], of: Operations
) -> Iterator[tuple[Place, str]]:
    each = (shape_after(of) or (1,))[0]
    if len(channels) * each not in (1, 3):
        words = f"expected 1 or 3 channels in all, which a trunk reads, found {len(channels)} x"
        yield ("channels",), f"{words} {each}"
    for i, role in enumerate(channels):
        if role not in unit.roles:
            yield ("channels", i), f'"{role}" is none of the roles of [unit]'
        elif role in channels[:i]:
            yield ("channels", i), f'"{role}" is there twice'
    unseen = set(unit.roles) - set(channels) - ({"pre"} if any(needs_pre(of)) else set())
    for role in sorted(unseen):
        words = f'"{role}" is read, and no channel and nothing that others are compared with'
        yield ("unit", "roles", unit.roles.index(role)), words


def _amiss_in_images(unit: ManifestUnit, of: Operations) -> Iterator[tuple[Place, str]]:
    if not are_of_volumes(of):
        yield ("pixels", 0), 'expected op = "signal" first: phases are volumes'
    if len(shape_after(of)) != 3:
        words = 'expected op = "slices" or "mip" among the operations: a trunk reads images'
        yield ("pixels",), words
    if "pre" not in unit.roles:
        for at, word in needs_pre(of):
            yield ("pixels", at, word), 'is of "pre", which is none of the roles of [unit]'
