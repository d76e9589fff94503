"""The command `ai-node`: which commands there are, in the order in which they are shown."""

from __future__ import annotations

from typing import Annotated

import typer

from node import __version__
from node.cli import files, holds, keeping, looking, measuring, mending, service
from node.cli.alarms import alarm_commands
from node.cli.common import out
from node.cli.model_packages import models
from node.cli.web_users import web

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""An AI node for the DICOM network: studies in by C-STORE, AI results back into the
    same study.

    Begin with `ai-node demo`, which needs nothing. For your hospital: `ai-node init` writes a
    configuration, `ai-node doctor` examines everything it names, `ai-node run` runs it.

    Exit codes: 0 done, 1 not done (the reason is on standard error), 2 wrong usage. Of
    `status`, `nodes`, `studies` and `alarm list`: 0 all is well, 1 look, 2 act.""",
)

for _part in (service, files, measuring, looking, mending, holds, keeping):
    app.add_typer(_part.commands)
app.add_typer(alarm_commands, name="alarm")
app.add_typer(web, name="web")
app.add_typer(models, name="models")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        out.print(f"ai-node {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    from node.logs import format_what_nobody_handles

    format_what_nobody_handles()


def main() -> None:
    """Run the command."""
    app()
