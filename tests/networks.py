"""A network whose answers are made up, where `pipeline.inference` would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from factories import unit_score

from node.manifest import Model
from node.result import Code, Mark, Measurement, UnitScore
from node.study import Instance, Picture, Unit

AREA = Measurement(Code("42798000", "SCT", "Area"), 123.4, Code("cm2", "UCUM", "cm2"))
OUTLINE = ((10.0, 10.0), (90.0, 10.0), (90.0, 200.0), (10.0, 200.0), (10.0, 10.0))


@dataclass(slots=True)
class Network:
    """A network that says the same of every image, unless it is told to fail."""

    asked: list[str] = field(default_factory=list)
    fail: Callable[[Instance], None] = lambda instance: None

    def score(self, unit: Unit, model: Model) -> UnitScore:
        self.asked.append(unit.sop_uid)
        self.fail(unit.instance)
        return unit_score(unit.sop_uid, marks=(Mark(OUTLINE, (AREA,)),))

    def picture(self, instance: Instance) -> Picture:
        return Picture(np.full((332, 256), 99, np.uint8), 1.0)
