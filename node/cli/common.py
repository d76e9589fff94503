"""What all commands share: how they print, say errors, show progress and find files."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from node.errors import NodeError

out = Console(emoji=False)
err = Console(stderr=True, emoji=False)  # "node.toml:100:" is no emoji

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)
]
CONFIG = Path("node.toml")
_Step = TypeVar("_Step")


def find_dicom(folder: Path, *, and_called_so: bool = False) -> list[Path]:
    """Return the Part 10 files in a folder, or the one file given; by choice damaged ones too."""
    from node.dicom.part10 import is_part10

    if not folder.exists():
        raise NodeError(f"{folder} does not exist")
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    found = [p for p in paths if is_part10(p) or (and_called_so and _is_called_dicom(p))]
    if not found:
        raise NodeError(f"{folder}: no DICOM file found there")
    return found


def _is_called_dicom(path: Path) -> bool:
    is_of_macos = path.name.startswith("._")  # what it writes beside each file on a stick
    return path.suffix.lower() in (".dcm", ".dicom") and not is_of_macos


@contextlib.contextmanager
def progress(
    what: str, total: int, time: ProgressColumn | None = None
) -> Iterator[Callable[[], None]]:
    """Show how far long work is; call what is given for each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = (*columns, time or TimeElapsedColumn())
    # What is printed meanwhile goes where it always does: a file, if that is where output goes.
    with Progress(*shown, console=err, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def working_on(what: str, steps: Iterable[_Step]) -> Iterator[_Step]:
    """Yield each step; while it is waited for, show that work goes on, and for how long.

    Nothing is shown while the step is printed, so that lines of the two do not mix.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    coming = iter(steps)
    while True:
        with Progress(*columns, console=err, transient=True, redirect_stdout=False) as shown:
            shown.add_task(what, total=None)
            step = list(itertools.islice(coming, 1))
        if not step:
            return
        yield step[0]


def progress_with_time_left(
    what: str, total: int
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Show how long it still takes, too."""
    return progress(what, total, TimeRemainingColumn(elapsed_when_finished=True))


@contextlib.contextmanager
def progress_of_many(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far work of very many steps is; call what is given with how many are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    left = TimeRemainingColumn(elapsed_when_finished=True)
    with Progress(*columns, left, console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextlib.contextmanager
def errors_as_messages(exit_code: int = 1) -> Iterator[None]:
    """Print an error in its own words and end with this exit code."""
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, NodeError) else _words_of_database(error)
        if not words:
            raise
        err.print(words, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(exit_code) from error


def _words_of_database(error: Exception) -> str:
    """Return what the database said, "" unless it is away, locked or full."""
    alchemy = sys.modules.get("sqlalchemy.exc")  # imported by whoever has asked a database
    if alchemy is None or not isinstance(error, alchemy.DBAPIError):
        return ""
    from node.ledger import OutcomeUnknown, is_trouble

    if not isinstance(error, OutcomeUnknown) and not is_trouble(error):
        return ""  # of its other errors we are the cause: who reports one needs the traceback
    reason = " ".join(str(error.orig).split())
    if isinstance(error, OutcomeUnknown):
        return (
            f"the database did not answer the last step: {reason}. That may be done, or not: look "
            "at what this was about, and call it again only if it is not"
        )
    return (
        f"the database says: {reason}. What had not been said to be done is not done; see that it "
        "runs and has room, wait if the ledger is just being moved, and call this again"
    )


def caller() -> str:
    """Return who called this command, as the history of a study says it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # as in a container whose user has no name
        name = f"user {os.getuid()}"
    return f"{name} (command)"
