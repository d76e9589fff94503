"""The node between a simulated modality and a receiving PACS, all in one process.

`run_demo` sends five exams of mammograms and a breast MRI, shows what happens to them and which is
to be read first, and checks that every result that had to come back did. What it leaves behind is a
folder to look at.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from node.app import App
from node.config import Config
from node.demo import page
from node.demo.board import Board, as_shown, in_reading_order
from node.dimse import Address, SendOutcome, send
from node.errors import ConfigError, DeliveryError
from node.logs import log_to
from node.manifest import load_model
from node.overview import Standing, StudyOverview, study_overviews
from node.trial.checks import ExamOutcome, judge
from node.trial.exams import Exam, find_films, fresh_run, write_exams
from node.trial.mri import write_mri
from node.trial.pacs import AE_TITLE, Pacs

log = logging.getLogger(__name__)


MARKER = ".ai-node-demo"
"""A file in every folder the demonstration made: only such a folder is emptied again."""


MODELS = ("breast-area", "planted-disc", "breast-mr-enhancement")


NODE, MODALITY_AE = "DEMO_NODE", "DEMO_MODALITY"


DEADLINE_S = 150
"""How long the exams may take together before the demonstration gives up."""


POLL_S = 0.25


FINAL = frozenset(
    {
        Standing.DONE,
        Standing.UNDELIVERED,
        Standing.CANCELLED,
        Standing.HELD,
        Standing.OUT_OF_SCOPE,
    }
)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the demonstration puts things."""

    out: Path

    @property
    def pacs(self) -> Path:
        """What the PACS keeps: the results as DICOM, a folder per study."""
        return self.out / "dicom"

    @property
    def exams(self) -> Path:
        """The images sent: a folder per exam, for `ai-node send`."""
        return self.out / "exams"

    @property
    def work(self) -> Path:
        """The node's own state; removed if all went well."""
        return self.out / "work"


def run_demo(out: Path, console: Console, *, is_generated: bool = False) -> int:
    """Run the demonstration, leave its results in a folder, and return the exit code.

    0 only if every expected object arrived and was read back.
    """
    started = time.monotonic()
    folders = Folders(out.resolve())
    _empty(folders.out)
    if not console.is_terminal:
        console.width = max(console.width, 150)  # a log can take the whole line
    women = None if is_generated else find_films()
    _introduce(console, is_generated=women is None)
    run = fresh_run()
    exams = [*write_exams(folders.exams, run, women), write_mri(folders.exams, run)]
    with log_to(folders.out / "node.log"), Pacs(folders.pacs) as pacs:
        config = _config(folders.work / "state", pacs.port)
        overviews = _play(config, exams, console)
        models = [load_model(name, *config.models_dirs) for name in MODELS]
        outcomes = [
            judge(exam, overviews.get(exam.study_uid), pacs.kept, models)
            for exam in in_reading_order(exams, overviews)
        ]
    is_right = not any(outcome.faults for outcome in outcomes)
    if is_right:
        shutil.rmtree(folders.work)
    index = page.write_page(folders.out, outcomes, is_generated=women is None)
    _conclude(console, outcomes, index, time.monotonic() - started)
    return 0 if is_right else 1


