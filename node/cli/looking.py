"""The commands that only look: where studies and nodes stand."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.common import CONFIG, ConfigOption, err, errors_as_messages, out
from node.errors import NodeError
from node.numbers_in_words import counted

if TYPE_CHECKING:
    from node.domains.breast_mr.telling import ToldStudy
    from node.ledger import Ledger
    from node.overview import MessageOverview, Standing, StudyOverview
    from node.overview.health import Alarm
    from node.overview.status import Status
    from node.store import Store

commands = typer.Typer()


@commands.command()
def studies(  # noqa: PLR0913 - one for each thing that may be asked
    study: Annotated[str, typer.Argument(help="Only this one, by its Study Instance UID.")] = "",
    config: ConfigOption = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    outlines: Annotated[
        bool, typer.Option("--outlines", help="With --json: outlines and heat maps, too.")
    ] = False,
    since: Annotated[
        str, typer.Option(help="Only those with an image since then: 90min, 2h, 3d, 2026-11-28.")
    ] = "",
    state: Annotated[
        str, typer.Option(help="Only those that stand so: held, undelivered, done, ...")
    ] = "",
    sender: Annotated[str, typer.Option(help="Only those of this peer.")] = "",
    accession: Annotated[str, typer.Option(help="Only those with this accession number.")] = "",
    patient_id: Annotated[str, typer.Option(help="Only those of this patient.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="No more than so many; 0: all.")] = 0,
) -> None:
    """List the studies: why each was started, where it stands, what destinations said.

    Urgent ones first, and so on; all others by their last image. Exit codes as of `ai-node
    status`, of the studies that are listed: 0, 1 if one is to be looked at (held), 2 if the results
    of one do not reach somebody, or that cannot be found out.

    `--json` gives all there is, the history of each study too (docs/studies-json.md); times are
    epoch seconds, UTC. The points of outlines and the values of heat maps, which are long, are
    empty without `--outlines`.

    Of a study that is named and is an MRI, says what each series was taken for and why, and when
    each phase was taken (docs/breast-mr.md); with `--json`, in parts.

    Of a study that is named and of which only a small record stays ([retention] records_days), says
    since when, and what of it was sent to whom; exit code 2 if it was never here.
    """
    from node.config import RetentionSettings, load_config
    from node.overview import Wanted, each_wanted
    from node.overview.health import Alarm
    from node.overview.mri import told_of_study
    from node.site import existing_ledger
    from node.store import Store

    wanted = Wanted(
        since=_since(since),
        sender=sender,
        accession_number=accession,
        patient_id=patient_id,
        study_uid=study,
    )
    standing = _standing(state)
    alarms = {Alarm.NONE}
    with errors_as_messages(Alarm.ACT):
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            _say_if_gone(study, ledger)
            found = each_wanted(
                ledger,
                wanted,
                open_days=loaded.open_days,
                standing=standing,
                with_outlines=outlines,
            )
            overviews = _noting_alarms(itertools.islice(found, limit or None), alarms)
            if as_json:
                _print_as_json(overviews, ledger if study else None)
                raise typer.Exit(int(max(alarms)))
            count = 0
            for count, one in enumerate(overviews, start=1):  # noqa: B007 - the last one counts
                told = told_of_study(ledger, one) if study else None
                _print_study(one, told)
                _say_what_it_was_taken_for(told)
            if study and loaded.retention != RetentionSettings():
                _say_why_not_removed(study, ledger)
    out.print(counted(count, "study", "studies"), highlight=False)
    _say_what_is_aside(Store(loaded.store_dir))
    raise typer.Exit(int(max(alarms)))


def _say_what_is_aside(store: Store) -> None:
    """Say how much lies in the store that belongs to no study."""
    lines = [
        f"{counted(number, 'object')} in {folder}, each with the reason"
        for folder, number in store.count_unusable().items()
        if number
    ]
    if orphans := store.count_orphans():
        words = f"{counted(orphans, 'file')} in {store.orphans}, of which no row speaks"
        lines.append(f"{words} (docs/reliability.md)")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


def _say_why_not_removed(study_uid: str, ledger: Ledger) -> None:
    """Say what somebody is still to get of a study, or was promised, so that it stays."""
    from node.ledger import Retaining

    if why := Retaining(ledger).why_owed(study_uid):
        words = f"as long as {why} (docs/retention.md)"
        out.print(f"  {'not removed':<12} {words}", markup=False, highlight=False, soft_wrap=True)


def _say_what_it_was_taken_for(told: ToldStudy | None) -> None:
    """Say of an MRI what each series was taken for and why, and of each phase when it was taken."""
    from node.domains.breast_mr.telling import rows_told

    for name, words in () if told is None else rows_told(told):
        out.print(f"  {name:<12} {words}", markup=False, highlight=False, soft_wrap=True)


def _say_if_gone(study_uid: str, ledger: Ledger) -> None:
    """Say what is known of a study that was asked for and of which there are no rows any more.

    Raises NodeError if nothing is.
    """
    from node.ledger import Filing, Remembering

    if not study_uid or Filing(ledger).has_study(study_uid):
        return
    remembered = Remembering(ledger).find(study_uid)
    if remembered is None:
        raise NodeError(
            f"study {study_uid} is not known here: it never came, or no model read it and it has "
            "been forgotten ([retention] records_days)"
        )
    err.print(f"{study_uid}  {remembered.words}", highlight=False, soft_wrap=True)


def _noting_alarms(studies: Iterable[StudyOverview], alarms: set[Alarm]) -> Iterator[StudyOverview]:
    """Yield studies, and add to the alarms those that they give."""
    from node.overview.status import study_alarm

    for study in studies:
        alarms.add(study_alarm(study))
        yield study


_UNITS_S = {"min": 60, "h": 3600, "d": 86_400}


def _since(words: str) -> float | None:
    """Return since when, epoch seconds: "2h" ago, or "2026-11-28", where this machine is."""
    if not words:
        return None
    ago = re.fullmatch(r"([0-9]{1,6}) ?(min|h|d)", words)
    if ago:
        return time.time() - int(ago[1]) * _UNITS_S[ago[2]]
    try:
        return datetime.fromisoformat(words).astimezone().timestamp()
    except (ValueError, OverflowError):
        message = f'expected such as 90min, 2h, 3d, 2026-11-28 or 2026-11-28T14:00, found "{words}"'
        raise typer.BadParameter(message, param_hint="--since") from None


def _standing(word: str) -> Standing | None:
    from node.overview import Standing

    if not word:
        return None
    try:
        return Standing(word)
    except ValueError:
        message = f'expected one of {", ".join(Standing)}, found "{word}"'
        raise typer.BadParameter(message, param_hint="--state") from None


def _print_as_json(studies: Iterable[StudyOverview], ledger: Ledger | None) -> None:
    """Print a list, each study as soon as it is read: thousands of them would fill the memory.

    With a ledger, what MRI was taken for, too. Not by rich: it takes a minute to colour what a
    hundred studies say.
    """
    before, after = "[", "[]"
    for study in studies:
        took = {name: getattr(study, name) for name in _TOOK}
        told = {} if ledger is None else {"mri": _mri_as_json(study, ledger)}
        lines = json.dumps(
            asdict(study) | took | told, indent=1, default=str
        )  # of a level the word
        lines = lines.replace("\n", "\n ")
        typer.echo(f"{before}\n {lines}", nl=False)
        before, after = ",", "\n]"
    typer.echo(after)


def _mri_as_json(study: StudyOverview, ledger: Ledger) -> dict[str, Any] | None:
    from node.overview.mri import told_of_study

    told = told_of_study(ledger, study)
    return None if told is None else asdict(told)


_TOOK = ("received_s", "waited_s", "analysed_s", "delivered_s")
"""How long each step took."""


def _print_study(study: StudyOverview, told: ToldStudy | None = None) -> None:
    """Print where a study stands, in lines that no terminal is too narrow for.

    `told` is what an MRI was taken for, where that was asked.
    """
    from node.ledger import DeliveryState, Mode
    from node.outputs.wording import BY_DEMONSTRATION, refused_as_damaged
    from node.overview.next_step import next_step

    level = f"  {_LEVELS[study.level]}" if study.level else ""
    level += f" {BY_DEMONSTRATION}" if study.is_demonstration else ""
    out.print(f"[bold]{study.study_uid}[/bold]  {study.state}{level}", highlight=False)
    lines = [("level", _level_in_words(study))] if study.level or study.level_words else []
    lines += [("images", f"{study.images} of {study.sender}: {_shown_in_words(study, told)}")]
    lines += [("accession", study.accession_number)] if study.accession_number else []
    lines += [("came", _times_in_words(study))]
    lines += [("damaged", refused_as_damaged(study.damaged))] if study.damaged else []
    version = f" (version {study.version})" if study.version > 1 else ""
    lines += [("started", f"{study.reason}{version}")] if study.reason else []
    for model in study.models:
        shadow = "" if model.mode == Mode.DELIVER else f" ({model.mode}: sent to nobody)"
        lines += [(model.model, f"{model.outcome}{shadow}")]
    lines += [("not analysed", line) for line in _first_few(study.refusals)]
    for destination in dict.fromkeys(delivery.destination for delivery in study.deliveries):
        of_it = [one for one in study.deliveries if one.destination == destination]
        states = [one.state for one in of_it if one.state != DeliveryState.REPLACED]
        confirmed = states.count(DeliveryState.CONFIRMED)
        stored = confirmed + states.count(DeliveryState.SENT)
        ways = dict.fromkeys(one.confirmed_by for one in of_it if one.confirmed_by)
        by = f"{confirmed} confirmed ({', '.join(ways)})" if ways else "accepted, unconfirmed"
        words = f"{stored} of {len(states)} objects stored" + (f", {by}" if stored else "")
        words += _next_attempt(study, destination)
        lines.append((destination, words))
    lines += [*_told_in_words(study), *_kept_and_removed(study)]
    lines += [("reason", study.error)] if study.error else []
    lines += [("next", words)] if (words := next_step(study)) else []
    for name, words in lines:
        out.print(f"  {name:<12} {words}", markup=False, highlight=False, soft_wrap=True)


def _kept_and_removed(study: StudyOverview) -> Iterator[tuple[str, str]]:
    """Say who keeps a study from being removed, what of it has been, and is needed again."""
    if study.kept_at is not None:
        words = f"by {study.kept_by} since {_moment(study.kept_at)}: {study.kept_why}"
        yield "kept", f"{words}; nothing of it is removed until `ai-node unhold`"
    for name, at in (
        ("images", study.images_removed_at),
        ("results", study.results_removed_at),
    ):
        if at is not None:
            yield "removed", f"{name}, {_moment(at)}, as [retention] says"
    if study.recalled_at is not None:
        words = f"{_moment(study.recalled_at)}, for something of it came; it had been forgotten"
        yield "recalled", f"{words}, with what models said and its name and numbers"
    if study.asked_back is not None:
        yield "asked back", study.asked_back.words


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"


def _told_in_words(study: StudyOverview) -> list[tuple[str, str]]:
    """Say what each reading list was told last, and whether it has said that it has it."""
    from node.ledger import DispatchState

    # What was never sent, for a newer one took its place, says nothing of what a list has.
    sent = [one for one in study.messages if one.state != DispatchState.CANCELLED]
    last = {message.destination: message for message in sent}
    nothing = [(name, f"told nothing: {why}") for name, why in study.told_nothing.items()]
    return [*((name, _told(one)) for name, one in last.items()), *nothing]


def _told(message: MessageOverview) -> str:
    from node.ledger import DispatchState, words_of_message

    words = words_of_message(message.kind, message.level)
    is_told = message.state == DispatchState.FINISHED
    return f"told: {words}" if is_told else f"to be told: {words} ({message.standing})"


def _times_in_words(study: StudyOverview) -> str:
    """Say when a study came, by this machine's clock, and how long each step took."""
    from node.overview.health import in_round_units

    words = [_moment(study.last_image_at)]
    if study.received_s >= 1:
        words.append(f"received in {in_round_units(study.received_s)}")
    for name, took_s in (
        ("waited", study.waited_s),
        ("analysed in", study.analysed_s),
        ("delivered in", study.delivered_s),
    ):
        if took_s is not None:
            words.append(f"{name} {in_round_units(took_s)}")
    return ", ".join(words)


