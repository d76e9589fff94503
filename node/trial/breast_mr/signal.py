"""What is seen of a body: signal of each tissue by weighting, enhancement, coil and noise.

A voxel is the mean of its eight parts, so borders are as blurred as in a real image. What enhances
and by how much is `enhancement`, the same that the truth is made of.
"""

from __future__ import annotations

import hashlib
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from node.trial.breast_mr.anatomy import Tissue, core_of, paint, rim_of
from node.trial.breast_mr.body import Body, Uptake
from node.trial.breast_mr.raster import Raster

_PARTS = 2
"""Into how many each edge of a voxel is cut."""
_GLANDS = (Tissue.GLAND_1, Tissue.GLAND_2, Tissue.GLAND_3, Tissue.GLAND_4)
NOISE = 7.0
"""Standard deviation; gland before the injection is 200 or more, in front of the chest."""


class Weighting(Enum):
    """What a sequence shows; the signals of air, skin, fat and so on, in the order of `Tissue`."""

    T1_FAT_SUPPRESSED = (0, 170, 80, 235, 20, 60, 150, 140, 260, 230, 45, 25, 200, 215, 230, 245)
    T1 = (0, 320, 760, 250, 20, 300, 160, 150, 280, 260, 70, 30, 240, 255, 270, 285)
    T2 = (0, 160, 210, 110, 15, 90, 60, 40, 150, 260, 900, 40, 300, 330, 370, 420)
    DIFFUSION_B0 = (0, 60, 40, 110, 5, 30, 70, 30, 160, 150, 120, 20, 230, 250, 270, 300)
    DIFFUSION_B800 = (0, 25, 25, 45, 2, 15, 15, 8, 60, 70, 25, 8, 60, 65, 70, 75)
    ADC = (0, 600, 250, 1100, 0, 300, 1900, 2400, 1200, 950, 0, 0, 1700, 1700, 1700, 1750)
    """In 10^-6 mm2/s."""

    @property
    def of_lesion(self) -> int:
        """Signal of a lesion before the injection."""
        return _OF_LESION[self.name]


_OF_LESION = {
    "T1_FAT_SUPPRESSED": 215,
    "T1": 255,
    "T2": 340,
    "DIFFUSION_B0": 300,
    "DIFFUSION_B800": 150,
    "ADC": 870,
}


def enhancement(body: Body, seconds: float) -> NDArray[np.float64]:
    """Return by label (256) how much more signal there is than before: 1.0 is 100 %."""
    table = np.zeros(256)
    table[Tissue.SKIN] = 0.15 * Uptake.PERSISTENT.at(seconds)
    table[Tissue.MUSCLE] = 0.12 * Uptake.PERSISTENT.at(seconds)
    table[Tissue.LIVER] = 0.6 * Uptake.PLATEAU.at(seconds)
    table[Tissue.BONE] = 0.2 * Uptake.PERSISTENT.at(seconds)
    table[Tissue.NIPPLE] = 0.7 * Uptake.PERSISTENT.at(seconds)
    table[[Tissue.HEART, Tissue.VESSEL]] = 2.4 * Uptake.BLOOD.at(seconds)
    for part, label in zip((0.35, 0.55, 0.8, 1.0), _GLANDS, strict=True):
        table[label] = part * body.background * Uptake.PERSISTENT.at(seconds)
    for number, lesion in enumerate(body.lesions):
        table[rim_of(number)] = lesion.enhancement * lesion.uptake.at(seconds)
        table[core_of(number)] = lesion.core * table[rim_of(number)]
    return table


class Scanner:
    """One body on one raster: makes images of it, and paints it only when it has moved."""

    def __init__(self, body: Body, raster: Raster, name: str, noise: float = NOISE) -> None:
        self._body, self._raster, self._name, self._noise = body, raster, name, noise
        self._painted: dict[Body, NDArray[np.uint8]] = {}
        self._gain = self._coil()

    def image(
        self, weighting: Weighting, *, phase: int = 0, seconds: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the signal (slices, rows, columns) so long after the injection, with noise."""
        table = np.zeros(256)
        table[: len(Tissue)] = weighting.value
        for number in range(len(self._body.lesions)):
            table[[rim_of(number), core_of(number)]] = weighting.of_lesion
        table *= 1 + enhancement(self._body, seconds)
        clean = self._mean(table.astype(np.float32), phase)
        if weighting is Weighting.ADC:
            return clean
        return self._with_noise(clean * self._gain, f"{weighting.name} {phase}")

    def _labels(self, phase: int) -> NDArray[np.uint8]:
        body = self._body.moved(phase)
        if body not in self._painted:
            self._painted[body] = paint(body, self._raster.finer(_PARTS))
        return self._painted[body]

    def _mean(self, table: NDArray[np.float32], phase: int) -> NDArray[np.float32]:
        labels = self._labels(phase)
        made = np.empty(self._raster.shape, np.float32)
        for index in range(len(made)):
            part = table[labels[index * _PARTS : (index + 1) * _PARTS]].sum(0)
            made[index] = (
                part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]
            ) / _PARTS**3
        return made

    def _coil(self) -> NDArray[np.float32]:
        """Return the sensitivity of a breast coil: high in front of the chest, low behind it."""
        slices, rows, columns = self._raster.shape
        index = np.array(np.meshgrid(*map(np.arange, (slices, rows, columns)), indexing="ij"))
        steps, first = self._raster.vectors(), np.asarray(self._raster.first_mm)
        start = self._body.own(first[np.newaxis])[0]
        turned = steps @ self._body.turn()
        y = start[1] + np.tensordot(turned[:, 1].astype(np.float32), index, axes=(0, 0))
        return np.asarray(0.35 + 0.75 / (1 + np.exp((y - 45) / 28)), np.float32)

    def _with_noise(self, clean: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        """Return the magnitude of a signal with noise in both parts (Rice's distribution)."""
        digest = hashlib.sha256(f"{self._name} {what}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        real = random.standard_normal(clean.shape, np.float32) * np.float32(self._noise) + clean
        imaginary = random.standard_normal(clean.shape, np.float32) * np.float32(self._noise)
        magnitude: NDArray[np.float32] = np.sqrt(real**2 + imaginary**2)
        return magnitude
