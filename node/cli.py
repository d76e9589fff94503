"""The command `ai-node`."""

from __future__ import annotations

import contextlib
import functools
import getpass
import itertools
import json
import logging
import os
import re
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from node import __version__
from node.errors import NodeError

if TYPE_CHECKING:
    from node.config import Config
    from node.doctor import Verdict
    from node.manifest import Model
    from node.overview import Standing, StudyOverview
    from node.overview.health import Alarm

log = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""An AI node for the DICOM network: studies in by C-STORE, AI results back into the
    same study.

    Begin with `ai-node demo`, which needs nothing. For your hospital: `ai-node init` writes a
    configuration, `ai-node doctor` examines everything it names, `ai-node run` runs it.

    Exit codes: 0 done, 1 not done (the reason is on standard error), 2 wrong usage.""",
)
out = Console(emoji=False)
err = Console(stderr=True, emoji=False)  # "node.toml:100:" is no emoji

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)
]
_CONFIG = Path("node.toml")


class Only(StrEnum):
    """What one of several machines is for."""

    LISTENER = "listener"
    WORKER = "worker"
    WEB = "web"


class UserRole(StrEnum):
    """What a user of the page may do."""

    READER = "reader"
    OPERATOR = "operator"


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


@app.command()
def run(
    config: ConfigOption = _CONFIG,
    only: Annotated[
        Only | None,
        typer.Option(help="Only receive, only work and deliver, or only show the page."),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Log details, patient data among them.")] = False,
) -> None:
    """Run the node in the foreground; SIGTERM or Ctrl-C drains and stops it.

    Prints "Listening on HOST:PORT" on standard error when it is ready, a worker "Working", and
    with the table [web] "Page at http://HOST:PORT". A node that only shows the page may run beside
    one that does the work, with the same configuration.
    What a former process left unfinished, however it ended, is taken up at the start. Under
    systemd (systemd/ai-node.service) it says when it is ready, and that it lives.
    """
    from node.app import App
    from node.config import load_config
    from node.ledger import Role
    from node.logs import start_logging
    from node.page_alone import PageAlone
    from node.supervisor import Watchdog, tell

    with _errors_in_the_log():
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
        watchdog = Watchdog()
        while not told and not node.failed.is_set():
            time.sleep(0.2)
            if node.is_alive:
                watchdog.feed()
        tell("STOPPING=1")
        node.stop()
        if node.failed.is_set():
            log.critical("A part of the node died, as is said above; it ends, to be started again")
        logging.shutdown()
        # All is committed; a thread that still waits for a dead destination must not hold us up.
        os._exit(1 if node.failed.is_set() else 0)


@app.command()
def init(  # noqa: PLR0913 - one for each question
    config: ConfigOption = _CONFIG,
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

    def ask(question: str, default: str) -> str:
        return str(typer.prompt(question, default=default or None, err=True))

    can_ask = sys.stdin.isatty() and not yes
    with _errors_as_messages():
        initial.refuse_to_replace(config, is_forced=force)
        given = initial.Given(ae_title, port, state_dir, peer or (), sender or (), model or ())
        loaded = initial.write_config(config, initial.choose(given, ask if can_ask else None))
        lines = [f"Wrote {config}.", *initial.pacs_side(loaded), "", "Then:"]
        lines += [f"  ai-node {verb} --config {config}" for verb in ("doctor", "run")]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(config: ConfigOption = _CONFIG) -> None:
    """Load the configuration, its models and their weights, and change nothing.

    Every problem is named with file, line, key and remedy. A PostgreSQL database is connected to;
    neither port nor folders are tried.
    """
    from node.config import advice, load_config
    from node.dimse.addresses import place
    from node.inference import Inference
    from node.site import (
        advice_on_models,
        faults_of_models,
        levels_in_words,
        load_models,
        try_database,
    )

    with _errors_as_messages():
        loaded = load_config(config)
        models = load_models(loaded)
        try_database(loaded)
        with Inference(loaded.inference, tuple(models.values())):
            pass  # starting means every network has loaded and run once
        where = place(loaded.listener.host, loaded.listener.port)
        out.print(f"{config} is right: {loaded.node.ae_title} will listen on {where}.")
        faults = _look_at_page(loaded)
        for model in models.values():
            identity = model.identity
            out.print(f"Model {identity.name} {identity.version}: weights verified, runs.")
            if levels := levels_in_words(model):
                out.print(f"Model {identity.name}: {levels}.")
        for line in [*advice(loaded), *advice_on_models(loaded, models)]:
            out.print(f"Note: {line}")
        if faults := [*faults, *(words for _, words in faults_of_models(loaded, models))]:
            raise NodeError("\n".join(faults))


def _look_at_page(config: Config) -> list[str]:
    """Print where the page will be, if there is to be one; return why it must not start."""
    from node.web.exposure import address_of_page, faults_of_page
    from node.web.serving import has_users_yet

    if config.web is None:
        return []
    has_users = has_users_yet(config)
    login = "everybody logs in" if has_users else "without a login, which only looks"
    if not (faults := faults_of_page(config.web, has_users=has_users)):
        out.print(f"Page: {address_of_page(config.web, config.web.port)}, {login}.")
    return faults


@app.command()
def doctor(
    config: ConfigOption = _CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Examine everything the configuration names, and send a generated exam through the node.

    Folders, disk, clock, database, models, port; every peer by C-ECHO, what it accepts, and a query
    (C-FIND) for a study that does not exist; what is held, given up, or made for nobody; each red
    line says what to do. Other systems are sent no object, and nothing is changed: it may be used
    while the node is running. Exit code 1 if anything is red, which waits for a person; else 0.
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


@app.command()
def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where results go; replaced if a demo made it.")
    ] = Path("demo-results"),
    phantom: Annotated[bool, typer.Option(help="Use generated images, not real ones.")] = False,
) -> None:
    """Show the whole node at work: a modality sends mammograms, a PACS receives the results.

    Needs no configuration and no other program. The exams it sent stay in `exams/` there, for
    `ai-node send`. Exit code 0 only if every expected object arrived and was read back.
    """
    from node.demo import run_demo

    with _errors_as_messages():
        raise typer.Exit(run_demo(out_dir, out, is_generated=phantom))


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="A DICOM file, or a folder of them.")],
    to: Annotated[str, typer.Option(help="Where to: AET@HOST:PORT.")],
    aet: Annotated[str, typer.Option(help="The AE title we call ourselves.")] = "AINODE-SEND",
) -> None:
    """Send DICOM files by C-STORE, as they lie on disk.

    For example: `ai-node send exam/ --to AINODE@127.0.0.1:11112 --aet ORTHANC`. The other side
    must know the AE title we call ourselves.
    """
    from node.dimse import Address, SendOutcome
    from node.dimse import send as send_files

    with _errors_as_messages():
        ae_title, host, port = _parse_address(to)
        paths = find_dicom(folder)
        bad: list[SendOutcome] = []
        with _progress("Sending", len(paths)) as advance:

            def on_sent(outcome: SendOutcome) -> None:
                if outcome.state != "sent":
                    bad.append(outcome)
                advance()

            send_files(paths, Address(ae_title, host, port), aet, on_sent)
    for outcome in bad:
        err.print(f"{outcome.path}: {outcome.words}", markup=False, soft_wrap=True)
    out.print(f"{len(paths) - len(bad)} of {len(paths)} objects stored by {to}.")
    raise typer.Exit(1 if bad else 0)


@app.command()
def analyse(
    folder: Annotated[Path, typer.Argument(help="A folder with the DICOM files of studies.")],
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Where results go; former ones of a study are replaced."),
    ],
    model: Annotated[
        str, typer.Option(help="The model to run: the name of a bundled one, or its folder.")
    ] = "breast-area",
    preset: Annotated[
        str, typer.Option(help="Which kinds of object: a preset, as destinations have one.")
    ] = "default",
) -> None:
    """Analyse files without network or database, exactly as the node would.

    Phantoms, test patients and old studies too, which a node excludes.
    For example: `ai-node analyse exam/ --out results/`. Each study gets a folder of its own with
    the Structured Report and the captures as DICOM files. Exit code 1 if a file was damaged or
    a study was held because its files contradict one another; the others are analysed. Also if
    there was no study at all.
    """
    from node.config import bundled_models_dir, has_level_in_lists, presets
    from node.errors import ConfigError
    from node.manifest import open_model
    from node.offline import analyse_folder

    with _errors_as_messages():
        if preset not in presets():
            raise ConfigError(f'--preset: no "{preset}"; there are: {", ".join(presets())}')
        opened = open_model(model, bundled_models_dir())
        paths = find_dicom(folder, and_called_so=True)
        with _progress("Reading", len(paths)) as advance:
            outcome = analyse_folder(
                paths,
                out_dir,
                opened,
                advance,
                presets()[preset],
                has_level_in_lists=has_level_in_lists(preset),
            )
        for line in (*outcome.damaged, *outcome.of_no_study):
            err.print(line, markup=False, highlight=False, soft_wrap=True)
        for study in outcome.studies:
            out.print(f"Study {study.study_uid}: {study.words}", markup=False, soft_wrap=True)
            for line in (*study.details, *map(str, study.written)):
                out.print(f"  {line}", markup=False, soft_wrap=True)
            if study.replaced:
                out.print(f"  replaced {counted(study.replaced, 'former result')}")
        if outcome.unmade:
            kinds = " and ".join(outcome.unmade)
            out.print(
                f"Not written: {kinds}, which no result of {opened.manifest.name} can become."
            )
        if not outcome.studies:
            passed = f": {counted(outcome.own, 'file')} are results already" if outcome.own else ""
            out.print(f"There is no study to analyse{passed}.")
    raise typer.Exit(0 if outcome.is_clean and outcome.studies else 1)


LabelsOption = Annotated[
    Path | None,
    typer.Option(help="The table (CSV): path, patient, label, and side, view, ..."),
]
CollectionOption = Annotated[
    str | None,
    typer.Option(help="Instead of a table, the folder holds this collection as it is published."),
]


@app.command()
def evaluate(  # noqa: PLR0913 - one for each thing that may be asked
    model: Annotated[str, typer.Argument(help="The name of a bundled model, or its folder.")],
    folder: Annotated[
        Path, typer.Argument(help="Where the paths of the table begin, or a collection lies.")
    ],
    labels: LabelsOption = None,
    collection: CollectionOption = None,
    label: Annotated[
        str | None,
        typer.Option(help="The column whose words are the labels, if it is not `label`."),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where report, figures and pictures go.")
    ] = Path("evaluation"),
    by: Annotated[
        list[str] | None,
        typer.Option(help="Break figures down by a column: device, age, view. Repeatable."),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="A label, or a class of the model, that counts as 1. Repeatable."),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            min=0, max=1, help="Measure there, too: 0.71 calls 71 % positive. Repeatable."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of exams with the disease where it is to be used."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many at once; as many as there are CPUs.")
    ] = None,
) -> None:
    """Measure a model on labelled images, through the node's own pipeline.

    For example: `ai-node evaluate breast-density images/ --labels labels.csv --by device`, or of a
    collection as it is published: `--collection cbis-ddsm` (docs/train.md says which there are).
    The table has a line for each image: `path` below the folder, `patient` (any word, the same for
    all of one), `label` (0 or 1, a name, or a class of the model); of image files also `side`
    (R, L) and `view` (CC, MLO), which DICOM files say themselves; `exam` where a patient has
    several. Other columns are there to break down by. PNG, JPEG, TIFF and PGM become the objects
    that a modality would send.

    AUC, sensitivity, specificity and calibration per image, breast and exam, with 95 % intervals by
    drawing patients; what was not assessed is counted with its reason. Cut short, the same command
    goes on where it was. docs/evaluate.md has an example. Exit code 1 if nothing was measured.
    """
    from node.config import bundled_models_dir
    from node.evaluation.evaluating import EvaluationSettings, evaluate_model
    from node.evaluation.labels import labelled_by
    from node.evaluation.report import summary, write_evaluation
    from node.evaluation.running import processes_here
    from node.manifest import open_model
    from node.training.collections.table import labelled_images

    with _errors_as_messages():
        table = labelled_images(folder, labels, collection)
        settings = EvaluationSettings(
            table=table if label is None else labelled_by(table, label),
            out_dir=out_dir,
            by=tuple(by or ()),
            positive=tuple(positive or ()),
            thresholds=tuple(threshold or ()),
            prevalence=prevalence,
            processes=processes or processes_here(),
        )
        opened = open_model(model, bundled_models_dir())
        try:
            document = evaluate_model(opened, settings, _progress_with_time_left)
        except KeyboardInterrupt:
            err.print(f"Stopped. The same command goes on; what is scored is kept in {out_dir}.")
            raise typer.Exit(130) from None
        written = write_evaluation(document, out_dir)
    for line in (*summary(document), *map(str, written)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if any(case.said for case in document.cases) else 1)


@app.command()
def train(  # noqa: PLR0913 - one for each thing that may be asked
    recipe: Annotated[
        str, typer.Argument(help="A name for the package, or a recipe (TOML) that says all.")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Where the paths of the table begin, or a collection lies.")
    ],
    labels: LabelsOption = None,
    collection: CollectionOption = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="A label that counts as 1, without a recipe. Repeatable."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="A table of boxes around lesions, of a recipe that has [lesions]."),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="The folder of packages: it gets one more.")
    ] = Path("packages"),
    work: Annotated[
        Path, typer.Option(help="What takes long is kept here, and the recipes that were tried.")
    ] = Path("training"),
    compare_on: Annotated[
        list[int] | None,
        typer.Option(
            "--compare-on",
            min=0,
            help="Measure the recipe on this fold, to compare recipes; no package. Repeatable.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many at once; as many as there are CPUs.")
    ] = None,
) -> None:
    """Train a network on labelled images, and make a model package of it.

    For example: `ai-node train my-triage images/ --labels labels.csv`; or, of a collection as it is
    published, `ai-node train lesions cbis-ddsm/ --collection cbis-ddsm`. The table is that of
    `ai-node evaluate`. Women are dealt into folds; a network of each fold is measured on women whom
    it never saw, and printed. The package has the network, its manifest with calibration and
    operating points, a card with figures, reference answers, and the recipe, which makes it again.

    Needs the optional group `training` (torch). A GPU is used where there is one; two CPU cores do
    for a small set. Stopped, the same command goes on where it was. docs/train.md leads from a
    download to a report in the viewer.
    """
    from node.evaluation.report import summary
    from node.evaluation.running import processes_here
    from node.training.collections.table import labelled_images
    from node.training.group import require_torch
    from node.training.lesion_boxes import read_lesion_boxes
    from node.training.packing import cross_validation_table
    from node.training.recipe import recipe_called

    with _errors_as_messages():
        asked = recipe_called(recipe, tuple(positive or ()))
        require_torch()
        from node.training.running import TrainingSettings, measure_recipe, train_package

        given = ["--labels", labels.name] if labels else ["--collection", str(collection)]
        films = ["--boxes", f"{boxes.parent.name}/{boxes.name}"] if boxes else []
        settings = TrainingSettings(
            recipe=asked,
            table=labelled_images(folder, labels, collection),
            out=out_dir,
            work=work,
            train=shlex.join(["ai-node", "train", "recipe.toml", folder.name, *given, *films]),
            evaluate=shlex.join(
                ["ai-node", "evaluate", f"{out_dir.name or '.'}/{asked.name}", folder.name, *given]
                + [part for word in asked.labels.positive for part in ("--positive", word)]
            ),
            processes=processes or processes_here(),
            boxes=read_lesion_boxes(boxes, boxes.parent) if boxes else None,
        )
        try:
            if compare_on:
                found = measure_recipe(settings, compare_on, _progress_with_time_left)
                out.print(cross_validation_table(found, asked.about), markup=False, soft_wrap=True)
                return
            trained = train_package(settings, _progress_with_time_left)
        except KeyboardInterrupt:
            err.print(f"Stopped. The same command goes on; what was computed is kept in {work}.")
            raise typer.Exit(130) from None
    for line in (
        "Cross-validation:",
        cross_validation_table(trained.cross_validation, asked.about),
        "",
        "The package, on women whom it never saw:",
        *summary(trained.this_file),
        "",
        *trained.next_steps(),
    ):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def studies(  # noqa: PLR0913 - one for each thing that may be asked
    config: ConfigOption = _CONFIG,
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
    """
    from node.config import load_config
    from node.overview import Wanted, each_wanted
    from node.overview.health import Alarm
    from node.site import existing_ledger
    from node.store import Store

    wanted = Wanted(
        since=_since(since),
        sender=sender,
        accession_number=accession,
        patient_id=patient_id,
    )
    standing = _standing(state)
    alarms = {Alarm.NONE}
    with _errors_as_messages(Alarm.ACT):
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            found = each_wanted(ledger, wanted, standing=standing, with_outlines=outlines)
            overviews = _noting_alarms(itertools.islice(found, limit or None), alarms)
            if as_json:
                _print_as_json(overviews)
                raise typer.Exit(int(max(alarms)))
            count = 0
            for count, study in enumerate(overviews, start=1):  # noqa: B007 - the last one counts
                _print_study(study)
        unusable = Store(loaded.store_dir).count_unusable()
    out.print(counted(count, "study", "studies"), highlight=False)
    for folder, number in unusable.items():
        if number:
            words = f"{counted(number, 'object')} in {folder}, each with the reason"
            out.print(words, highlight=False, soft_wrap=True)
    raise typer.Exit(int(max(alarms)))


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


