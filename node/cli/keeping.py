"""The commands that move and keep what a node has, and look at every object of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.common import (
    CONFIG,
    ConfigOption,
    err,
    errors_as_messages,
    out,
    progress_of_many,
    progress_with_time_left,
)
from node.numbers_in_words import counted

if TYPE_CHECKING:
    from node.flow.deep_check import Found
    from node.keeping.backup import Amiss, Backup

commands = typer.Typer()


class Lost(StrEnum):
    """What a person says is lost for good."""

    NOTHING = ""
    LEDGER = "ledger"
    STORE = "store"


@commands.command()
def backup(
    to: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the backups of this node.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file again, and mend what is damaged.")
    ] = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Back up ledger, objects, configuration and model packages, while the node runs or not.

    What is there from the last time is not copied again. On the disk of the store objects get a
    second name, which takes no time and no room, and does not survive that disk. The former backup
    is replaced in one step once the new one is whole; if this is interrupted, call it again. How to
    restore: docs/operate.md.

    Exit code 1 if it was not made, or if it is whole but for files that the store lacks or that are
    damaged there.
    """
    from node.config import load_config
    from node.keeping.backup import back_up
    from node.site import existing_ledger
    from node.state_dir import kept_from_others

    with errors_as_messages(), kept_from_others():
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            made = back_up(
                ledger, loaded, config, to, progress=progress_with_time_left, verifies=verify
            )
    for line in _of_backup(made, verifies=verify):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    faults = list(_faults_of_backup(made))
    for line in faults:
        err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if faults else 0)


def _of_backup(made: Backup, *, verifies: bool) -> Iterator[str]:
    began = datetime.fromtimestamp(made.began_at).astimezone()
    how = "linked" if made.are_linked else "copied"
    yield (
        f"{made.folder} is whole, as of {began:%Y-%m-%d %H:%M:%S}: the ledger and "
        f"{counted(made.files, 'file')}, {made.fresh} of them {how} now."
    )
    if made.are_linked:
        yield (
            "It lies on the disk of the store, and is lost with it: keep another elsewhere. What "
            "it has frees no room: clean_from_percent passes it over, and what goes by its days "
            "frees it with the next backup."
        )
    if verifies:
        yield "Every file that the ledger speaks of was read again."
    if made.mended.count:
        yield f"{_files(made.mended)} had been damaged in the backup, copied again."


def _faults_of_backup(made: Backup) -> Iterator[str]:
    if made.missing.count:
        yield (
            f"Not to be had from the store, and not in the backup: {_files(made.missing)}; "
            "`ai-node check --deep` finds of which studies"
        )
    if made.only_here.count:
        yield (
            f"Missing or damaged in the store, and in this backup from a former one: "
            f"{_files(made.only_here)}; put them back from there (docs/operate.md)"
        )
    if made.damaged.count:
        yield (
            f"Damaged in the store, and in the backup: {_files(made.damaged)}; "
            "`ai-node check --deep` finds of which studies"
        )
    if made.not_removed:
        words = "It is whole; what only former backups spoke of was not all removed"
        yield f"{words} ({made.not_removed}). Mend that: the next one removes what is left"
    if made.unread:
        yield f"Named by the configuration, and not there: {', '.join(made.unread)}"


def _files(amiss: Amiss) -> str:
    more = amiss.count - len(amiss.first)
    return ", ".join(amiss.first) + (f" and {more} more" if more else "")


def check_deeply(config: Path, *, repairs: bool, lost: Lost) -> None:
    """Compare store and ledger, file by file, and exit with 1 if something is amiss."""
    from node.config import load_config
    from node.flow.deep_check import DeepCheck
    from node.site import existing_ledger, open_ledger
    from node.state_dir import kept_from_others, lock_state_dir
    from node.store import Store

    is_ledger_new = lost == Lost.LEDGER
    with errors_as_messages(), kept_from_others(), contextlib.ExitStack() as opened:
        loaded = load_config(config)
        if is_ledger_new:
            opened.enter_context(lock_state_dir(loaded.node.state_dir))  # no node runs meanwhile
        open_it = open_ledger if is_ledger_new else existing_ledger
        with contextlib.closing(open_it(loaded)) as ledger:
            look = DeepCheck(
                ledger,
                Store(loaded.store_dir),
                _say_beside_progress,
                progress_with_time_left,
                repairs=repairs,
                is_store_lost=lost == Lost.STORE,
                is_ledger_new=is_ledger_new,
            )
            found = look.run()
    lines = [*_of_deep_check(found, repairs=repairs)]
    if is_ledger_new:
        days = loaded.retention.unreadable_days
        lines.append(_what_to_send(Store(loaded.store_dir).orphans, days))
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if found.is_well else 1)


def _of_deep_check(found: Found, *, repairs: bool) -> Iterator[str]:
    counts = (
        (found.orphans, "without a row"),
        (found.missing, "missing"),
        (found.damaged, "damaged"),
        (found.unread, "not to be read"),
        (found.back, "here again"),
    )
    amiss = ", ".join(f"{count} {word}" for count, word in counts if count)
    yield f"{counted(found.files, 'file')} compared: {amiss or 'all is well'}."
    if found.is_well:
        return
    if repairs:
        yield "What is left is said above: put the files back from a backup, or send them again."
    else:
        yield "`ai-node check --deep --repair` puts right what can be (docs/operate.md)."


def _what_to_send(orphans: Path, days: float | None) -> str:
    goes = "" if days is None else f" [retention] removes it after {days:g} days (unreadable_days)."
    return (
        f"What had been received lies in {orphans / 'received'}: its senders were told that it is "
        "kept. Let the PACS send those studies again, or start the node and use `ai-node send "
        f"{orphans / 'received'} --to AET@HOST:PORT --aet PEER`, the address of this node. Of a "
        "study that had results the PACS gets further ones then, under other UIDs: the former lie "
        f"in {orphans / 'reports'}.{goes}"
    )


def _say_beside_progress(line: str) -> None:
    """Print a line of the output; on a terminal above what shows how far it is."""
    where = err if out.is_terminal and err.is_terminal else out
    where.print(line, markup=False, highlight=False, soft_wrap=True)


@commands.command()
def move(
    to: Annotated[
        str,
        typer.Option(
            help="The database: postgresql://user@host/name, or sqlite:////path/of/a/file."
        ),
    ],
    config: ConfigOption = CONFIG,
) -> None:
    """Move the ledger, and the queue with it, to another database; the store stays where it is.

    Stop all nodes before. Every row is copied, then read again on both sides and compared; only
    then the former ledger says that it has moved, and no node starts on it any more. Wherever it
    was broken off, the same command goes on. At the end it prints the line for the configuration.

    Moving back is the same with the former address, which may still have its rows.
    """
    from node.config import load_config
    from node.keeping.moving_ledger import move_ledger
    from node.numbers_in_words import counted
    from node.state_dir import kept_from_others
    from node.toml_file import quoted

    with errors_as_messages(), kept_from_others():
        moved = move_ledger(load_config(config), to, progress_of_many)
        rows = counted(moved.rows, "row is", "rows are") if moved.rows else "All rows were"
        lines = [
            f"{rows} there, each compared.",
            f"The ledger was at {moved.former}, where no node starts any more.",
            f"Write into [node] of {config}, before a node is started:",
            f"  database = {quoted(moved.to)}",
        ]
        if moved.has_password:
            lines.append(
                "with the password as before, or better in ~/.pgpass (docs/several-machines.md)."
            )
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
