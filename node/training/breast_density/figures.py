"""What is measured, how it is kept beside the weights, and the tables of the model card."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.evaluation.measures import area_under_curve

GRADES = ("F", "G", "D")
"""Fatty, fatty-glandular, dense-glandular: Info.txt of the data set, second column."""
DENSE = GRADES.index("D")
RESAMPLES = 2000
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Of the bins of the reliability table."""

Floats = NDArray[np.float64]
"""Probabilities: shape (cases, 3), in the order of GRADES."""
Indices = NDArray[np.int64]
"""Shape (cases,): indices into GRADES, or numbers of women."""
CardTable = list[list[str]]


@dataclass(frozen=True, slots=True)
class Cases:
    """Answers and truth, case by case; a case is a film or a woman."""

    probabilities: Floats
    grades: Indices
    women: Indices

    def of_women(self) -> Cases:
        """Return one case per woman: the mean over her films, which have one grade."""
        women, first = np.unique(self.women, return_index=True)
        means = [self.probabilities[self.women == woman].mean(0) for woman in women]
        return Cases(np.array(means), self.grades[first], women)

    def drawn(self, random: np.random.Generator) -> Cases:
        """Return as many women as there are, drawn with replacement, with all their films."""
        women = np.unique(self.women)
        order = np.argsort(self.women, kind="stable")
        starts = np.searchsorted(self.women[order], women)
        groups = np.split(order, starts[1:])
        at = np.concatenate([groups[k] for k in random.integers(0, len(women), len(women))])
        return Cases(self.probabilities[at], self.grades[at], self.women[at])


Measure = Callable[[Cases], float]


def grade_auc(cases: Cases) -> float:
    """Return the mean over F, G and D of the AUC of one against the rest."""
    return float(
        np.mean(
            [
                area_under_curve(cases.probabilities[:, k], cases.grades == k)
                for k in range(len(GRADES))
            ]
        )
    )


def dense_auc(cases: Cases) -> float:
    """Return the AUC of D against F and G."""
    return area_under_curve(cases.probabilities[:, DENSE], cases.grades == DENSE)


def accuracy(cases: Cases) -> float:
    """Return the share of cases whose most probable grade is theirs."""
    return float(np.mean(cases.probabilities.argmax(1) == cases.grades))


def kappa(cases: Cases) -> float:
    """Return Cohen's kappa with quadratic weights (1968), F and D two steps apart."""
    found, steps = cases.probabilities.argmax(1), np.arange(len(GRADES))
    weights = (steps[:, None] - steps) ** 2
    table = np.zeros(weights.shape)
    np.add.at(table, (cases.grades, found), 1)
    by_chance = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(1 - (weights * table).sum() / max((weights * by_chance).sum(), 1e-9))


def sensitivity(cases: Cases) -> float:
    """Return the share of D whose probability of D is at least one half."""
    return float(np.mean(cases.probabilities[cases.grades == DENSE, DENSE] >= 0.5))


def specificity(cases: Cases) -> float:
    """Return the share of F and G whose probability of D is below one half."""
    return float(np.mean(cases.probabilities[cases.grades != DENSE, DENSE] < 0.5))


def brier(cases: Cases) -> float:
    """Return the squared distance from the truth, summed over the grades: 0 to 2."""
    truth = np.eye(len(GRADES))[cases.grades]
    return float(np.mean(((cases.probabilities - truth) ** 2).sum(1)))


def calibration_error(cases: Cases) -> float:
    """Return the expected calibration error of the most probable grade, ten equal bins."""
    sure = cases.probabilities.max(1)
    is_right = cases.probabilities.argmax(1) == cases.grades
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs(float(is_right[bins == k].sum() - sure[bins == k].sum())) for k in range(10)]
    return sum(gaps) / len(sure)