def _print_as_json(studies: Iterable[StudyOverview]) -> None:
    """Print a list, each study as soon as it is read: thousands of them would fill the memory.

    Not by rich: it takes a minute to colour what a hundred studies say.
    """
    before, after = "[", "[]"
    for study in studies:
        took = {name: getattr(study, name) for name in _TOOK}
        lines = json.dumps(asdict(study) | took, indent=1, default=str)  # of a level the word
        lines = lines.replace("\n", "\n ")
        typer.echo(f"{before}\n {lines}", nl=False)
        before, after = ",", "\n]"
    typer.echo(after)


_TOOK = ("received_s", "waited_s", "analysed_s", "delivered_s")
"""How long each step took."""

_NEXT = {
    "identity": "correct it in the archive and send all its images again; that releases it",
    "destination": "correct it there or here, and send its images again; that releases it",
    "by hand": "look at it; then `ai-node release` with its UID lets it go on",
}
"""What a person does about a study that waits for one, by what it is held for."""


def _print_study(study: StudyOverview) -> None:
    """Print where a study stands, in lines that no terminal is too narrow for."""
    from node.ledger import DeliveryState
    from node.outputs.wording import refused_as_damaged
    from node.overview import Standing

    level = f"  {_LEVELS[study.level]}" if study.level else ""
    out.print(f"[bold]{study.study_uid}[/bold]  {study.state}{level}", highlight=False)
    lines = [("level", _level_in_words(study))] if study.level or study.level_words else []
    lines += [("images", f"{study.images} of {study.sender}: {_views_in_words(study)}")]
    lines += [("accession", study.accession_number)] if study.accession_number else []
    lines += [("came", _times_in_words(study))]
    lines += [("damaged", refused_as_damaged(study.damaged))] if study.damaged else []
    version = f" (version {study.version})" if study.version > 1 else ""
    lines += [("started", f"{study.reason}{version}")] if study.reason else []
    lines += [(model.model, model.outcome) for model in study.models]
    lines += [("not analysed", line) for line in _first_few(study.refusals)]
    for destination in dict.fromkeys(delivery.destination for delivery in study.deliveries):
        states = [
            d.state
            for d in study.deliveries
            if d.destination == destination and d.state != DeliveryState.REPLACED
        ]
        confirmed = states.count(DeliveryState.CONFIRMED)
        stored = confirmed + states.count(DeliveryState.SENT)
        ways = dict.fromkeys(d.confirmed_by for d in study.deliveries if d.confirmed_by)
        by = f"{confirmed} confirmed ({', '.join(ways)})" if ways else "accepted, unconfirmed"
        words = f"{stored} of {len(states)} objects stored" + (f", {by}" if stored else "")
        words += _next_attempt(study, destination)
        lines.append((destination, words))
    lines += [("reason", study.error)] if study.error else []
    if study.state in (Standing.HELD, Standing.EXCLUDED, Standing.CANCELLED):
        lines.append(("next", _NEXT.get(study.held_because or "", _NEXT["by hand"])))
    if study.state == Standing.UNDELIVERED:
        lines.append(("next", "mend that; then `ai-node retry`"))
    for name, words in lines:
        out.print(f"  {name:<12} {words}", markup=False, highlight=False, soft_wrap=True)


