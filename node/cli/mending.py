"""The commands by which a person lets work go on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, caller, errors_as_messages, out
from node.numbers_in_words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node.config import Config
    from node.ledger import ByHand

commands = typer.Typer()


@commands.command()
def retry(
    study: Annotated[
        str | None, typer.Argument(help="Only this study, by its UID, as `studies` shows it.")
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option("--destination", "-d", help="Only what is for this destination, by its name."),
    ] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Send again what was given up, and try now what waits; a running node does so in seconds.

    Waiting: a delivery that failed is tried again by itself, each time after a longer wait, at
    most `retry_max_s`. What failed because a destination was away goes by itself within a minute
    or two of its return; this is for when you have mended something else, or will not wait. What a
    destination has taken and has yet to confirm is not hurried.

    Given up: after `deliver_within_s`, or at once if the destination refuses the kind of object.
    Mend the cause first; `ai-node studies` names it. Results that had no destination go to those
    that the configuration names now.

    Exit code 1 if a study is named of which nothing can be sent, with the reason.
    """
    from node.config import load_config
    from node.ledger import ByHand
    from node.site import existing_ledger

    with errors_as_messages():
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            by_hand = ByHand(ledger)
            if destination is not None:
                _require_destination(destination, loaded, by_hand)
            if study is not None:
                lines = [_retry_study(study, destination or "", loaded, by_hand)]
            else:
                lines = list(_retry_all(destination or "", loaded, by_hand))
        for line in lines:
            out.print(line, highlight=False, soft_wrap=True)


def _require_destination(name: str, config: Config, by_hand: ByHand) -> None:
    from node.errors import NodeError
    from node.toml_file import did_you_mean

    known = dict.fromkeys([*config.receivers, *by_hand.destinations()])
    if name in known:
        return
    if any(peer.name == name for peer in config.peers):
        raise NodeError(
            f'--destination: peer "{name}" only sends, results go to {", ".join(known) or "nobody"}'
        )
    raise NodeError(
        f'--destination: no destination is called "{name}", {did_you_mean(name, known)}'
    )


def _retry_study(study: str, destination: str, config: Config, by_hand: ByHand) -> str:
    from node.kinds import SUBSTITUTES

    within_s, substitutes = config.delivery.deliver_within_s, frozenset(SUBSTITUTES.values())
    what_follows = by_hand.retry_study(
        study, within_s, config.directions, substitutes, destination=destination, by=caller()
    )
    return f"Study {study}: {what_follows}."


def _retry_all(destination: str, config: Config, by_hand: ByHand) -> Iterator[str]:
    from node.kinds import SUBSTITUTES

    within_s, by = config.delivery.deliver_within_s, caller()
    substitutes = frozenset(SUBSTITUTES.values())
    count = by_hand.retry_dead(within_s, substitutes, destination=destination, by=by)
    count += by_hand.retry_dead_messages(within_s, destination=destination, by=by)
    waited = by_hand.hurry_waiting(destination=destination, by=by)
    directed = aimless = 0
    if not destination:
        directed, aimless = by_hand.retry_undirected(config.directions, within_s, by=by)
    if count:
        deliveries = counted(count, "delivery", "deliveries")
        yield f"{deliveries} given up before will be tried again."
    if waited:
        deliveries = counted(waited.total(), "delivery", "deliveries")
        where = ", ".join(f"{number} to {name}" for name, number in sorted(waited.items()))
        yield f"{deliveries} that waited will be tried now: {where}."
    if directed:
        studies = counted(directed, "study", "studies")
        yield f"The results of {studies}, which had no destination, are sent now."
    if aimless:
        studies = counted(aimless, "study", "studies")
        words = "nobody gets them, or not these kinds of object. `ai-node studies` says more."
        yield f"The results of {studies} still go nowhere: {words}"
    if not (count or waited or directed or aimless):
        to = f" to {destination}" if destination else ""
        yield f"No delivery{to} was given up, and none waits for another attempt."
    for name, number in sorted(by_hand.awaiting_confirmation(destination=destination).items()):
        deliveries = counted(number, "delivery", "deliveries")
        yield f"Not hurried: {deliveries} that {name} has taken and has yet to confirm."


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
            what_follows = ByHand(ledger).release_study(study, by=caller())
        out.print(f"Study {study} is released: {what_follows}.", highlight=False, soft_wrap=True)


@commands.command(name="rename-peer")
def rename_peer(
    former: Annotated[str, typer.Argument(help="What it was called.")],
    new: Annotated[str, typer.Argument(help="What the configuration calls it now.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Let what waits for a peer or destination go on under the name that it has now.

    Results that wait, what is to be analysed, and what is remembered of a sender name it as it was
    called. Change its name in the configuration, reload or restart the node, then this. It may be
    repeated. Nothing is renamed while something is being sent under the former name.
    """
    from node.config import load_config
    from node.ledger import Names
    from node.site import existing_ledger

    with errors_as_messages():
        loaded = load_config(config)
        _require_renamed(former, new, loaded)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            count = Names(ledger).rename(former, new, by=caller())
        rows = counted(count, "row names", "rows name")
        words = f"{rows} {new} now." if count else f"Nothing names {former}."
        out.print(words, highlight=False, soft_wrap=True)


def _require_renamed(former: str, new: str, config: Config) -> None:
    """Raise NodeError unless the configuration knows the one name, and the other no more."""
    from node.errors import NodeError
    from node.toml_file import did_you_mean

    known = dict.fromkeys([*(peer.name for peer in config.peers), *config.receivers])
    if new not in known:
        raise NodeError(
            f'no peer or destination is called "{new}", {did_you_mean(new, known)}; change its '
            "name in the configuration first"
        )
    if former in known:
        raise NodeError(
            f'"{former}" is in the configuration, too: what waits for it goes there; take it out '
            f"if it is called {new} now"
        )