_LEVELS = {
    "urgent": "[bold red]URGENT[/]",
    "soon": "[bold yellow]SOON[/]",
    "not assessed": "[yellow]NOT ASSESSED[/]",
    "routine": "routine",
}


def _level_in_words(study: StudyOverview) -> str:
    """Say which level a study has, since when it waits, and what it was before."""
    words = study.level_words or study.level
    if study.waiting_s is None:
        return words
    minutes = int(study.waiting_s // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ((days, "d"), (hours, "h"), (minutes, "min"))
    since = next((i for i, (number, _) in enumerate(units) if number), len(units) - 1)
    time_passed = " ".join(f"{number} {unit}" for number, unit in units[since : since + 2])
    is_former = study.version > max((number for number, _ in study.levels), default=0)
    of_former = ", of the version before" if is_former else ""
    return f"{words}{of_former}, last image {time_passed} ago"


def _shown_in_words(study: StudyOverview, told: ToldStudy | None) -> str:
    """Return each view once, with how many images show it, and how many show none.

    Of an MRI, which has none, how many phases; where that was not asked, that it is one.
    """
    from node.domains.breast_mr.telling import phases_in_brief

    if not study.views and told is not None:
        return phases_in_brief(told)
    if not study.views:
        return "MR" if "MR" in study.modalities else "no views"
    counts = Counter(study.views)
    names = [f"{view} ({n})" if n > 1 else view for view, n in counts.items()]
    without = study.images - len(study.views)
    return ", ".join([*names, *([f"{without} without a view"] if without else [])])


_MOST_REFUSALS = 6


def _first_few(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _MOST_REFUSALS
    return [*lines[:_MOST_REFUSALS], *([f"and {more} more"] if more > 0 else [])]


def _next_attempt(study: StudyOverview, destination: str) -> str:
    """Say when a destination is tried again, if an attempt at it was put off."""
    from node.overview import Standing

    times = [d.next_at for d in study.deliveries if d.destination == destination and d.next_at]
    if not times or study.state == Standing.HELD:
        return ""
    left_s = min(times) - time.time()
    left = f"in {left_s:.0f} s" if left_s < 120 else f"in {left_s / 60:.0f} min"
    return f"; next attempt {left if left_s > 0 else 'due'}"


@commands.command()
def status(
    config: ConfigOption = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Say on one screen how the node is: what to look at and why, studies, backlogs, disk, parts.

    Whether it runs or not: read from its database, on whatever machine. Fit for a probe (Nagios,
    Icinga, Zabbix). Exit code 0: nothing is to be done. 1: to be looked at when there is time. 2:
    something does not come in, is not analysed, or does not reach who should have it; also if no
    node has run yet, or configuration or database cannot be read. `--json` gives the same; times
    are epoch seconds, UTC.
    """
    from node.config import load_config
    from node.overview.status import (
        node_status,
        status_as_json,
        status_in_lines,
        status_without_ledger,
    )
    from node.site import existing_ledger

    try:
        loaded = load_config(config)
    except NodeError as error:
        found = _by_former(error, config)
    else:
        try:
            with contextlib.closing(existing_ledger(loaded)) as ledger:
                found = node_status(ledger, loaded)
        except NodeError as error:
            found = status_without_ledger(error)
    if as_json:
        typer.echo(json.dumps(status_as_json(found), indent=1))
    else:
        for line in status_in_lines(found):
            typer.echo(line)
    raise typer.Exit(int(found.alarm))


def _by_former(error: NodeError, path: Path) -> Status:
    """Return how the nodes are that work on by what a file said that is wrong now."""
    from node.config import load_node_alone
    from node.overview.status import status_by_former, status_without_ledger
    from node.site import existing_ledger

    if (where := load_node_alone(path)) is not None:
        with contextlib.suppress(NodeError), contextlib.closing(existing_ledger(where)) as ledger:
            return status_by_former(error, ledger, where)
    return status_without_ledger(error)


@commands.command()
def nodes(config: ConfigOption = CONFIG) -> None:
    """List the nodes that share the database, on this and other machines, and say who is alive.

    One that is silent for longer than `dead_after_s` is taken for dead: others do its work. It is
    shown for a week. Exit codes as of `ai-node status`: 0, 1 if one is silent or ill and others do
    its work, 2 if nobody listens, or nobody works, or that cannot be found out.
    """
    from node.config import load_config
    from node.ledger import Nodes
    from node.overview.health import Alarm, node_parts, worst_alarm
    from node.site import existing_ledger

    with errors_as_messages(Alarm.ACT):
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            presences = Nodes(ledger).presences()
            parts = node_parts(ledger, loaded)
    for node in presences:
        line = f"{node.place}  {_ROLES[node.role]}  {node.state}"
        if node.state != "stopped":
            line += f", heard of {node.heard_of_s:.0f} s ago"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for part in parts:
        if part.is_ill:
            words = f"{part.name}: {part.words}; {part.what_to_do}"
            err.print(words, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(worst_alarm(parts))


_ROLES = {"all": "listens and works", "listener": "listens", "worker": "works", "web": "shows"}