def _empty(out: Path) -> None:
    """Make the folder, or empty it if a demonstration made it."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise ConfigError(
                f"{out} is not empty and was not made by the demonstration; "
                "choose another folder with --out, or remove it yourself"
            )
        for entry in out.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).write_text("The next `ai-node demo` may empty this folder.\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written to ({error.strerror})") from error


def _introduce(console: Console, *, is_generated: bool) -> None:
    images = (
        "Images: generated; they show nobody."
        if is_generated
        else "Images: films of two women (CBIS-DDSM, CC BY 3.0) under invented DEMO identities, "
        "and a generated MRI."
    )
    console.print(
        "[bold]A node, a modality that sends five exams of mammograms and a breast MRI, and a PACS "
        "that receives the results.[/]"
    )
    console.print(f"[bold yellow]{page.DEMONSTRATION}[/]")
    console.print(f"{images} Everything stays on this machine.\n", style="dim", highlight=False)


def _config(state_dir: Path, pacs_port: int) -> Config:
    """Return the configuration a site would write, with times that suit a spectator."""
    return Config.model_validate(
        {
            "node": {"ae_title": NODE, "state_dir": state_dir, "min_free_mb": 256},
            "listener": {"host": "127.0.0.1", "port": 0},
            "peers": [
                {
                    "name": "modality",
                    "ae_title": MODALITY_AE,
                    "host": "127.0.0.1",
                    "port": 104,
                    "sends": True,
                    "results_to": ["pacs"],
                },
                {
                    "name": "pacs",
                    "ae_title": AE_TITLE,
                    "host": "127.0.0.1",
                    "port": pacs_port,
                    "receives": "default",
                },
            ],
            "models": [{"name": name, "mode": "deliver"} for name in MODELS],
            "completeness": {"settle_s": 1.5, "quiet_s": 7, "final_s": 600},
            "inference": {"processes": 1, "threads": min(4, os.cpu_count() or 1)},
            "delivery": {"retry_first_s": 2},
            "triage": {"demonstration_may_rank": True},
        }
    )


def _play(config: Config, exams: Sequence[Exam], console: Console) -> dict[str, StudyOverview]:
    """Send the exams and watch until all are finished; return where they stand then."""
    app = App(config)
    app.start()
    try:
        to = Address(NODE, "127.0.0.1", app.port)
        with Board(exams, console) as board, ThreadPoolExecutor(len(exams)) as modality:
            sending = [modality.submit(_send, exam, to, board) for exam in exams]
            return _watch(app, exams, sending, board)
    finally:
        app.stop()


def _watch(
    app: App, exams: Sequence[Exam], sending: Sequence[Future[None]], board: Board
) -> dict[str, StudyOverview]:
    give_up_at = time.monotonic() + DEADLINE_S
    while True:
        overviews = {overview.study_uid: overview for overview in study_overviews(app.ledger)}
        board.update(overviews)
        is_over = all(future.done() for future in sending) and all(
            _is_final(exam, overviews.get(exam.study_uid)) for exam in exams
        )
        if is_over or app.failed.is_set() or time.monotonic() > give_up_at:
            return overviews
        time.sleep(POLL_S)


def _is_final(exam: Exam, overview: StudyOverview | None) -> bool:
    return overview is None or (overview.state in FINAL and overview.images >= exam.images)


def _send(exam: Exam, to: Address, board: Board) -> None:
    """Send one exam as its modality would: burst by burst, each over its own association."""
    sent = 0

    def count(outcome: SendOutcome) -> None:
        nonlocal sent
        sent += outcome.state == "sent"
        board.tell(exam, f"modality sent {as_shown(sent, exam)} of {exam.images}")

    for pause_s, paths in exam.bursts:
        if pause_s > 1:
            board.tell(exam, f"modality sent {sent} of {exam.images}, the rest comes late")
        time.sleep(pause_s)
        try:
            send(paths, to, MODALITY_AE, count)
        except DeliveryError as error:
            board.tell(exam, str(error))
            return


def _conclude(
    console: Console, outcomes: Sequence[ExamOutcome], index: Path, seconds: float
) -> None:
    show = _table if console.width >= 100 else _list
    console.print("\n[bold]What is read first[/], as `ai-node studies` lists it:")
    console.print(f"[bold yellow]{page.DEMONSTRATION}[/]")
    console.print(show(page.TO_READ, [page.cells_to_read(outcome) for outcome in outcomes]))
    console.print("[bold]What became of each[/]")
    console.print(show(page.HEADINGS, [page.cells(outcome) for outcome in outcomes]))
    for outcome in outcomes:
        for line in page.truth_in_words(outcome):
            console.print(f"{outcome.exam.plan.letter}  {line}", soft_wrap=True, highlight=False)
    for outcome in outcomes:
        for fault in outcome.faults:
            console.print(f"[red]{outcome.exam.plan.letter}: {escape(fault)}[/]", soft_wrap=True)
    objects = sum(len(outcome.datasets) for outcome in outcomes)
    if any(outcome.faults for outcome in outcomes):
        console.print(
            f"[red bold]Not everything came back.[/] The log: {index.parent / 'node.log'}"
        )
    else:
        console.print(
            f"[green]All {objects} expected objects arrived and were read back[/], "
            f"{seconds:.0f} s in all."
        )
    console.print(f"Look at them: {index}", soft_wrap=True, highlight=False)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        justify: JustifyMethod = "right" if heading in page.NUMBERS else "left"
        table.add_column(heading, justify=justify)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _list(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return the same for a narrow terminal: a line for each cell."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row()
        for heading, cell in zip(headings, row, strict=True):
            table.add_row(heading, f"[bold]{escape(cell)}[/]" if cell == row[0] else escape(cell))
    table.add_row()
    return table
