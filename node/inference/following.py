"""How the signal within a solid follows the contrast agent, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from highdicom import Volume

from node.errors import StudyError
from node.imaging.motion import CAUTION_MM, coarse, displacement_of
from node.imaging.solid_bits import Voxels, voxels_of_bits
from node.imaging.volume import Slice, volume_of
from node.imaging.voxels import naming_phase, require_comparable
from node.inference.on_volumes import OnVolumes
from node.manifest import Manifest, SolidsOutput
from node.result import OutputScore
from node.study import PRE_CONTRAST

MOST_NAMED = 3
Followed = tuple[int, int]
"""Of a solid: the output's, and the solid's among those of it."""


def with_percents(
    scores: Sequence[OutputScore],
    manifest: Manifest,
    on: OnVolumes,
    before: Sequence[Slice],
    after: Mapping[str, Sequence[Slice]],
) -> tuple[list[OutputScore], tuple[str, ...]]:
    """Return the scores with what each phase adds to the mean signal within their solids.

    And in words which phases cannot be followed, those too that moved. Each phase is decoded once.
    """
    wanted = {
        (at, number): voxels_of_bits(one.bits, *on.size)
        for at, (score, output) in enumerate(zip(scores, manifest.outputs, strict=True))
        for number, one in enumerate(score.solids)
        if isinstance(output, SolidsOutput) and one.part == output.followed and one.decisive
    }
    if not wanted:
        return list(scores), ()
    still = _Still(volume_of(before), wanted, on, manifest)
    first = still.means
    percents: dict[Followed, list[tuple[str, float]]] = {place: [] for place in wanted}
    unfollowed = list[str]()
    for name, slices in after.items():
        try:
            require_comparable({PRE_CONTRAST: before, name: slices})
            with naming_phase(name):
                means = still.means_in(volume_of(slices))
        except StudyError as error:
            unfollowed.append(str(error))
            continue
        for place, mean in means.items():
            if first[place] > 0:
                percents[place].append((name, 100 * (mean / first[place] - 1)))
    followed = list(scores)
    for (at, number), found in percents.items():
        solids = list(followed[at].solids)
        solids[number] = replace(solids[number], percents=tuple(found))
        followed[at] = replace(followed[at], solids=tuple(solids))
    return followed, (_not_in_the_curve(unfollowed),) if unfollowed else ()


def _not_in_the_curve(reasons: Sequence[str]) -> str:
    """Say of all at once why they are not: of a series of many phases a reader needs no list."""
    more = len(reasons) - MOST_NAMED
    rest = f"; and {more} phases more" if more > 0 else ""
    return f"not in the curve: {'; '.join(reasons[:MOST_NAMED])}"[:250] + rest


class _Still:
    """The phase before contrast, coarse: where a phase moved, voxels are other tissue."""

    def __init__(
        self, before: Volume, wanted: Mapping[Followed, Voxels], on: OnVolumes, manifest: Manifest
    ) -> None:
        self.means = _means(before, wanted, on)
        self._before, self._wanted, self._on = coarse(before), wanted, on
        self._most_mm = manifest.unit.most_displaced_mm or CAUTION_MM

    def means_in(self, volume: Volume) -> dict[Followed, float]:
        """Return the means in a phase after contrast.

        Raises StudyError if it moved farther than the model takes, without a word CAUTION_MM.
        """
        after = self._before.with_array(coarse(volume).array)
        mm = displacement_of(self._before, after).mm
        if mm > self._most_mm:
            words = f"moved by {mm:.1f} mm since {PRE_CONTRAST}"
            raise StudyError(f"{words}, more than the {self._most_mm:g} mm that a curve takes")
        return _means(volume, self._wanted, self._on)


def _means(
    volume: Volume, wanted: Mapping[Followed, Voxels], on: OnVolumes
) -> dict[Followed, float]:
    """Return the mean signal within each solid, of a phase on the grid of that before contrast."""
    means = {}
    for place, voxels in wanted.items():
        total, count = 0.0, 0
        for number in voxels.places():
            values = volume.array[on.order[number]][voxels.on(number)]
            total += float(values.sum(dtype=np.float64))
            count += len(values)
        means[place] = total / count
    return means
