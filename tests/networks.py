"""A network whose answers are made up, where `pipeline.inference` would be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from factories import unit_score

from node.manifest import Model
from node.result import PERCENT, Code, Mark, Measurement, UnitScore
from node.study import Frame, Instance, Picture, Unit, VolumePicture

AREA = Measurement(Code("42798000", "SCT", "Area"), 123.4, Code("cm2", "UCUM", "cm2"))
SCORE = Code("M", "99TEST", "Malignancy score")
OUTLINE = ((10.0, 10.0), (90.0, 10.0), (90.0, 200.0), (10.0, 200.0), (10.0, 10.0))


@dataclass(slots=True)
class Network:
    """A network that says the same of every image, unless it is told to fail."""

    asked: list[str] = field(default_factory=list)
    asked_by: list[tuple[str, str]] = field(default_factory=list)
    """The model's name, and of what."""
    fail: Callable[[Instance], None] = lambda instance: None
    percents: Mapping[str, float] = field(default_factory=dict)
    """Of each image, by its UID: a model that triages then gives a score of so many percent."""

    def score(self, unit: Unit, model: Model) -> UnitScore:
        self.asked.append(unit.sop_uid)
        self.asked_by.append((model.manifest.name, unit.sop_uid))
        self.fail(unit.instance)
        if unit.sop_uid in self.percents and model.manifest.triage is not None:
            score = Measurement(SCORE, self.percents[unit.sop_uid], PERCENT, 0, is_score=True)
            return unit_score(unit.sop_uid, (score,))
        return unit_score(unit.sop_uid, marks=(Mark(OUTLINE, (AREA,)),))

    def picture(self, instance: Instance) -> Picture:
        return Picture(np.full((332, 256), 99, np.uint8), 1.0)

    def slice_pictures(self, frames: Sequence[Frame]) -> tuple[Picture, ...]:
        raise AssertionError("this network reads images, and none of its results has slices")

    def volume_picture(
        self, before: Sequence[Frame], after: Sequence[Frame], places: Sequence[int]
    ) -> VolumePicture:
        raise AssertionError("this network reads images, and none of its results has solids")
