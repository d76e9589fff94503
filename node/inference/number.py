"""A number that a network measures."""

from __future__ import annotations

import math

from node.errors import ModelError
from node.imaging.grey import Float32
from node.manifest import NumberOutput
from node.result import Measurement, OutputScore


def read_number(values: Float32, output: NumberOutput) -> OutputScore:
    """Take the number, of shape (elements,), as it is; NaN is none, where the manifest says so."""
    element = output.element or 0
    if element >= len(values):
        raise ModelError(f"output {output.tensor!r} has no element {element}, only {len(values)}")
    value = float(values[element])
    if math.isnan(value):
        if output.none_if is None:
            raise ModelError(f"output {output.tensor!r} holds NaN or infinity")
        return OutputScore()
    quantity, unit = output.quantity.as_code(), output.unit.as_code()
    return OutputScore((Measurement(quantity, value, unit, output.decimals),))
