"""What holds for outputs of breast MRI beside what holds for all."""

from __future__ import annotations

from collections.abc import Iterator

from node.manifest.inputs import ManifestUnit
from node.manifest.outputs import ClassesOutput, Output, ScoreOutput
from node.manifest.together import Numbered
from node.manifest.volume_outputs import NumberOutput, SolidsOutput
from node.toml_file import Place


def amiss_in_volume_outputs(
    outputs: Numbered, unit: ManifestUnit, *, is_of_mr: bool, batch: int
) -> Iterator[tuple[Place, str]]:
    """Yield where an output is of phases that are not there, or of a batch that is none."""
    for place, output in outputs:
        if isinstance(output, ScoreOutput | ClassesOutput):
            if output.over_slices is not None and batch == 1:
                words = 'has no effect: it is of several slices, op = "slices"'
                yield (*place, "over_slices"), words
        elif isinstance(output, NumberOutput | SolidsOutput) and not is_of_mr:
            yield (*place, "kind"), 'is of breast MRI: domain = "breast_mr"'
        elif isinstance(output, SolidsOutput):
            yield from (((*place, *at), words) for at, words in _amiss_in_solids(output, unit))
        for at, words in _amiss_in_needs(output, unit):
            yield (*place, *at), words


def _amiss_in_solids(output: SolidsOutput, unit: ManifestUnit) -> Iterator[tuple[Place, str]]:
    if output.about not in (None, unit.of):
        yield ("about",), 'the sides of solids are those of voxels: split = "breasts"'
    if "pre" not in unit.roles:
        yield ("kind",), 'solids lie on the slices of "pre", which is no role of [unit]'
    if unit.is_repeated:
        yield ("kind",), 'of several answers, one of "each post", there are no solids'


def _amiss_in_needs(output: Output, unit: ManifestUnit) -> Iterator[tuple[Place, str]]:
    needs = dict[Place, tuple[str, ...]]()
    if isinstance(output, NumberOutput):
        needs["needs",] = output.needs
    elif isinstance(output, SolidsOutput):
        needs = {("parts", at, "needs"): one.needs for at, one in enumerate(output.parts)}
    for place, roles in needs.items():
        for at, role in enumerate(roles):
            if role not in unit.roles:
                yield (*place, at), f'"{role}" is none of the roles of [unit]'
            elif role not in unit.optional and unit.missing != "blank":
                words = (
                    f'has no effect: nothing is read without "{role}", add it to [unit] optional'
                )
                yield (*place, at), words