MEASURES: Mapping[str, Measure] = {
    "AUC F/G/D, mean of one against the rest": grade_auc,
    "AUC dense (D) against F and G": dense_auc,
    "accuracy F/G/D": accuracy,
    "kappa, quadratic weights": kappa,
    "sensitivity for D at 0.5": sensitivity,
    "specificity for D at 0.5": specificity,
    "Brier score (0 best, 2 worst)": brier,
    "expected calibration error": calibration_error,
}


def bootstrapped(cases: Cases) -> dict[str, list[float]]:
    """Return each measure with its 95 % interval: percentiles of a bootstrap over women."""
    random = np.random.default_rng(0)
    draws = [cases.drawn(random) for _ in range(RESAMPLES)]
    answers = {}
    for name, measure in MEASURES.items():
        low, high = np.percentile([measure(draw) for draw in draws], [2.5, 97.5])
        answers[name] = [round(float(x), 3) for x in (measure(cases), low, high)]
    return answers


def reliability(cases: Cases) -> list[list[float]]:
    """Return, per bin of the probability of D: edges, films, mean probability, share of D."""
    dense = cases.probabilities[:, DENSE]
    rows = []
    for low, high in itertools.pairwise(EDGES):
        inside = (dense >= low) & ((dense < high) | (high == 1))
        if inside.any():
            share = np.mean(cases.grades[inside] == DENSE)
            numbers = (low, high, inside.sum(), dense[inside].mean(), share)
            rows.append([round(float(x), 3) for x in numbers])
    return rows


def confusion(cases: Cases) -> list[list[int]]:
    """Return films counted by true grade (rows) and most probable grade (columns)."""
    found = cases.probabilities.argmax(1)
    grades = range(len(GRADES))
    return [[int(np.sum((cases.grades == t) & (found == f))) for f in grades] for t in grades]


def under_change(cases: Cases, unchanged: Cases) -> list[float]:
    """Return both AUCs, accuracy, and the share of films whose grade stays what it was."""
    same = cases.probabilities.argmax(1) == unchanged.probabilities.argmax(1)
    numbers = (grade_auc(cases), dense_auc(cases), accuracy(cases), same.mean())
    return [round(float(x), 3) for x in numbers]


# --- kept and shown ---------------------------------------------------------------------------


def save_figures(figures: Mapping[str, Any], path: Path) -> None:
    """Write sections of numbers, texts and lists as TOML."""
    lines = ["# Written by `python -m node.training.breast_density`; the card shows these figures."]
    for section, entries in figures.items():
        lines += ["", f"[{section}]", *(f'"{k}" = {_toml(v)}' for k, v in entries.items())]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def load_figures(path: Path) -> dict[str, Any]:
    """Read what `save_figures` wrote."""
    return tomllib.loads(path.read_text("utf-8"))


def tables(figures: Mapping[str, Any]) -> list[str]:
    """Return the tables of the model card, in its order."""
    films, women = figures["films"], figures["women"]
    agreement = [
        [name, _with_interval(films[name]), _with_interval(women[name])] for name in MEASURES
    ]
    counts = figures["confusion"]
    bins = figures["reliability"].values()
    changes = figures["changes"].items()
    return [
        _markdown(["", "per film (95 %)", "per woman (95 %)"], agreement),
        _markdown(
            ["true grade", *(f"said {g}" for g in GRADES)],
            [[g, *map(str, counts[g])] for g in GRADES],
        ),
        _markdown(
            ["probability of D", "films", "mean", "share that is D"],
            [[f"{b[0]:g} to {b[1]:g}", f"{b[2]:.0f}", f"{b[3]:.2f}", f"{b[4]:.2f}"] for b in bins],
        ),
        _markdown(
            ["as shown by", "AUC F/G/D", "AUC dense", "accuracy", "same grade"],
            [[name, *(f"{x:.3f}" for x in numbers)] for name, numbers in changes],
        ),
        _markdown(
            ["film", *GRADES],
            [[name, *(f"{x:.2f}" for x in p)] for name, p in figures["mammograms"].items()],
        ),
    ]


def _with_interval(numbers: Sequence[float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*numbers)


def _markdown(header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
