"""Live progress: a table that changes on a terminal, a line per change anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from node.ledger import DeliveryState
from node.overview import Standing, StudyOverview
from node.trial.exams import Exam

_COLOURS = {
    "sending": "cyan",
    Standing.RECEIVING: "cyan",
    Standing.QUEUED: "yellow",
    Standing.RUNNING: "yellow",
    Standing.DELIVERING: "magenta",
    Standing.DONE: "green",
}


@dataclass(frozen=True, slots=True)
class BoardRow:
    """Where one exam stands."""

    views: str
    step: str
    note: str


class Board:
    """Shows where every exam stands; use it in a `with` statement and update it."""

    def __init__(self, exams: Sequence[Exam], console: Console) -> None:
        self._exams = exams
        self._console = console
        self._notes = dict.fromkeys((exam.study_uid for exam in exams), "waits")
        self._lock = threading.Lock()
        self._rows = {exam.study_uid: BoardRow(f"0/{exam.images}", "-", "") for exam in exams}
        self._started = time.monotonic()
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8)

    def __enter__(self) -> Board:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def tell(self, exam: Exam, note: str) -> None:
        """Say what the modality is doing with an exam; from any thread."""
        with self._lock:
            self._notes[exam.study_uid] = note

    def update(self, overviews: Mapping[str, StudyOverview]) -> None:
        """Show where the exams stand now."""
        for exam in self._exams:
            with self._lock:
                note = self._notes[exam.study_uid]
            row = _row(exam, overviews.get(exam.study_uid), note)
            if row != self._rows[exam.study_uid]:
                self._rows[exam.study_uid] = row
                if not self._console.is_terminal:
                    self._print(exam, row)

    def _print(self, exam: Exam, row: BoardRow) -> None:
        passed_s = time.monotonic() - self._started
        self._console.print(
            f"{passed_s:5.1f} s  {exam.plan.letter}  {row.views} views  {row.step:<10}  {row.note}",
            highlight=False,
            soft_wrap=True,
        )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", "Study", "Views", "Step", "What happens"):
            table.add_column(
                heading,
                no_wrap=heading != "What happens",
                min_width=len(Standing.DELIVERING) if heading == "Step" else None,
            )
        for exam in self._exams:
            row = self._rows[exam.study_uid]
            colour = _COLOURS.get(row.step, "dim" if row.step == "-" else "red")
            step = f"[{colour}]{row.step}[/]"
            table.add_row(exam.plan.letter, exam.plan.label, row.views, step, row.note)
        return table


def _row(exam: Exam, overview: StudyOverview | None, note: str) -> BoardRow:
    if overview is None:
        return BoardRow(f"0/{exam.images}", "-", note)
    views = f"{overview.images}/{exam.images}"
    if overview.state == Standing.RECEIVING:
        return BoardRow(views, overview.state, note)
    sent = sum(delivery.state == DeliveryState.SENT for delivery in overview.deliveries)
    notes = [overview.error or overview.reason]
    if overview.deliveries:
        notes.append(f"{sent}/{len(overview.deliveries)} objects stored")
    return BoardRow(views, overview.state, "; ".join(filter(None, notes)))