def _times_in_words(study: StudyOverview) -> str:
    """Say when a study came, by this machine's clock, and how long each step took."""
    from node.overview.health import in_round_units

    came = datetime.fromtimestamp(study.last_image_at).astimezone()
    words = [f"{came:%Y-%m-%d %H:%M}"]
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


def _views_in_words(study: StudyOverview) -> str:
    """Return each view once, with how many images show it, and how many show none."""
    if not study.views:
        return "no views"
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


@app.command()
def status(
    config: ConfigOption = _CONFIG,
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


@app.command()
def nodes(config: ConfigOption = _CONFIG) -> None:
    """List the nodes that share the database, on this and other machines, and say who is alive.

    One that is silent for longer than `dead_after_s` is taken for dead: others do its work. It is
    shown for a week. Exit codes as of `ai-node status`: 0, 1 if one is silent or ill and others do
    its work, 2 if nobody listens, or nobody works, or that cannot be found out.
    """
    from node.config import load_config
    from node.ledger import Nodes
    from node.overview.health import Alarm, node_parts, worst_alarm
    from node.site import existing_ledger

    with _errors_as_messages(Alarm.ACT):
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


@app.command()
def retry(config: ConfigOption = _CONFIG) -> None:
    """Send again what was given up; a running node takes it up within seconds.

    A delivery is given up after `deliver_within_s`, or at once if the destination refuses the
    kind of object. Mend the cause first; `ai-node studies` names it. Results that had no
    destination go to those that the configuration names now.
    """
    from node.config import load_config
    from node.kinds import SUBSTITUTES
    from node.ledger import ByHand
    from node.site import existing_ledger

    with _errors_as_messages():
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


@app.command()
def release(
    study: Annotated[str, typer.Argument(help="The Study Instance UID, as `studies` shows it.")],
    config: ConfigOption = _CONFIG,
) -> None:
    """Let a study go on that is held, or that is excluded.

    `ai-node studies` says why it was stopped. Look at the study first: from here on its results
    are sent. A study whose objects disagree about the patient cannot be released: send its
    corrected images again, which releases it by itself.
    """
    from node.config import load_config
    from node.ledger import ByHand
    from node.site import existing_ledger

    with _errors_as_messages():
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


web = typer.Typer(
    no_args_is_help=True,
    help="Say who may log in to the page. As soon as there is a user, everybody has to.",
)
app.add_typer(web, name="web")

UserArgument = Annotated[str, typer.Argument(help="The name that the person logs in by.")]


@web.command("passwd")
def set_web_password(
    name: UserArgument,
    role: Annotated[
        UserRole | None,
        typer.Option(
            help="reader: see, and mark as read. operator: release and send again, too. A new "
            "user is a reader, and one who is there keeps the role."
        ),
    ] = None,
    config: ConfigOption = _CONFIG,
) -> None:
    """Make a user of the page, or give one another password, which ends that user's logins.

    Asks twice for the password, at least 10 characters; where it cannot ask, it is the first line
    of standard input. As soon as there is a user, everybody has to log in. The node may be running.
    """
    from node.config import load_config
    from node.ledger import PASSWORD_CHARACTERS, People, WebRole
    from node.site import existing_or_new_ledger

    with _errors_as_messages():
        loaded = load_config(config)
        with contextlib.closing(existing_or_new_ledger(loaded)) as ledger:
            if sys.stdin.isatty():
                question = f"Password of {name.lower()}, at least {PASSWORD_CHARACTERS} characters"
                password = str(
                    typer.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
                )
            else:
                password = sys.stdin.readline().rstrip("\r\n")
            wanted = None if role is None else WebRole(role)
            user = People(ledger).set_password(name.lower(), password, wanted)
        out.print(f"{user.name} may log in now, as {user.role}.", highlight=False)
        if loaded.web is None:
            words = "There is no page yet: add the table [web] to the configuration."
            out.print(words, markup=False, highlight=False)


@web.command("users")
def list_web_users(config: ConfigOption = _CONFIG) -> None:
    """List who may log in to the page, and as what."""
    from node.config import load_config
    from node.ledger import People
    from node.site import existing_ledger

    with _errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            users = People(ledger).users()
        for user in users:
            out.print(f"{user.name}  {user.role}", markup=False, highlight=False)
        if not users:
            out.print("Nobody: `ai-node web passwd NAME` makes a user.", highlight=False)


@web.command("remove")
def remove_web_user(name: UserArgument, config: ConfigOption = _CONFIG) -> None:
    """Remove a user of the page, and end that user's logins."""
    from node.config import load_config
    from node.ledger import People
    from node.site import existing_ledger

    with _errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            People(ledger).remove_user(name.lower())
        out.print(f"{name.lower()} is removed.", highlight=False)


models = typer.Typer(
    no_args_is_help=True, help="List the model packages. Check one before a hospital does."
)
app.add_typer(models, name="models")


@models.command("list")
def list_models(config: ConfigOption = _CONFIG) -> None:
    """List the models of every folder that is looked into: `[node] models_dir`, and what we bring.

    Of two of one name the first is used. Without a configuration there is only what we bring.
    """
    from node.config import models_dirs_here
    from node.packages.listing import listed

    with _errors_as_messages():
        for line in listed(models_dirs_here(config)):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


ModelArgument = Annotated[
    str, typer.Argument(help="The name of a model, as `models list` shows it, or its folder.")
]
FilesOption = Annotated[
    Path | None,
    typer.Option("--files", help="A folder of DICOM images that the model was made for."),
]


@models.command("check")
def check_model(
    model: ModelArgument, files: FilesOption = None, config: ConfigOption = _CONFIG
) -> None:
    """Try a model package: its weights, its network on generated exams, its reference, its card.

    Its answers must be repeatable, differ for different images, and have the form that the
    manifest says; where `reference/` holds answers, they must be those. Also on every other device
    that ONNX Runtime can use here, how far its answers differ from those of the CPU. Exit code 0
    only if every check is passed.
    """
    from node.config import models_dirs_here
    from node.packages.checking import check_package

    is_ok = True
    with _errors_as_messages():
        for finding in check_package(_opened(model, config), files, models_dirs_here(config)):
            word = "[green]ok    [/green]" if finding.is_ok else "[red]FAILED[/red]"
            out.print(f"{word} {finding.what:<10} ", end="", highlight=False)
            out.print(finding.words, markup=False, highlight=False, soft_wrap=True)
            is_ok = is_ok and finding.is_ok
    raise typer.Exit(0 if is_ok else 1)


@models.command("tensor")
def show_tensor(
    model: ModelArgument,
    files: Annotated[list[Path], typer.Argument(help="DICOM images, one or several.")],
    picture: Annotated[
        Path | None, typer.Option("--out", help="Draw what the network gets, as a PNG file.")
    ] = None,
    config: ConfigOption = _CONFIG,
) -> None:
    """Show what a network gets of images: shape, numbers, place, and a picture of it.

    Compare it with what the network had in training: that is where most goes wrong.
    """
    from node.packages.tensors import show_tensors

    with _errors_as_messages():
        for path in files:
            if not path.is_file():
                raise NodeError(f"{path}: is no file")
        for line in show_tensors(_opened(model, config), files, picture):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


@models.command("reference")
def reference_of_model(
    model: ModelArgument,
    files: FilesOption = None,
    where: Annotated[
        str, typer.Option("--from", help="With --files: where others get these files.")
    ] = "",
    config: ConfigOption = _CONFIG,
) -> None:
    """Write down what a model says now, into `reference/` of its package; `check` compares it.

    Of a generated exam, or of the studies in a folder; their files are named by SHA-256, and not
    copied.
    """
    from node.config import bundled_models_dir
    from node.errors import ConfigError
    from node.manifest.package import MANIFEST
    from node.packages.checking import THREADS
    from node.packages.reference import write_reference

    with _errors_as_messages():
        opened = _opened(model, config)
        if opened.folder.parent == bundled_models_dir() and not (Path(model) / MANIFEST).is_file():
            raise ConfigError(
                f"{model} comes with the node: copy {opened.folder}, or give that path to "
                "overwrite it"
            )
        written = write_reference(opened, THREADS, files, where)
        out.print(f"wrote {written.path}: {written.words}", markup=False, soft_wrap=True)


@models.command("digests")
def digests_of_images(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(help="DICOM objects, PNG, JPEG, TIFF or PGM.")],
    config: ConfigOption = _CONFIG,
) -> None:
    """Print the digests of images that a model has learnt from, for its `training-images.txt`.

    `ai-node evaluate` then leaves their patients out. What is no image is told on standard error;
    if an image cannot be read, the exit code is 1.
    """
    from node.evaluation.digests import digests_of

    unreadable = list[str]()
    with _errors_as_messages():
        wanted = _opened(model, config).manifest.input
        told = functools.partial(typer.echo, err=True)
        for digest in digests_of(folder, wanted, told, unreadable.append):
            typer.echo(digest)
    for words in unreadable:
        typer.echo(words, err=True)
    if unreadable:
        typer.echo("These are missing in the list: evaluate would not know them.", err=True)
        raise typer.Exit(1)


