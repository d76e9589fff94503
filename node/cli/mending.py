"""The commands by which a person lets work go on."""

from __future__ import annotations

import contextlib
import getpass
import os
from typing import Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, errors_as_messages, out
from node.numbers_in_words import counted

commands = typer.Typer()


@commands.command()
def retry(config: ConfigOption = CONFIG) -> None:
    """Send again what was given up; a running node takes it up within seconds.

    A delivery is given up after `deliver_within_s`, or at once if the destination refuses the
    kind of object. Mend the cause first; `ai-node studies` names it. Results that had no
    destination go to those that the configuration names now.
    """
    from node.config import load_config
    from node.kinds import SUBSTITUTES
    from node.ledger import ByHand
    from node.site import existing_ledger

    with errors_as_messages():
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            within_s = loaded.delivery.deliver_within_s
            by_hand = ByHand(ledger)
            substitutes, by = frozenset(SUBSTITUTES.values()), _caller()
            count = by_hand.retry_dead(within_s, substitutes, by=by)
            directed, aimless = by_hand.retry_undirected(loaded.directions, within_s, by=by)
        if count:
            deliveries = counted(count, "delivery", "deliveries")
            out.print(f"{deliveries} given up before will be tried again.")
        if directed:
            studies = counted(directed, "study", "studies")
            out.print(f"The results of {studies}, which had no destination, are sent now.")
        if aimless:
            studies = counted(aimless, "study", "studies")
            words = "nobody gets them, or not these kinds of object. `ai-node studies` says more."
            out.print(f"The results of {studies} still go nowhere: {words}", soft_wrap=True)
        if not (count or directed or aimless):
            out.print("No delivery was given up; what still waits is tried again by itself.")


@commands.command()
def release(
    study: Annotated[str, typer.Argument(help="The Study Instance UID, as `studies` shows it.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Let a study go on that is held, or that is excluded.

    `ai-node studies` says why it was stopped. Look at the study first: from here on its results
    are sent. A study whose objects disagree about the patient cannot be released: send its
    corrected images again, which releases it by itself.
    """
    from node.config import load_config
    from node.ledger import ByHand
    from node.site import existing_ledger

    with errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            what_follows = ByHand(ledger).release_study(study, by=_caller())
        out.print(f"Study {study} is released: {what_follows}.", highlight=False, soft_wrap=True)


def _caller() -> str:
    """Return who called this command, as the history of a study says it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # as in a container whose user has no name
        name = f"user {os.getuid()}"
    return f"{name} (command)"
