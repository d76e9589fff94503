"""Curves on a dark page: ROC, and how often it is true what was said how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from node.evaluation.counting import QuestionFigures
from node.outputs.canvas import BODY, INKS, MUTED, WHITE, Canvas, Ink, Stroke, line_height, shorten

SIDE_PX = 900
"""Of the square in which the curves are."""
MARGIN_PX = 110
TYPE_PX = 24
_GRID = Stroke(Ink((38, 43, 48)), 1.5, 0)
_DIAGONAL = Stroke(Ink((100, 108, 115), (6, 6)), 2, 0)

Curve2d = Sequence[tuple[float, float]]
"""Points with both coordinates 0..1."""


@dataclass(frozen=True, slots=True)
class _Plot:
    """A square from 0 to 1 with a title, names of its axes, and what its lines are."""

    title: str
    across: str
    upwards: str
    canvas: Canvas = field(
        default_factory=lambda: Canvas((SIDE_PX + 2 * MARGIN_PX, SIDE_PX + 2 * MARGIN_PX + 60))
    )

    def draw(self, curves: Sequence[tuple[str, Curve2d]], *, with_dots: bool) -> NDArray[np.uint8]:
        self._frame()
        for (name, points), ink in zip(curves, INKS, strict=False):
            placed = [self._at(*point) for point in points]
            if len(set(placed)) > 1:
                self.canvas.line(placed, Stroke(ink, 4, 1))
            for x, y in placed if with_dots else ():
                corners = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
                self.canvas.line(
                    [(x + 5 * a, y + 5 * b) for a, b in corners], Stroke(Ink(ink.colour), 4, 1)
                )
            self._name(name, ink)
        return self.canvas.pixels()

    def _frame(self) -> None:
        self.canvas.text((MARGIN_PX, 30), shorten(self.title, 30, SIDE_PX), 30, WHITE)
        for tenth in range(0, 11, 2):
            place = tenth / 10
            self.canvas.line([self._at(place, 0), self._at(place, 1)], _GRID)
            self.canvas.line([self._at(0, place), self._at(1, place)], _GRID)
            x, y = self._at(place, 0)
            self.canvas.text((round(x) - 16, round(y) + 10), f"{place:.1f}", TYPE_PX, MUTED)
            x, y = self._at(0, place)
            self.canvas.text_right((round(x) - 12, round(y) - 14), f"{place:.1f}", TYPE_PX, MUTED)
        self.canvas.line([self._at(0, 0), self._at(1, 1)], _DIAGONAL)
        bottom = MARGIN_PX + SIDE_PX + 50
        self.canvas.text_right((MARGIN_PX + SIDE_PX, bottom), self.across, TYPE_PX, BODY)
        self.canvas.text((MARGIN_PX, MARGIN_PX - 34), self.upwards, TYPE_PX, BODY)

    def _name(self, name: str, ink: Ink) -> None:
        """Write what a line is into the lower right corner, below those before."""
        number = [one.colour for one in INKS].index(ink.colour)
        y = MARGIN_PX + SIDE_PX - (len(INKS) - number) * line_height(TYPE_PX) - 10
        left = MARGIN_PX + SIDE_PX // 2 - 20
        self.canvas.line([(left, y + 16.0), (left + 60.0, y + 16.0)], Stroke(ink, 4, 1))
        self.canvas.text((left + 76, y), shorten(name, TYPE_PX, SIDE_PX // 2 - 60), TYPE_PX, BODY)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return MARGIN_PX + x * SIDE_PX, MARGIN_PX + (1 - y) * SIDE_PX


def roc_plot(question: QuestionFigures) -> NDArray[np.uint8] | None:
    """Draw a curve for images, breasts and exams; None if there is none."""
    curves = []
    for about, figures in question.about.items():
        if figures.auc.value is not None:
            points = [(0.0, 0.0), *((false, true) for _, false, true in figures.roc)]
            curves.append((f"{about}: AUC {figures.auc.value:.3f}", points))
    if not curves:
        return None
    plot = _Plot(question.name, "false positives (1 - specificity)", "true positives (sensitivity)")
    return plot.draw(curves, with_dots=False)


def calibration_plot(question: QuestionFigures) -> NDArray[np.uint8] | None:
    """Draw what share is positive over what was said, each by itself; None if there is none."""
    curves = [
        (
            f"{about}: n = {sum(b.cases for b in bins)}",
            [(b.mean, b.positives / b.cases) for b in bins],
        )
        for about, figures in question.about.items()
        if figures.calibration is not None and (bins := figures.calibration.bins)
    ]
    if not curves:
        return None
    plot = _Plot(question.name, "what was said", "share that is positive")
    return plot.draw(curves, with_dots=True)
