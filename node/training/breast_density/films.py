"""The films of mini-MIAS as the node would see them, and as other detectors would show them.

Every film passes through `node.imaging.operations.prepare`, as at run time; other detectors
are simulated before it, on the whole film. No file of the data set is written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from node import manifest
from node.imaging.image import Image
from node.imaging.operations import prepare
from node.manifest.pixels import operations
from node.study import Laterality, View
from node.training.breast_density.figures import GRADES

FOLDS = 5
SIDE = 384
"""Rows and columns of the network's input; the aspect is kept."""
PIXELS = manifest.Pixels(
    grey="voi",
    orientation="chest wall left",
    height=SIDE,
    width=SIDE,
    fit="pad",
    scale="0..1",
    channels=1,
)
"""What the package's manifest must say under [pixels]."""

Grey = NDArray[np.float32]
"""Shape (rows, columns), 0..1, brighter is denser."""


@dataclass(frozen=True, slots=True)
class Film:
    """One film and what the data set says of it."""

    number: int
    grade: int
    """Index into GRADES."""
    path: Path

    @property
    def woman(self) -> int:
        """Both films of a pair belong to one woman, whose number this is."""
        return (self.number + 1) // 2

    @property
    def laterality(self) -> Laterality:
        """Even numbers are left breasts, odd ones right (Info.txt, note 1)."""
        return Laterality.LEFT if self.number % 2 == 0 else Laterality.RIGHT

    def grey(self) -> Grey:
        """Return the film as published, 8 bits as 0..1."""
        with PIL.Image.open(self.path) as image:
            return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def find_mias_films(folder: Path) -> list[Film]:
    """Return the films that Info.txt lists, in its order, each once."""
    text = (folder / "Info.txt").read_text("latin-1")
    graded = re.findall(rf"(?m)^mdb(\d{{3}})\s+([{''.join(GRADES)}])\s", text)
    return [
        Film(number, GRADES.index(grade), folder / "images" / f"mdb{number:03d}.png")
        for number, grade in {int(number): grade for number, grade in graded}.items()
    ]


def folds_of(films: Sequence[Film]) -> NDArray[np.int64]:
    """Return each film's fold: the women of each grade dealt out at random, a pair together."""
    grade_of = {film.woman: film.grade for film in films}
    women = np.random.default_rng(0).permutation(sorted(grade_of))
    dealt = sorted(women, key=lambda woman: grade_of[woman])
    fold_of = {woman: place % FOLDS for place, woman in enumerate(dealt)}
    return np.array([fold_of[film.woman] for film in films])


def prepared(grey: Grey, laterality: Laterality, bits: int = 16) -> Grey:
    """Return the network's input, shape (1, SIDE, SIDE), as the node makes it of such an image."""
    highest = 2**bits - 1
    table = (np.arange(highest + 1) / highest).astype(np.float32)
    values = np.round(np.clip(grey, 0, 1) * highest).astype(np.uint16)
    image = Image(values, table, table, (), None)
    tensor = prepare(image, operations(PIXELS), View(laterality, "MLO")).tensor
    return np.asarray(tensor[0])


# --- other detectors --------------------------------------------------------------------------

Change = Callable[[Grey], Grey]
BLOCK = (0.176, 0.156)
"""Height and width of a white block as shares of the film's: 36 x 32 mm of mini-MIAS."""
BORDER = 0.06
"""Height of a white border as a share of the film's."""


def _zoomed(grey: Grey, scale: float) -> Grey:
    rows, columns = (max(1, round(size * scale)) for size in grey.shape)
    image = PIL.Image.fromarray(grey)
    return np.asarray(image.resize((columns, rows), PIL.Image.Resampling.BILINEAR))


def _windowed(grey: Grey, low: float, high: float) -> Grey:
    """Show only the grey values between two shares of the brightest."""
    return np.clip((grey / grey.max() - low) / (high - low), 0, 1)


def _sigmoid(grey: Grey) -> Grey:
    shown = 1 / (1 + np.exp(-8 * (grey / grey.max() - 0.5)))
    return np.asarray((shown - shown.min()) / np.ptp(shown), dtype=np.float32)


def _noisy(grey: Grey) -> Grey:
    noise = np.random.default_rng(0).normal(0, 0.03, grey.shape)
    return np.clip(grey + noise, 0, 1).astype(np.float32)


def _sharpened(grey: Grey) -> Grey:
    blurred = _zoomed(_zoomed(grey, 0.125), 8)
    return np.clip(grey + 0.8 * (grey - blurred), 0, 1)


def _evened(grey: Grey) -> Grey:
    """Brighten the thin parts near the skin, as processing for presentation does."""
    around = _zoomed(_zoomed(grey, 1 / 64), 64) + 0.1
    evened = grey / around**0.5
    return np.asarray(evened / evened.max(), dtype=np.float32)


def _cut_off(grey: Grey) -> Grey:
    """Lose a tenth of the height above and as much below."""
    cut = len(grey) // 10
    return grey[cut:-cut]


def _on_large_detector(grey: Grey) -> Grey:
    """Show the same film as part of a larger detector: the breast is smaller in the image."""
    rows = len(grey) // 4
    return np.pad(grey, ((rows, rows), (0, 0)))


def _on_black(grey: Grey) -> Grey:
    """Make the background of the film black, as a digital detector has it."""
    return np.clip((grey - 0.15) / 0.85, 0, 1)


def _with_blocks(grey: Grey) -> Grey:
    """Put white blocks as large as a plate of lead letters into both lower corners."""
    rows, columns = (round(size * share) for size, share in zip(grey.shape, BLOCK, strict=True))
    shown = grey.copy()
    shown[-rows:, :columns] = shown[-rows:, -columns:] = 1
    return shown


def _with_borders(grey: Grey) -> Grey:
    """Make a strip above and one below white, as a scanner shows what lies beside the film."""
    rows = round(len(grey) * BORDER)
    shown = grey.copy()
    shown[:rows] = shown[-rows:] = 1
    return shown


CHANGES: Mapping[str, Change] = {
    "the film itself": lambda grey: grey,
    "gamma 0.6": lambda grey: grey**0.6,
    "gamma 1.6": lambda grey: grey**1.6,
    "sigmoid window": _sigmoid,
    "narrow window (0.2 to 0.9)": lambda grey: _windowed(grey, 0.2, 0.9),
    "half resolution (0.4 mm)": lambda grey: _zoomed(grey, 0.5),
    "quarter resolution (0.8 mm)": lambda grey: _zoomed(grey, 0.25),
    "double resolution (0.1 mm)": lambda grey: _zoomed(grey, 2),
    "noise (3 % of the range)": _noisy,
    "sharpened": _sharpened,
    "thickness evened out": _evened,
    "field of view cut by a fifth": _cut_off,
    "field of view half as large again": _on_large_detector,
    "fog (0.15)": lambda grey: 0.15 + 0.85 * grey,
    "black background": _on_black,
    "white blocks in the lower corners": _with_blocks,
    "white borders above and below": _with_borders,
}
"""Simulated on the film as published, before it is prepared."""
