"""Generated breast MRI to try a package on that reads phases: small, and clearly different ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydicom import Dataset, uid

from node.manifest import EACH_POST, Manifest
from node.trial.breast_mr.body import STRONG_BACKGROUND, THREE_LESIONS, USUAL, WITHOUT_LESION, Body
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import ENHANCED_STYLE, LEGACY, STANDARD, Style

_SHAPE = (24, 64, 80)
"""Slices, rows and columns of a phase: enough to see a body, and soon made."""

_STYLES: Mapping[str, Style] = {
    uid.MRImageStorage: STANDARD,
    uid.EnhancedMRImageStorage: ENHANCED_STYLE,
    uid.LegacyConvertedEnhancedMRImageStorage: LEGACY,
}
"""What writes objects of a SOP class: of each that a manifest may name."""

UNLIKE_BODIES: tuple[Body, ...] = (
    USUAL,
    replace(WITHOUT_LESION, density=0.9),
    replace(THREE_LESIONS, background=STRONG_BACKGROUND.background),
)
"""Bodies that differ clearly: with a lesion, without any, with several and marked background."""


def generated_mr(manifest: Manifest, study: str, body: Body = USUAL) -> list[Dataset]:
    """Return a breast MRI with the phases that a model reads, and of a class that it takes."""
    style = _STYLES[manifest.input.sop_classes[0]]
    schedule = PhaseTimes(posts=_posts(manifest))
    plan = StudyPlan(body=body, style=style, shape=_SHAPE, schedule=schedule, beside=False)
    return breast_mr(study, plan)


def _posts(manifest: Manifest) -> int:
    """Return how many phases after the injection there must be for all roles."""
    unit, times = manifest.unit, PhaseTimes()
    numbers = [1]
    for role in unit.roles:
        if (moment := unit.moments.get(role)) is not None:
            first, lasts = times.middle_s(1), times.phase_s
            numbers.append(round((moment.middle_s - first) / lasts) + 1)
        elif role == EACH_POST:
            numbers.append(2)
        elif role.startswith("post "):
            numbers.append(int(role.removeprefix("post ")))
    return max(numbers)
