"""What a score is worth: calibration, operating points, and the levels that follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from node import result
from node.manifest.inputs import PartOfStudy
from node.manifest.words import (
    BetweenZeroAndOne,
    Figure,
    GivenName,
    GrownSection,
    ManifestCode,
    Sentence,
    Share,
)
from node.toml_file import Place, Section, wrong

_PROBABILITY_OF_CANCER = ("111047", "DCM")


class Temperature(Section):
    """The logit is divided by a number: 1 / (1 + exp(-logit(p) / temperature))."""

    kind: Literal["temperature"]
    temperature: Annotated[Figure, Field(gt=0)]
    prevalence: BetweenZeroAndOne | None = None
    """Of what it was fitted at."""
    data: Sentence
    """What it was fitted on."""

    def calibrated(self, p: float) -> float:
        """Return the calibrated score; 0 and 1 stay what they are."""
        return _from_logit(_logit(p) / self.temperature)


class Platt(Section):
    """A straight line in logits: 1 / (1 + exp(-(slope * logit(p) + intercept)))."""

    kind: Literal["platt"]
    slope: Annotated[Figure, Field(gt=0)]
    intercept: Figure
    prevalence: BetweenZeroAndOne | None = None
    """Of what it was fitted at."""
    data: Sentence
    """What it was fitted on."""

    def calibrated(self, p: float) -> float:
        """Return the calibrated score; 0 and 1 stay what they are."""
        return _from_logit(self.slope * _logit(p) + self.intercept)


Calibration = Temperature | Platt


def _logit(p: float) -> float:
    if p in (0, 1):
        return math.inf if p else -math.inf
    return math.log(p) - math.log1p(-p)


def _from_logit(x: float) -> float:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = math.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


class ManifestPoint(Section):
    """An operating point: a threshold of what is reported, and what was measured at it."""

    name: GivenName
    threshold: BetweenZeroAndOne
    """At least as much is positive; of the calibrated score, 0..1."""
    about: PartOfStudy
    sensitivity: Share
    sensitivity_interval: tuple[Share, Share]
    specificity: Share
    specificity_interval: tuple[Share, Share]
    positives: Annotated[int, Field(ge=1)]
    negatives: Annotated[int, Field(ge=1)]
    data: Sentence

    def as_point(self) -> result.OperatingPoint:
        """Return it as the plain value the results carry."""
        return result.OperatingPoint(**self.model_dump(exclude={"about"}))

    @model_validator(mode="after")
    def _intervals_hold_their_figures(self) -> Self:
        problems = [
            ((word,), f"expected [lower, upper] around {figure:g}, found [{low:g}, {high:g}]")
            for word, figure, (low, high) in (
                ("sensitivity_interval", self.sensitivity, self.sensitivity_interval),
                ("specificity_interval", self.specificity, self.specificity_interval),
            )
            if not low <= figure <= high
        ]
        if problems:
            raise wrong(problems)
        return self


class ManifestNegatives(GrownSection):
    """The scores of those without the disease: what a score is high or low among."""

    LATER: ClassVar[frozenset[str]] = frozenset({"who"})

    data: Sentence
    who: Sentence | None = None
    """Who they are, behind "higher than 93 of 100": "women without cancer within two years"."""
    count: Annotated[int, Field(ge=100)]
    percentiles: Annotated[tuple[Share, ...], Field(min_length=101, max_length=101)]
    """From the lowest score (0) to the highest (100), of what the operating points are about."""

    @property
    def among(self) -> str:
        """Who they are, in the words of the author, else what they were measured on."""
        return self.who or f"without the disease, of: {self.data}"

    @model_validator(mode="after")
    def _percentiles_rise(self) -> Self:
        for i, (lower, upper) in enumerate(pairwise(self.percentiles), start=1):
            if upper < lower:
                raise wrong([(("percentiles", i), f"{upper:g} is below the one before it")])
        return self


def amiss_in_points(points: Sequence[ManifestPoint]) -> Iterator[tuple[Place, str]]:
    """Yield what contradicts itself: each place is that of a point in the list."""
    for i, point in enumerate(points):
        if point.name in {other.name for other in points[:i]}:
            yield (i, "name"), f'"{point.name}" is there twice'
        for other in points[:i]:
            if other.about != point.about:
                continue
            lower, higher = sorted((point, other), key=lambda p: p.threshold)
            if lower.threshold == higher.threshold:
                yield (i, "threshold"), f'is that of "{other.name}", too'
            elif lower.sensitivity < higher.sensitivity or lower.specificity > higher.specificity:
                words = (
                    f'of "{lower.name}" and "{higher.name}" the higher threshold'
                    f' ("{higher.name}", {higher.threshold:g}) must have the lower sensitivity and'
                    " the higher specificity"
                )
                yield (i, "threshold"), words


def amiss_in_calibration(
    codes: Sequence[ManifestCode], calibration: Calibration | None, where: Place
) -> Iterator[tuple[Place, str]]:
    """Yield that a probability of cancer is not one: it depends on how many have it."""
    is_probability = any((c.value, c.scheme) == _PROBABILITY_OF_CANCER for c in codes)
    if is_probability and (calibration is None or calibration.prevalence is None):
        yield (
            where,
            "111047 (DCM) is the probability of cancer: say [outputs.calibration] with the "
            "prevalence it was fitted at, or write a code of your own for a score (scheme 99...)",
        )


class ManifestTriage(Section):
    """Which level a study gets: urgent, perhaps soon, else routine."""

    output: GivenName
    """Name of the output, a score, that decides."""
    urgent: GivenName
    """Name of the operating point from which on a study is urgent."""
    soon: GivenName | None = None
    """Name of a lower one."""
