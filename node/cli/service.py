"""The commands that set up, examine and run a node."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node import __version__
from node.cli.common import CONFIG, ConfigOption, err, errors_as_messages, out
from node.errors import NodeError

if TYPE_CHECKING:
    from node.app import App
    from node.config import Config
    from node.doctor import Verdict
    from node.manifest import Model
    from node.page_alone import PageAlone

log = logging.getLogger(__name__)
commands = typer.Typer()


class Only(StrEnum):
    """What one of several machines is for."""

    LISTENER = "listener"
    WORKER = "worker"
    WEB = "web"


@commands.command()
def run(
    config: ConfigOption = CONFIG,
    only: Annotated[
        Only | None,
        typer.Option(help="Only receive, only work and deliver, or only show the page."),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Log details, patient data among them.")] = False,
) -> None:
    """Run the node in the foreground; SIGTERM or Ctrl-C drains and stops it, SIGHUP reloads.

    Prints "Listening on HOST:PORT" on standard error when it is ready, a worker "Working", and
    with the table [web] "Page at http://HOST:PORT". A node that only shows the page may run beside
    one that does the work, on the same state folder; of the two, one has the page's port.
    What a former process left unfinished, however it ended, is taken up at the start. A reload
    reads the configuration and the model packages anew, and takes them over if they are right;
    what has begun ends as it began, and no association is cut (docs/operate.md). Under
    systemd (systemd/ai-node.service) it says when it is ready, and that it lives.
    """
    from node.app import App
    from node.config import load_config
    from node.ledger import Role
    from node.logs import start_logging
    from node.page_alone import PageAlone
    from node.state_dir import kept_from_others
    from node.supervisor import tell

    reloads: list[int] = []  # one that comes before the start is done after it
    signal.signal(signal.SIGHUP, lambda number, _: reloads.append(number))
    with kept_from_others(), _errors_in_the_log():
        loaded = load_config(config)
        start_logging(form=loaded.logs.format, is_verbose=verbose)
        role = Role(only) if only else Role.ALL
        node = PageAlone(loaded) if role == Role.WEB else App(loaded, role)
        log.info("ai-node %s, configuration %s", __version__, config.resolve())
        # No Event: to set one takes a lock that this very thread may hold when the signal comes.
        told: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: told.append(number))
        node.start()
        tell("READY=1")
        _go_on(node, config, told, reloads)
        tell("STOPPING=1")
        node.stop()
        if node.failed.is_set():
            log.critical("A part of the node died, as is said above; it ends, to be started again")
        logging.shutdown()
        # All is committed; a thread that still waits for a dead destination must not hold us up.
        os._exit(1 if node.failed.is_set() else 0)


def _go_on(node: App | PageAlone, config: Path, told: list[int], reloads: list[int]) -> None:
    """Look after a node until it is told to stop, or a part of it has died."""
    from node.supervisor import Watchdog

    watchdog = Watchdog()
    reloading: threading.Thread | None = None
    while not told and not node.failed.is_set():
        time.sleep(0.2)
        if node.is_alive:
            watchdog.feed()
        if reloads and (reloading is None or not reloading.is_alive()):
            reloads.clear()  # of several at once, one reads what the last one meant
            reloading = threading.Thread(target=_reload, args=(node, config), daemon=True)
            reloading.start()


def _reload(node: App | PageAlone, config: Path) -> None:
    """Reload, and let systemd know from when to when."""
    from node.supervisor import tell, tell_reloading

    tell_reloading()
    try:
        node.reload(config)
    finally:
        tell("READY=1")


@commands.command()
def init(  # noqa: PLR0913 - one for each question
    config: ConfigOption = CONFIG,
    ae_title: Annotated[str | None, typer.Option(help="Our own AE title.")] = None,
    port: Annotated[int | None, typer.Option(help="The port we listen on.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(help="Where studies are kept; relative to the configuration.")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="A PACS that sends studies and gets results: NAME=AET@HOST:PORT. Repeatable."
        ),
    ] = None,
    sender: Annotated[
        list[str] | None,
        typer.Option(help="A modality; its results go to every --peer: NAME=AET@HOST:PORT."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model, NAME or NAME=MODE (deliver, shadow, off). Repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what suits most.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a configuration, and print what to enter on the PACS.

    Asks what the options do not say; where it cannot ask, or need not (`--yes`), `--peer` is all
    it needs. For example: `ai-node init --peer pacs=PACS@192.0.2.10:104`. Every setting is in the
    file, explained.
    """
    from node import initial_config as initial
    from node.retention_words import removals_in_words

    def ask(question: str, default: str) -> str:
        return str(typer.prompt(question, default=default or None, err=True))

    can_ask = sys.stdin.isatty() and not yes
    with errors_as_messages():
        initial.refuse_to_replace(config, is_forced=force)
        given = initial.Given(ae_title, port, state_dir, peer or (), sender or (), model or ())
        loaded = initial.write_config(config, initial.choose(given, ask if can_ask else None))
        lines = [f"Wrote {config}.", *initial.pacs_side(loaded), "", "What is removed when:"]
        lines += [*(f"  {line}" for line in removals_in_words(loaded)), "", "Then:"]
        lines += [f"  ai-node {verb} --config {config}" for verb in ("doctor", "run")]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@commands.command()
