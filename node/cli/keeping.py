"""The commands that move and keep what a node has."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, errors_as_messages, out, progress_of_many

commands = typer.Typer()


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
