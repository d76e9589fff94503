"""How the scores of what was read become what is said of images, breasts and the exam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from node.domains.domain import Combined
from node.domains.evaluation import (
    Numbers,
    Said,
    calibrated,
    combination_of,
    evaluated,
    label_of,
)
from node.domains.mammography.lesions import how_lesions_were_counted, lesions_of_marks
from node.domains.mammography.scope import missing_views
from node.manifest import (
    UNCOMBINED,
    BoxesOutput,
    ClassesOutput,
    Input,
    MaskOutput,
    Model,
    PartOfStudy,
    ScoreOutput,
    part_of,
)
from node.result import PERCENT, Evaluation, Measurement, OutputScore, UnitScore
from node.study import Instance, Laterality, Unit, View

_SIDES = (Laterality.RIGHT, Laterality.LEFT)


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Combine the scores of units of mammograms, by their keys; each has one."""
    manifest = model.manifest
    seen = [instance.view for unit in units for instance in unit.instances.values()]
    missing = missing_views(manifest.input, seen)
    gap = f"Views not analysed or not received: {', '.join(map(str, missing))}."
    evaluations, lesions, remarks = list[Evaluation](), dict[tuple[int, str, int], str](), []
    said: dict[str, list[_Part]] = {}
    for number, output in enumerate(manifest.outputs):
        of_output = {unit.key: scores[unit.key].outputs[number] for unit in units}
        if isinstance(output, ScoreOutput | ClassesOutput):
            for part in _said(output, units, of_output, manifest.unit.of):
                said.setdefault(output.name, []).append(part)
        elif isinstance(output, MaskOutput | BoxesOutput):
            found = lesions_of_marks(output, units, of_output)
            lesions |= {(number, *place): name for place, name in found.items()}
            remarks += how_lesions_were_counted(output, units, of_output, found)
        if isinstance(output, MaskOutput):
            evaluations += _differences(manifest.input, output, units, of_output)
    for parts in said.values():
        evaluations += _evaluations(parts)
    return Combined(
        evaluations=tuple(evaluations),
        lesions=lesions,
        remarks=tuple(remarks),
        gaps=(gap,) if missing else (),
        missing=tuple(map(str, missing)),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What an output says of something, or what follows of several parts."""

    output: Said
    about: PartOfStudy
    name: str
    side: Laterality | None
    projection: str
    """"" unless it is one image."""
    images: tuple[str, ...]
    numbers: Numbers

    @property
    def evaluation(self) -> Evaluation:
        label = label_of(self.output, self.about, self.side, self.name)
        said = evaluated(self.output, label, self.numbers, self.images, self.side)
        return replace(said, about=self.about)


def _said(
    output: Said, units: Sequence[Unit], scores: Mapping[str, OutputScore], unit_of: PartOfStudy
) -> Iterable[_Part]:
    """Yield what an output says of each unit."""
    of_side = {"R breast": Laterality.RIGHT, "L breast": Laterality.LEFT}.get(output.about or "")
    for unit in units:
        images = [i for i in unit.instances.values() if of_side in (None, _view(i).laterality)]
        if not images:  # of a breast of which the network got nothing
            continue
        yield _Part(
            output=output,
            about=part_of(output, unit_of),
            name=unit.name,
            side=of_side or unit.laterality if part_of(output, unit_of) != "exam" else None,
            projection=_view(images[0]).projection if unit_of == "image" else "",
            images=tuple(image.sop_uid for image in images),
            numbers=calibrated(output, scores[unit.key]),
        )


def _evaluations(parts: Sequence[_Part]) -> list[Evaluation]:
    """Return what is said of the exam, of each breast, and of each image."""
    output = parts[0].output
    how = output.combine or UNCOMBINED
    images = [part for part in parts if part.about == "image"]
    breasts = [part for part in parts if part.about == "breast"]
    breasts = sorted(breasts, key=lambda part: part.side != Laterality.RIGHT)
    if how.breast and how.breast != "none":
        breasts = [
            _breast(how.breast, of_side)
            for side in _SIDES
            if (of_side := [image for image in images if image.side == side])
        ]
    exam = [part for part in parts if part.about == "exam"]
    below = breasts or images
    if how.exam and how.exam != "none" and {part.side for part in below} == set(_SIDES):
        exam = [_together(how.exam, "exam", below)]  # of one breast alone nothing is said of it
    if isinstance(output, ClassesOutput) and breasts:
        images = []
    return [part.evaluation for part in (*exam, *breasts, *images)]


def _breast(how: str, images: Sequence[_Part]) -> _Part:
    if how != "mean of views":
        return _together(how, "breast", images)
    views = dict.fromkeys(image.projection for image in images)
    means = [
        _together("mean", "breast", [image for image in images if image.projection == view])
        for view in views
    ]
    return replace(
        _together("mean", "breast", means), images=tuple(uid for i in images for uid in i.images)
    )


def _together(how: str, about: PartOfStudy, parts: Sequence[_Part]) -> _Part:
    return replace(
        parts[0],
        about=about,
        side=parts[0].side if about == "breast" else None,
        projection="",
        images=tuple(uid for part in parts for uid in part.images),
        numbers=combination_of(parts[0].output, how, [part.numbers for part in parts]),
    )


def _differences(
    wanted: Input, output: MaskOutput, units: Sequence[Unit], scores: Mapping[str, OutputScore]
) -> list[Evaluation]:
    """Compare right and left, projection by projection; of repeats the larger area counts."""
    concept = output.difference
    if concept is None:
        return []
    largest: dict[View, tuple[float, str]] = {}
    for unit in units:
        view = _view(unit.instance)
        for breast in scores[unit.key].marks:
            area = (breast.measurements[0].value, unit.sop_uid)
            largest[view] = max(area, largest.get(view, area))
    evaluations = []
    for projection in wanted.projections:
        right = largest.get(View(Laterality.RIGHT, projection))
        left = largest.get(View(Laterality.LEFT, projection))
        if right is None or left is None or right[0] == left[0] == 0:
            continue
        percent = 100 * abs(right[0] - left[0]) / max(right[0], left[0])
        evaluations.append(
            Evaluation(
                label=f"{projection} left-right difference",
                sop_uids=(right[1], left[1]),
                measurements=(Measurement(concept.as_code(), percent, PERCENT),),
                output=output.name,
                about="exam",
            )
        )
    return evaluations


def _view(instance: Instance) -> View:
    view = instance.view
    assert view is not None, "selection lets only images with a view through"
    return view
