"""A dark page to draw on: type of any size, wrapped to fit, and thin smooth outlines."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (240, 243, 245)
BODY: Colour = (200, 206, 211)
MUTED: Colour = (140, 149, 157)
RULE: Colour = (58, 65, 71)
MARK: Colour = (86, 190, 240)
"""Outlines and their numbers; sky blue and amber stay apart for every kind of colour blindness."""
WARNING: Colour = (255, 176, 0)

SMOOTHING = 3
"""Outlines are drawn this many times larger, then made smaller."""
WORD = re.compile(r"[(]?[RL] [A-Z]+(?![a-z])\S*|\S+")
"""What is not broken at its blank: a side and its projection, "R MLO", are one word."""
SUPERSCRIPT = {"cm2": "cm", "mm2": "mm"}
"""Units with a raised 2, a character the font does not have."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the one typeface (it comes with pillow) in a size given in pixels."""
    typeface = ImageFont.load_default(size)
    assert isinstance(typeface, ImageFont.FreeTypeFont), "pillow is built without FreeType"
    return typeface


def width(text: str, size: int) -> int:
    """Return how many pixels wide a line is."""
    return int(np.ceil(sum(font(s).getlength(part) for part, s, _ in _runs(text, size))))


def line_height(size: int) -> int:
    """Return the distance of lines that are read one after the other."""
    return round(size * 1.32)


def wrap(text: str, size: int, room: int) -> list[str]:
    """Break the text into lines of at most `room` pixels; words longer than that are cut."""
    lines: list[str] = []
    line = ""
    for word in _words(text, size, room):
        longer = f"{line} {word}".strip()
        if line and width(longer, size) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def shorten(text: str, size: int, room: int) -> str:
    """Return the text, or as much of it as fits with three dots behind."""
    if width(text, size) <= room:
        return text
    return f"{text[: _fitting_letters(text, size, room - width('...', size) - 1)].rstrip()}..."


def fitting_size(text: str, size: int, room: int, smallest: int) -> int:
    """Return the size, or the largest below it in which the line fits."""
    while size > smallest and width(text, size) > room:
        size -= 1
    return size


@dataclass(frozen=True, slots=True)
class Stroke:
    """How an outline is drawn."""

    colour: Colour
    width: float
    halo: float
    """Dark border on either side, which keeps it visible on bright tissue."""


class Canvas:
    """An RGB picture that only ever grows marks."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._image = Image.new("RGB", size, BLACK)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._image.size

    def pixels(self) -> NDArray[np.uint8]:
        """Return rows, columns, RGB."""
        return np.asarray(self._image, dtype=np.uint8)

    def text(self, at: tuple[int, int], text: str, size: int, colour: Colour = BODY) -> int:
        """Write a line with its top left corner there; return the x where it ends."""
        x, y = float(at[0]), at[1]
        for part, part_size, drop in _runs(text, size):
            self._draw.text((round(x), y + drop), part, fill=colour, font=font(part_size))
            x += font(part_size).getlength(part)
        return round(x)

    def text_right(self, at: tuple[int, int], text: str, size: int, colour: Colour = BODY) -> int:
        """Write a line that ends at x; return the x where it begins."""
        x = at[0] - width(text, size)
        self.text((x, at[1]), text, size, colour)
        return x

    def rule(self, left: int, right: int, y: int) -> None:
        """Draw a fine line from side to side."""
        self._draw.line((left, y, right, y), fill=RULE, width=max(1, self.size[0] // 1000))

    def frame(self, box: Box) -> None:
        """Draw an empty rectangle."""
        self._draw.rectangle(box, outline=RULE, width=max(1, self.size[0] // 1000))

    def tag(self, at: tuple[int, int], text: str, size: int, colour: Colour = WARNING) -> int:
        """Write a line in a rounded frame; return the x where the frame ends."""
        x, y = at
        margin = round(size * 0.45)
        right = x + width(text, size) + 2 * margin
        bottom = y + round(size * 1.6)
        self._draw.rounded_rectangle(
            (x, y, right, bottom),
            radius=round(size * 0.35),
            outline=colour,
            width=max(2, size // 14),
        )
        middle = (y + bottom) / 2 - size * 0.04
        self._draw.text((x + margin, middle), text, colour, font(size), anchor="lm")
        return right

    def picture(self, grey: NDArray[np.uint8], box: Box) -> None:
        """Place a grey picture, made to fill the box."""
        image = Image.fromarray(grey)
        size = (box[2] - box[0], box[3] - box[1])
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        self._image.paste(image.convert("RGB"), box[:2])

    def outline(self, points: Sequence[tuple[float, float]], stroke: Stroke) -> None:
        """Draw a closed line through points on the page."""
        reach = int(np.ceil(stroke.width + stroke.halo)) + 1
        columns, rows = zip(*points, strict=True)
        left, top = int(min(columns)) - reach, int(min(rows)) - reach
        size = (int(max(columns)) + reach - left + 1, int(max(rows)) + reach - top + 1)
        path = [((x - left) * SMOOTHING, (y - top) * SMOOTHING) for x, y in points]
        for colour, thickness, strength in (
            (BLACK, stroke.width + 2 * stroke.halo, 0.7),
            (stroke.colour, stroke.width, 1.0),
        ):
            mask = Image.new("L", (size[0] * SMOOTHING, size[1] * SMOOTHING), 0)
            line = ImageDraw.Draw(mask)
            line.line(
                path, fill=round(255 * strength), width=round(thickness * SMOOTHING), joint="curve"
            )
            self._image.paste(colour, (left, top), mask.reduce(SMOOTHING))


def _runs(text: str, size: int) -> list[tuple[str, int, int]]:
    """Split a line into parts of one size: (text, size, how far below the top it is drawn)."""
    runs: list[tuple[str, int, int]] = []
    for index, word in enumerate(text.split(" ")):
        gap = " " if index else ""
        if word in SUPERSCRIPT:
            runs += [(gap + SUPERSCRIPT[word], size, 0), ("2", round(size * 0.62), 0)]
        else:
            runs.append((gap + word, size, 0))
    return _joined(runs)


def _joined(runs: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    joined: list[tuple[str, int, int]] = []
    for part, size, drop in runs:
        if joined and joined[-1][1] == size:
            joined[-1] = (joined[-1][0] + part, size, drop)
        else:
            joined.append((part, size, drop))
    return joined


def _words(text: str, size: int, room: int) -> list[str]:
    """Split at blanks, and words that are too long wherever they stop fitting."""
    words: list[str] = []
    for word in WORD.findall(" ".join(text.split())):
        rest = word
        while width(rest, size) > room and len(rest) > 1:
            cut = max(1, _fitting_letters(rest, size, room))
            words.append(rest[:cut])
            rest = rest[cut:]
        words.append(rest)
    return words


def _fitting_letters(text: str, size: int, room: int) -> int:
    """Return how many of the letters, but not all, fit."""
    return bisect_right(range(1, len(text)), room, key=lambda count: width(text[:count], size))