@models.command("new")
def new_model(
    name: Annotated[str, typer.Argument(help="What the package is to be called.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The network.")],
    into: Annotated[
        Path, typer.Option("--into", help="The folder that holds your packages.")
    ] = Path("models"),
) -> None:
    """Begin a model package: looks at an ONNX file, writes manifest and card with open questions.

    While a question is open the package is not used: it is told by file and line.
    """
    from node.packages.beginning import begin_package

    with _errors_as_messages():
        for line in begin_package(name, onnx, into):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def _opened(name_or_folder: str, config: Path) -> Model:
    """Open a model by its folder, or by its name among those that a configuration can use."""
    from node.config import models_dirs_here
    from node.manifest import open_model

    return open_model(name_or_folder, *models_dirs_here(config))


def counted(count: int, word: str, words: str = "") -> str:
    """Return how many there are: "1 study", "2 studies"."""
    return f"{count} {word if count == 1 else words or f'{word}s'}"


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


def _parse_address(text: str) -> tuple[str, str, int]:
    from node.dimse.addresses import without_brackets

    ae_title, _, rest = text.rpartition("@")
    host, _, port = rest.rpartition(":")
    if not (ae_title and host and port.isdecimal()):
        raise NodeError(f"--to {text!r}: expected AET@HOST:PORT, such as AINODE@127.0.0.1:11112")
    return ae_title, without_brackets(host), int(port)


@contextlib.contextmanager
def _progress(
    what: str, total: int, time: ProgressColumn | None = None
) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, time or TimeElapsedColumn(), console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _progress_with_time_left(
    what: str, total: int
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    return _progress(what, total, TimeRemainingColumn(elapsed_when_finished=True))


@contextlib.contextmanager
def _errors_as_messages(exit_code: int = 1) -> Iterator[None]:
    try:
        yield
    except NodeError as error:
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(exit_code) from error


@contextlib.contextmanager
def _errors_in_the_log() -> Iterator[None]:
    """Print an error as other commands do, or where programs read that, log each of its lines."""
    from node.logs import is_for_machines

    with _errors_as_messages():
        try:
            yield
        except NodeError as error:
            if not is_for_machines():
                raise
            for line in str(error).splitlines():
                log.critical("%s", line)
            raise typer.Exit(1) from error


def main() -> None:
    """Run the command."""
    app()