def check(
    config: ConfigOption = CONFIG,
    deep: Annotated[
        bool, typer.Option("--deep", help="Instead: read every object, and compare with the rows.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="With --deep: put right what can be.")
    ] = False,
    new_ledger: Annotated[
        bool,
        typer.Option("--new-ledger", help="With --repair: the ledger is lost, and this is new."),
    ] = False,
    store_is_lost: Annotated[
        bool,
        typer.Option("--store-is-lost", help="With --repair: so is the store, and this is new."),
    ] = False,
    for_start: Annotated[
        bool,
        typer.Option(
            "--for-start",
            help="Exit code 1 only if a node would not start by it: other faults are told.",
        ),
    ] = False,
) -> None:
    """Load the configuration, its models and their weights, and change nothing.

    Every problem is named with file, line, key and remedy. The database is looked at, and
    whether the store belongs to it; neither ports nor other folders are tried, nor peers, lists and
    mail: `ai-node doctor` does that. With --for-start no network runs: a start does that by itself,
    and one that only receives, or only shows the page, needs none.

    With --deep every file of the store is read, and what is said is: files without a row, rows
    without a file, files that are not as they came; exit code 1 if there are such. A node may run
    meanwhile. With --repair the first are put away in `orphans/`, damaged ones in `unreadable/`,
    and a study of which images are missing is held, and asked back where a peer answers; nothing is
    deleted, and it may be called again (docs/operate.md).
    """
    from node.cli.keeping import Lost, check_deeply

    lost = Lost.LEDGER if new_ledger else Lost.STORE if store_is_lost else Lost.NOTHING
    if new_ledger and store_is_lost:
        raise typer.BadParameter("give --new-ledger or --store-is-lost: if both are lost, neither")
    if (lost and not repair) or (repair and not deep):
        raise typer.BadParameter("it is --deep, --deep --repair, or one more option after these")
    if deep:
        check_deeply(config, repairs=repair, lost=lost)
    else:
        _check_settings(config, for_start=for_start)


def _check_settings(config: Path, *, for_start: bool) -> None:
    """Check what the configuration says, and what it names."""
    from node.config import load_config
    from node.inference import Inference
    from node.running.loading import faults_of
    from node.site import fault_of_ledger, load_models, try_database

    with errors_as_messages():
        loaded = load_config(config)
        models = load_models(loaded)
        try_database(loaded)
        notes = list(_notes_of_ledger(loaded, models))
        if not for_start:
            with Inference(loaded.inference, tuple(models.values())):
                pass  # starting means every network has loaded and run once
        why_no_start = fault_of_ledger(loaded)
        faults = [*faults_of(loaded, models), *filter(None, [why_no_start])]
        verdict = "can be read, and has faults" if faults else "is right"
        first, *others = _what_is_right(loaded, models, "" if for_start else ", runs")
        for line in (f"{config} {verdict}: {first}", *others):
            out.print(line, markup=False)
        for line in [*_notes(loaded, models), *notes]:
            out.print(f"Note: {line}", markup=False)
        if why_no_start or (faults and not for_start):
            raise NodeError("\n".join(faults))
        for line in faults:
            err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)


def _what_is_right(config: Config, models: Mapping[str, Model], runs: str) -> Iterator[str]:
    """Yield where a node will be reached, what it runs, and whom it tells."""
    from node.dimse.addresses import place
    from node.retention_words import removals_in_words
    from node.running.loading import faults_of_its_page
    from node.site import levels_in_words
    from node.start_words import who_else_is_told

    where = place(config.listener.host, config.listener.port)
    yield f"{config.node.ae_title} will listen on {where}."
    yield from _where_it_answers(config, has_page=not faults_of_its_page(config))
    for model in models.values():
        identity = model.identity
        yield f"Model {identity.name} {identity.version}: weights verified{runs}."
        if levels := levels_in_words(model):
            yield f"Model {identity.name}: {levels}."
    for line in [*who_else_is_told(config), *removals_in_words(config)]:
        yield f"{line}."


