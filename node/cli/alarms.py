"""`ai-node alarm`: what is raised, and whether those can be told who should be."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, errors_as_messages, out
from node.errors import DeliveryError, NodeError

if TYPE_CHECKING:
    from node.ledger import RaisedAlarm

alarm_commands = typer.Typer(
    no_args_is_help=True,
    help="Say what somebody should see to, and try whether those are told who should be. Whom, and "
    "from when on, [alarms] in the configuration says (docs/alarms.md).",
)

_LATELY_S = 7 * 86_400.0


@alarm_commands.command("test")
def try_channels(config: ConfigOption = CONFIG) -> None:
    """Send a test by every channel that [alarms] names, and say what became of it.

    Needs no running node and no database. Exit code 1 if one did not take it, or there is none.
    """
    from node.alarms.channels import alarm_channels
    from node.alarms.telling import telling_of_test
    from node.config import load_config

    with errors_as_messages():
        channels = alarm_channels(load_config(config))
        if not channels:
            raise NodeError(
                "nobody is told of alarms: [alarms] has neither a table [alarms.mail] nor "
                "[alarms.webhook]; docs/alarms.md says what belongs there"
            )
        failed = []
        for name, channel in channels.items():
            try:
                amiss = channel.tell(telling_of_test(str(uuid.uuid4()), time.time()))
            except DeliveryError as error:
                failed.append(f"{name}: not told: {error}")
                continue
            words = f"{name}: told {channel.where}" + (f", but {amiss}" if amiss else "")
            out.print(words, markup=False, highlight=False, soft_wrap=True)
        if failed:
            raise NodeError("\n".join(failed))


@alarm_commands.command("list")
def list_alarms(
    config: ConfigOption = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List what is raised, the most urgent first, and what was over within a week.

    With each: since when, what to do, and who was told. Exit codes as of `ai-node status`, of what
    lasts: 0, 1 if it is to be looked at, 2 if it is to be acted on, or that cannot be found out.
    """
    from node.config import load_config
    from node.ledger import Alarming
    from node.overview.health import Alarm
    from node.site import existing_ledger

    with (
        errors_as_messages(Alarm.ACT),
        contextlib.closing(existing_ledger(load_config(config))) as ledger,
    ):
        found = Alarming(ledger).raised(ended_within_s=_LATELY_S)
        at, _ = Alarming(ledger).open_alarms()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        for one in found:
            for line in _in_lines(one, at):
                out.print(line, markup=False, highlight=False, soft_wrap=True)
        if not found:
            out.print("No alarm, now or within a week.")
    raise typer.Exit(max((one.urgency for one in found if one.ended_at is None), default=0))


@alarm_commands.command("count-anew")
def count_first_exams_anew(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    sender: Annotated[str, typer.Argument(help="The peer whose exams have changed.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Let a sender's next 300 exams be those that a model's later ones are compared with.

    For when an alarm "shifted" tells of a change that was meant, such as a new device, and the
    model was found good for it. Until 400 have come, nothing is said of that model and sender.
    """
    from node.config import load_config
    from node.overview.shift import count_anew
    from node.site import existing_ledger

    with errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            was_known = count_anew(ledger, model, sender)
        if not was_known:
            raise NodeError(
                f'no first exams of "{sender}" are known of a model "{model}": names are as in the '
                "configuration, and they are known once there are 300 of them"
            )
    words = f"The next 300 exams of {sender} are the first ones of {model}."
    out.print(words, highlight=False, soft_wrap=True)


_URGENCY = {0: "", 1: "LOOK", 2: "ACT"}


def _in_lines(one: RaisedAlarm, at: float) -> Iterator[str]:
    over = one.ended_at is not None
    yield f"{'over' if over else _URGENCY[one.urgency]:<5} {one.words}"
    until = f" until {_moment(one.ended_at)}" if one.ended_at is not None else ""
    if not over and not one.is_found(at):
        until = f"; not found any more since {_moment(one.seen_at)}, soon over"
    yield f"      {one.rule}, alarm {one.id}, since {_moment(one.since)}{until}"
    for uid in one.study_uids:
        yield f"      study {uid}"
    if not over:
        yield f"      next: {one.what_to_do}"
    for notice in one.notices:
        words = f"      {notice.channel}, {notice.event}: "
        if notice.sent_at is not None:
            words += f"told {_moment(notice.sent_at)}"
        else:
            words += "given up" if notice.state == "given up" else "not told yet"
        yield words + (f" ({notice.error})" if notice.error else "")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")
