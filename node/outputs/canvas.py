"""A dark page to draw on: type of any size, wrapped to fit, thin smooth outlines, warm tints.

The colours of marks are Okabe and Ito's, which stay apart for every kind of colour blindness.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import cycle, pairwise
from math import hypot
from typing import Any

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
WARNING: Colour = (240, 228, 66)

RAMP = (
    (67, 46, 175),
    (148, 25, 166),
    (198, 19, 146),
    (240, 23, 126),
    (252, 84, 107),
    (252, 128, 102),
    (253, 163, 106),
    (254, 195, 113),
    (254, 226, 103),
)
"""From cold to warm, steps of one size in CIE lightness (30 to 90) and nearly so in colour.

Lightness alone orders them, so they read the same to every eye; none is grey, as tissue is.
"""
MOST_TINT = 0.6
"""How much of the warmest place is colour; the rest is the tissue below."""
SAMPLE_GREY = 90
"""The grey on which a colour bar shows its colours, as tissue would."""
SMOOTHING = 3
"""Outlines are drawn this many times larger, then made smaller."""
WORD = re.compile(r"[(]?[RL] [A-Z]+(?![a-z])\S*|[(]?\d[\d.]* %\S*|\S+")
"""What is not broken at its blank: a side and its projection, "R MLO", and "8 %" are one word."""
SUPERSCRIPT = {"cm2": "cm", "mm2": "mm"}
"""Units with a raised 2, a character the font does not have."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the one typeface (it comes with pillow) in a size given in pixels."""
    typeface = ImageFont.load_default(size)
    assert isinstance(typeface, ImageFont.FreeTypeFont), "pillow is built without FreeType"
    # Most words stand on every page.
    typeface.getmask2 = partial(_letters, size)  # type: ignore[method-assign]
    return typeface


@lru_cache(maxsize=512)
def _letters(size: int, *how: Any, **also: Any) -> Any:
    """Return what `getmask2` does, of a typeface in a size: letters as they look on every page."""
    return ImageFont.FreeTypeFont.getmask2(font(size), *how, **also)


@lru_cache(maxsize=4096)
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
class Ink:
    """What tells the marks of one model from another's: a colour, and for all eyes a rhythm."""

    colour: Colour
    dashes: tuple[float, ...] = ()
    """Lengths of dash, gap, dash, ... in widths of the line; none for an unbroken line."""


INKS = (
    Ink((86, 180, 233)),
    Ink((230, 159, 0), (6, 3)),
    Ink((204, 121, 167), (2, 2)),
    Ink((0, 158, 115), (7, 2.5, 2, 2.5)),
)
MARK: Colour = INKS[0].colour


@dataclass(frozen=True, slots=True)
class Stroke:
    """How an outline is drawn."""

    ink: Ink
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

    def sign(self, box: Box, text: str, size: int, colour: Colour) -> None:
        """Write a short sign in the middle of the box, with a dark border around its strokes."""
        border = max(2, size // 16)
        left, top, right, bottom = font(size).getbbox(text, stroke_width=border)
        x = (box[0] + box[2] - left - right) // 2
        y = (box[1] + box[3] - top - bottom) // 2
        self._draw.text((x, y), text, colour, font(size), stroke_width=border, stroke_fill=BLACK)

    def tint(self, warmth: NDArray[np.float64], box: Box) -> None:
        """Lay colours over the box: one value (0..1) for each pixel, which 0 leaves alone."""
        below = np.asarray(self._image.crop(box), dtype=np.float64)
        cover = MOST_TINT * warmth[..., None]
        blended = (1 - cover) * below + cover * colours(warmth)
        self._image.paste(Image.fromarray(np.round(blended).astype(np.uint8)), box[:2])

    def colour_bar(self, box: Box) -> None:
        """Draw the colours of `tint` from 0 to 1 as they look on tissue."""
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(SAMPLE_GREY,) * 3)
        warmth = np.linspace(0, 1, box[2] - box[0])
        self.tint(np.tile(warmth, (box[3] - box[1], 1)), box)

    def line(self, points: Sequence[tuple[float, float]], stroke: Stroke) -> None:
        """Draw a line through points on the page; closed if it ends where it began."""
        reach = int(np.ceil(stroke.width + stroke.halo)) + 1
        columns, rows = zip(*points, strict=True)
        left, top = int(min(columns)) - reach, int(min(rows)) - reach
        size = (int(max(columns)) + reach - left + 1, int(max(rows)) + reach - top + 1)
        path = [((x - left) * SMOOTHING, (y - top) * SMOOTHING) for x, y in points]
        rhythm = [length * stroke.width * SMOOTHING for length in stroke.ink.dashes]
        is_closed = path[0] == path[-1] and len(path) > 2
        whole = [*path, path[1]] if is_closed else path  # so that the last corner is joined too
        dashes = list(_dashes(path, rhythm)) if rhythm else [whole]
        for colour, thickness, strength in (
            (BLACK, stroke.width + 2 * stroke.halo, 0.7),
            (stroke.ink.colour, stroke.width, 1.0),
        ):
            mask = Image.new("L", (size[0] * SMOOTHING, size[1] * SMOOTHING), 0)
            line = ImageDraw.Draw(mask)
            for dash in dashes:
                line.line(
                    dash,
                    fill=round(255 * strength),
                    width=round(thickness * SMOOTHING),
                    joint="curve",
                )
            self._image.paste(colour, (left, top), mask.reduce(SMOOTHING))


def colours(warmth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours of values from 0 to 1, with a last axis of RGB."""
    places = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(warmth, places, channel) for channel in zip(*RAMP, strict=True)]
    return np.stack(channels, axis=-1)


def _dashes(
    path: Sequence[tuple[float, float]], rhythm: Sequence[float]
) -> Iterator[list[tuple[float, float]]]:
    """Yield the pieces of a path that are drawn: every other one of the rhythm's lengths."""
    lengths = cycle(rhythm)
    left, is_drawn, dash = next(lengths), True, [path[0]]
    for (x0, y0), (x1, y1) in pairwise(path):
        length, at = hypot(x1 - x0, y1 - y0), 0.0
        while length - at > left:
            at += left
            point = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length)
            if is_drawn:
                yield [*dash, point]
            left, is_drawn, dash = next(lengths), not is_drawn, [point]
        left -= length - at
        dash.append((x1, y1))
    if is_drawn:
        yield dash


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