def _notes_of_ledger(config: Config, models: Mapping[str, Model]) -> Iterator[str]:
    """Yield what waits for nobody; raise ConfigError if a package has changed, and no version."""
    from node.ledger import KnownPackages
    from node.overview.unnamed import waits_for_nobody
    from node.running.kept_packages import refuse_changed_packages
    from node.site import ledger_as_it_is

    ledger = ledger_as_it_is(config)
    if ledger is not None:
        with contextlib.closing(ledger):
            refuse_changed_packages(KnownPackages(ledger), models)
            yield from waits_for_nobody(ledger, config)


def _notes(config: Config, models: Mapping[str, Model]) -> list[str]:
    from node.config import advice
    from node.retention_words import advice_on_retention
    from node.site import advice_on_models

    return [*advice(config), *advice_on_models(config, models), *advice_on_retention(config)]


def _where_it_answers(config: Config, *, has_page: bool) -> Iterator[str]:
    """Yield where page and monitoring will be, as far as they are wanted."""
    from node.dimse.addresses import place
    from node.web.exposure import address_of_page
    from node.web.serving import has_users_yet

    if config.web is not None and has_page:
        login = "everybody logs in"
        if not has_users_yet(config):
            login = "without a login, which only looks"
        yield f"Page: {address_of_page(config.web, config.web.port)}, {login}."
    if config.monitoring is not None:
        where = place(config.monitoring.host, config.monitoring.port)
        yield f"Monitoring: /health and /metrics on {where}."


@commands.command()
def doctor(
    config: ConfigOption = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Examine everything the configuration names, and send a generated exam through the node.

    Folders, disk, clock, database, models, port; every peer by C-ECHO, what it accepts, and a query
    (C-FIND) for a study that does not exist; the mail server and webhook of alarms; what is held,
    given up, or made for nobody; each red line says what to do. Other systems are sent nothing, and
    nothing is changed: it may be used while the node is running. Exit code 1 if anything is red,
    which waits for a person; else 0.
    """
    from node.doctor import diagnose

    verdicts = []
    for verdict in diagnose(config):
        verdicts.append(verdict)
        if not as_json:
            _print_verdict(verdict)
    states: list[str] = [verdict.state for verdict in verdicts]
    if as_json:
        typer.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    else:
        words = {"failed": "failed", "warning": "to look at", "ok": "ok"}
        counts = [f"{states.count(state)} {word}" for state, word in words.items()]
        out.print(f"{', '.join(counts)}.", highlight=False)
    raise typer.Exit(1 if "failed" in states else 0)


_SIGNS = {
    "ok": "[green]ok     [/green]",
    "warning": "[yellow]warning[/yellow]",
    "failed": "[red]FAILED [/red]",
}


def _print_verdict(verdict: Verdict) -> None:
    out.print(f"{_SIGNS[verdict.state]} [bold]{verdict.what:<18}[/bold] ", end="", highlight=False)
    out.print(verdict.words, markup=False, highlight=False, soft_wrap=True)
    if verdict.remedy:
        line = f"{'':<8}{'what to do:':<18} {verdict.remedy}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@commands.command()
def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where results go; replaced if a demo made it.")
    ] = Path("demo-results"),
    phantom: Annotated[bool, typer.Option(help="Use generated images, not real ones.")] = False,
) -> None:
    """Show the whole node at work: mammograms and a breast MRI go in, a PACS receives the results.

    Needs no configuration and no other program. The exams it sent stay in `exams/` there, for
    `ai-node send`. Exit code 0 only if every expected object arrived and was read back.
    """
    from node.demo import run_demo

    with errors_as_messages():
        raise typer.Exit(run_demo(out_dir, out, is_generated=phantom))


@contextlib.contextmanager
def _errors_in_the_log() -> Iterator[None]:
    """Print an error as other commands do, or where programs read that, log each of its lines."""
    from node.logs import is_for_machines

    with errors_as_messages():
        try:
            yield
        except NodeError as error:
            if not is_for_machines():
                raise
            for line in str(error).splitlines():
                log.critical("%s", line)
            raise typer.Exit(1) from error
