"""What was measured, as the tables of the card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from node.training.breast_mr_enhancement.measuring import (
    LARGE_ERROR,
    LARGE_ML,
    SMALL_ERROR,
    SMALL_ML,
    MeasuredBreast,
)

BEGIN = "<!-- measured by `python -m node.training.breast_mr_enhancement --measure` -->"
END = "<!-- end of what was measured -->"
_OF_LESIONS = ("varied", "how", "voxels, mm", "side", "true, ml", "found, ml", "error", "limit")
_WITHOUT = ("body without lesion", "side", "false, ml", "thinner than 3 mm, ml")


def measured_tables(rows: Sequence[MeasuredBreast]) -> str:
    """Return all rows, and how many hold."""
    of_lesions = [row for row in rows if row.true_ml > 0]
    without = [row for row in rows if row.true_ml == 0]
    parts = [
        "\n".join(_summary(of_lesions)),
        _table(_OF_LESIONS, map(_of_lesion, of_lesions)),
        "Breasts without a lesion, those beside one among them:",
        _table(_WITHOUT, map(_of_none, without)),
    ]
    return "\n\n".join(parts)


def write_tables(card: Path, rows: Sequence[MeasuredBreast], weights_sha256: str) -> None:
    """Put the tables between their marks in a card, with which network was measured."""
    before, _, rest = card.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = f"{of_network(weights_sha256)}\n\n{measured_tables(rows)}"
    card.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", "utf-8")


def of_network(weights_sha256: str) -> str:
    """Return the sentence that says which network was measured."""
    return f"Measured: the network whose SHA-256 begins with {weights_sha256[:12]}."


def _summary(rows: Sequence[MeasuredBreast]) -> Iterator[str]:
    groups = {
        f"{LARGE_ML:g} ml and more, within {100 * LARGE_ERROR:g} %": LARGE_ERROR,
        f"{SMALL_ML:g} to {LARGE_ML:g} ml, within {100 * SMALL_ERROR:g} %": SMALL_ERROR,
        f"below {SMALL_ML:g} ml, no limit": None,
    }
    yield from _lines(("true volume", "breasts", "hold", "error"))
    for words, limit in groups.items():
        errors = [r.error for r in rows if r.limit == limit and r.error is not None]
        hold = [r.holds for r in rows if r.limit == limit and r.holds is not None]
        if errors:
            count = f"{sum(hold)}" if hold else ""
            between = f"{100 * min(errors):+.1f} to {100 * max(errors):+.1f} %"
            yield f"| {words} | n = {len(errors)} | {count} | {between} |"


def _of_lesion(row: MeasuredBreast) -> tuple[str, ...]:
    held = {True: "holds", False: "**does not hold**", None: ""}[row.holds]
    found = "not analysed" if row.found_ml is None else f"{row.found_ml:.2f}"
    error = "" if row.error is None else f"{100 * row.error:+.1f} %"
    of = row.of
    return (
        of.varied,
        of.what,
        of.voxels_mm,
        str(row.side),
        f"{row.true_ml:.2f}",
        found,
        error,
        held,
    )


def _of_none(row: MeasuredBreast) -> tuple[str, ...]:
    found = "not analysed" if row.found_ml is None else f"{row.found_ml:.2f}"
    return f"{row.of.varied}: {row.of.what}", str(row.side), found, f"{row.thin_ml:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([*_lines(head), *(f"| {' | '.join(row)} |" for row in rows)])


def _lines(head: Sequence[str]) -> tuple[str, str]:
    return f"| {' | '.join(head)} |", "|" + "---|" * len(head)
