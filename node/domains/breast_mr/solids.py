"""What a network marked in phases -> the solids of a result, on the slices before contrast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node.domains.domain import Combined
from node.manifest import Model, NumberOutput, SolidsOutput
from node.result import (
    Code,
    Measurement,
    SliceStack,
    Solid,
    SolidSaid,
    UnitScore,
    UptakeCurve,
)
from node.study import PRE_CONTRAST, Frame, Unit

MILLILITER = Code("ml", "UCUM", "milliliter")


def solids_of(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Return the solids of what was read, on their stack; nothing of a network that gives none."""
    for unit in units:
        score = scores[unit.key]
        if score.stack is None:
            continue
        _, rows, columns = score.stack
        solids, curves = list[Solid](), list[UptakeCurve]()
        for output, said in zip(model.manifest.outputs, score.outputs, strict=True):
            if isinstance(output, SolidsOutput):
                solids += _solids(said.solids, output)
                curves += [_curve(one, output, unit) for one in said.solids if one.percents]
        return Combined(
            stack=_stack(unit.volumes[PRE_CONTRAST], rows, columns),
            contrasted=_contrasted(unit, rows, columns),
            solids=tuple(sorted(solids, key=lambda one: one.is_left_out)),
            curves=tuple(curves),
        )
    return Combined()


def lacking(model: Model, unit: Unit) -> Iterator[str]:
    """Yield what is not said of a unit, for phases that it needs and that are not there."""
    without = dict[tuple[str, ...], list[str]]()
    for output in model.manifest.outputs:
        named = list[tuple[str, tuple[str, ...]]]()
        if isinstance(output, NumberOutput):
            named = [(output.label, output.needs)]
        elif isinstance(output, SolidsOutput):
            named = [(part.label, part.needs) for part in output.parts]
        for label, needs in named:
            missing = tuple(role for role in needs if role not in unit.volumes)
            if missing:
                without.setdefault(missing, []).append(label)
    for missing, labels in without.items():
        *others, last = dict.fromkeys(labels)
        these = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        yield f"{unit.name}: {these} not given, without {' and '.join(missing)}."


def first_volume(unit: Unit) -> tuple[str, tuple[Frame, ...]]:
    """Return the phase before contrast, else the first there is, with its role."""
    role = PRE_CONTRAST if PRE_CONTRAST in unit.volumes else next(iter(unit.volumes))
    return role, unit.volumes[role]


def solid_label_of(one: SolidSaid, output: SolidsOutput) -> str:
    """Return what a solid is called: "L breast enhancing volume"."""
    whose = "Exam" if one.side is None else f"{one.side} breast"
    return f"{whose} {output.parts[one.part].label}"


def _solids(said: Sequence[SolidSaid], output: SolidsOutput) -> Iterator[Solid]:
    """Yield the parts that stand for themselves, each with the volumes of what is of it."""
    for one in said:
        label = output.parts[one.part].label
        if output.parts[one.part].of is None:
            of_it = [
                other
                for other in said
                if output.parts[other.part].of == label and other.side == one.side
            ]
            yield _solid(one, of_it, output)


def _solid(one: SolidSaid, of_it: Sequence[SolidSaid], output: SolidsOutput) -> Solid:
    part = output.parts[one.part]
    volumes = (
        Measurement(output.parts[each.part].volume.as_code(), each.ml, MILLILITER, output.decimals)
        for each in (one, *of_it)
    )
    return Solid(
        label=solid_label_of(one, output),
        kind=part.finding.as_code(),
        laterality=one.side,
        measurements=tuple(volumes),
        bits=one.bits,
        decisive=one.decisive,
        is_left_out=part.left_out,
        of_it=tuple(output.parts[other.part].label for other in of_it),
        output=output.name,
        site=None if part.site is None else part.site.as_code(),
    )


def _curve(one: SolidSaid, output: SolidsOutput, unit: Unit) -> UptakeCurve:
    """Return enhancement over time, of the phases whose times are known."""
    middles = {phase.name: phase.middle_s for phase in unit.followed_phases}
    points = tuple(
        (middle, percent)
        for name, percent in one.percents
        if (middle := middles.get(name)) is not None
    )
    return UptakeCurve(solid_label_of(one, output), one.side, points)


def _contrasted(unit: Unit, rows: int, columns: int) -> SliceStack | None:
    """Return the slices of the first phase after contrast, if it has as many."""
    before = unit.volumes[PRE_CONTRAST]
    after = next((v for role, v in unit.volumes.items() if role != PRE_CONTRAST), None)
    if after is None or len(after) != len(before):
        return None
    return _stack(after, rows, columns)


def _stack(volume: Sequence[Frame], rows: int, columns: int) -> SliceStack:
    slices = tuple((one.instance.sop_uid, one.number) for one in volume)
    return SliceStack(slices, rows, columns)
