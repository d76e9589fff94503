"""Live progress: a table that changes on a terminal, a line per change anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from node.ledger import DeliveryState, Mode
from node.outputs import wording
from node.overview import Standing, StudyOverview
from node.result import Priority
from node.triage import deciding
from node.trial.exams import Exam

_COLOURS = {
    "sending": "cyan",
    Standing.RECEIVING: "cyan",
    Standing.QUEUED: "yellow",
    Standing.RUNNING: "yellow",
    Standing.DELIVERING: "magenta",
    Standing.DONE: "green",
}
_MANY = 100


@dataclass(frozen=True, slots=True)
class BoardRow:
    """Where one exam stands."""

    images: str
    step: str
    note: str
    level: str = ""
    """The triage level, as every place has it: with the word DEMONSTRATION."""


def in_reading_order(exams: Sequence[Exam], overviews: Mapping[str, StudyOverview]) -> list[Exam]:
    """Return exams as `ai-node studies` has them: who is to be read before others first.

    The others stay as they are; there the newest would be first.
    """
    waiting = [
        uid for uid, one in overviews.items() if one.level not in ("", str(Priority.ROUTINE))
    ]
    place = {uid: number for number, uid in enumerate(waiting)}
    return sorted(exams, key=lambda exam: place.get(exam.study_uid, len(place)))


def level_in_words(overview: StudyOverview) -> str:
    """Return "URGENT (DEMONSTRATION)", "" if there is no level yet."""
    return f"{overview.level.upper()} (DEMONSTRATION)" if overview.level else ""


def why_in_words(overview: StudyOverview) -> str:
    """Return why the study has its level, "" if it has none."""
    said = [m.result for m in overview.models if m.result and m.mode == Mode.DELIVER]
    by = deciding(said, demonstration_may_rank=True)
    if by is None or by.triage is None or str(by.triage.level) != overview.level:
        return ""
    return " ".join(wording.why_level(by.triage))


class Board:
    """Shows where every exam stands; use it in a `with` statement and update it."""

    def __init__(self, exams: Sequence[Exam], console: Console) -> None:
        self._exams = list(exams)
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
        """Show where the exams stand now, those that are to be read first above the others."""
        self._exams = in_reading_order(sorted(self._exams, key=lambda e: e.plan.letter), overviews)
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
            f"{passed_s:5.1f} s  {exam.plan.letter}  {row.images} images  {row.step:<10}  "
            + "; ".join(filter(None, [row.level, row.note])),
            highlight=False,
            soft_wrap=True,
        )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", "Study", "Images", "Step", "Level", "What happens"):
            table.add_column(
                heading,
                no_wrap=heading != "What happens",
                min_width=len(Standing.DELIVERING) if heading == "Step" else None,
            )
        for exam in self._exams:
            row = self._rows[exam.study_uid]
            colour = _COLOURS.get(row.step, "dim" if row.step == "-" else "red")
            step = f"[{colour}]{row.step}[/]"
            level = f"[{'bold red' if row.level.startswith('URGENT') else 'default'}]{row.level}[/]"
            table.add_row(exam.plan.letter, exam.plan.label, row.images, step, level, row.note)
        return table


def as_shown(count: int, exam: Exam) -> int:
    """Return how many images are said to be there: of hundreds, only the hundreds.

    Where a line is printed for each change, hundreds would be hundreds of lines.
    """
    is_counted = exam.images <= _MANY or count >= exam.images
    return count if is_counted else count - count % _MANY


def _row(exam: Exam, overview: StudyOverview | None, note: str) -> BoardRow:
    if overview is None:
        return BoardRow(f"0/{exam.images}", "-", note)
    images = f"{as_shown(overview.images, exam)}/{exam.images}"
    if overview.state == Standing.RECEIVING:
        return BoardRow(images, overview.state, note)
    sent = sum(delivery.state == DeliveryState.SENT for delivery in overview.deliveries)
    notes = [overview.error or why_in_words(overview) or overview.reason]
    if overview.deliveries:
        notes.append(f"{sent}/{len(overview.deliveries)} objects stored")
    said = "; ".join(filter(None, notes))
    return BoardRow(images, overview.state, said, level_in_words(overview))
