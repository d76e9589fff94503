"""The commands by which a person keeps a study from being removed."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, caller, errors_as_messages, out

commands = typer.Typer()

_StudyArgument = Annotated[
    str, typer.Argument(help="The Study Instance UID, as `studies` shows it.")
]


@commands.command()
def hold(
    study: _StudyArgument,
    why: Annotated[
        str, typer.Option("--why", help="Why, in a few words; no patient's name: it is shown.")
    ],
    config: ConfigOption = CONFIG,
) -> None:
    """Keep a study from being removed, for as long as it takes.

    Neither its images nor its results nor its records go then, however old they are and however
    full the disk. Its analysis and deliveries go on as they would: that something is *held*, as
    `studies` says it, is another thing. Who did it, when and why is in its history. `ai-node
    status` says how much space such studies take; `ai-node unhold` ends it.
    """
    from node.config import load_config
    from node.ledger import Keeping
    from node.site import existing_ledger

    with errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            what_follows = Keeping(ledger).keep_study(study, why, by=caller())
        words = f"Study {study} is kept: {what_follows}."
        out.print(words, markup=False, highlight=False, soft_wrap=True)


@commands.command()
def unhold(study: _StudyArgument, config: ConfigOption = CONFIG) -> None:
    """End what `hold` began: the study is removed as any other once its days are over.

    Days count from when the last object of a study came, so that an old one may go within
    minutes. Who did it is in its history.
    """
    from node.config import load_config
    from node.ledger import Keeping
    from node.site import existing_ledger

    with errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            what_follows = Keeping(ledger).unkeep_study(study, by=caller())
        words = f"Study {study} is kept no longer: {what_follows}."
        out.print(words, markup=False, highlight=False, soft_wrap=True)
