"""A generated exam through the whole node, and its results read back: nothing leaves the machine.

The node is a second one, with the site's models and settings, in a temporary folder and between
a sender and an archive of the demonstration's, on loopback.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from node.app import App
from node.config import Completeness, Config, Delivery, Intake, ListenerSettings, Peer
from node.dimse import Address, send
from node.doctor.verdict import Verdict, counted_things, failed, ok, warning
from node.errors import NodeError
from node.logs import log_to
from node.manifest import Model
from node.overview import Standing, StudyOverview, study_overviews
from node.site import load_models
from node.trial import phantom
from node.trial.checks import ExamOutcome, read_back
from node.trial.exams import Exam, Plan, fresh_run, write_exam
from node.trial.pacs import AE_TITLE, Pacs
from node.trial.phantom import Patient

_SENDER = "DOCTOR"
_WITHIN_S = 240
_LOOK_EVERY_S = 0.1
_UNFINISHED = (Standing.RECEIVING, Standing.QUEUED, Standing.RUNNING, Standing.DELIVERING)
_PLAN = Plan(
    letter="D",
    label="generated",
    title="A generated exam of four views",
    patient=Patient("DOCTOR-0001", "DOCTOR^GENERATED"),
    woman=0,
    views=phantom.EXAM,
)


def check_exam(config: Config) -> Iterator[Verdict]:
    """Send a generated exam to a node like this one, and read back what returns."""
    if not any(model.mode != "off" for model in config.models):
        yield warning("exam", "not tried: no model is on", "Name a model in [[models]].")
        return
    folder = Path(tempfile.mkdtemp(prefix="ai-node-doctor-"))
    log = folder / "node.log"
    remedy = f"The log of this trial says more: {log}. It holds no patient's data."
    is_right = False
    try:
        verdicts = list(_tried(config, folder, log, remedy))
        is_right = all(verdict.state != "failed" for verdict in verdicts)
        yield from verdicts
    finally:
        for made in folder.iterdir():
            if is_right or made != log:
                shutil.rmtree(made) if made.is_dir() else made.unlink()
        if is_right:
            folder.rmdir()


def _tried(config: Config, folder: Path, log: Path, remedy: str) -> Iterator[Verdict]:
    try:
        outcome, took_s = _through_a_node(config, folder, log)
    except NodeError as error:
        yield failed("exam", f"the trial broke off: {error}", remedy)
        return
    yield from _verdicts(outcome, took_s, remedy)
    yield from _verdicts_on_models(outcome, config, remedy)


def _through_a_node(config: Config, folder: Path, log: Path) -> tuple[ExamOutcome, float]:
    exam = write_exam(phantom.exam(fresh_run(), patient=_PLAN.patient), _PLAN, folder / "exam")
    paths = [path for _, burst in exam.bursts for path in burst]
    with log_to(log), Pacs(folder / "pacs") as pacs:
        app = App(trial_config(config, folder / "state", pacs.port))
        app.start()
        try:
            started = time.monotonic()
            send(paths, Address(config.node.ae_title, "127.0.0.1", app.port), _SENDER)
            overview = _finished(app, exam)
            took_s = time.monotonic() - started
        finally:
            app.stop()
        return read_back(exam, overview, pacs.kept), took_s


def trial_config(config: Config, state_dir: Path, pacs_port: int) -> Config:
    """Return a site's configuration on loopback: its models and how they run, and nobody else."""
    own = {"state_dir": state_dir, "store_dir": None, "database": None, "min_free_mb": 0}
    models = [
        model.model_copy(update={"mode": "deliver"})
        for model in config.models
        if model.mode != "off"
    ]
    return Config(
        node=config.node.model_copy(update=own),
        listener=ListenerSettings(host="127.0.0.1", port=0),
        peers=(
            _peer("sender", _SENDER, 104, sends=True, results_to=("pacs",)),
            _peer("pacs", AE_TITLE, pacs_port, receives="default"),
        ),
        models=tuple(models),
        completeness=Completeness(settle_s=0.5, quiet_s=5),
        intake=Intake(max_study_age_days=0, test_patients=(), shared_patient_ids=()),
        inference=config.inference,
        delivery=Delivery(retry_first_s=1, retry_max_s=2),
    )


def _peer(name: str, ae_title: str, port: int, **role: Any) -> Peer:
    return Peer(name=name, ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=30, **role)


def _finished(app: App, exam: Exam) -> StudyOverview | None:
    """Wait until the node is done with the exam; return where it stands then."""
    give_up_at = time.monotonic() + _WITHIN_S
    overview = None
    while time.monotonic() < give_up_at and not app.failed.is_set():
        seen = [one for one in study_overviews(app.ledger) if one.study_uid == exam.study_uid]
        overview = seen[0] if seen else None
        if overview is not None and overview.state not in _UNFINISHED:
            break
        time.sleep(_LOOK_EVERY_S)
    return overview


def _verdicts(outcome: ExamOutcome, took_s: float, remedy: str) -> Iterator[Verdict]:
    if outcome.faults:
        yield from (failed("exam", fault, remedy) for fault in outcome.faults)
        return
    if not outcome.reports:
        yield warning("exam", f"received, but no report came: {_outcomes(outcome)}", remedy)
        return
    reports = counted_things(outcome.reports, "report")
    found = f"{reports}, {counted_things(outcome.captures, 'image')}"
    others = len(outcome.datasets) - len(outcome.reports) - len(outcome.captures)
    found += f", {others} more" if others else ""
    words = f"{outcome.exam.images} generated images in; back and read: {found}; {took_s:.1f} s"
    yield ok("exam", f"{words} ({_outcomes(outcome)})")


def _verdicts_on_models(outcome: ExamOutcome, config: Config, remedy: str) -> Iterator[Verdict]:
    """Say which models that are on have analysed nothing: then nothing of them is proved."""
    overviews = outcome.overview.models if outcome.overview else ()
    results = {one.model: one.result for one in overviews}
    for name, model in load_models(config).items():
        if not phantom.is_read_by(model.manifest.input):
            words = f"{name} was not tried: it reads none of the generated images"
            yield warning("exam", words, _how_to_try(model))
            continue
        result = results.get(name)
        if result is None or not result.analysed:
            why = result.reason if result is not None else "no answer"
            words = f"{name} analysed none of {outcome.exam.images} generated images: {why}"
            yield failed("exam", words, f"`ai-node models check {name}` tries it alone. {remedy}")


def _how_to_try(model: Model) -> str:
    """Say how a model is tried that reads none of the generated images."""
    send_one = "Send it a study of its kind, and look at the result."
    if not model.manifest.unit.is_of_volumes:
        return send_one
    check = f"`ai-node models check {model.manifest.name}`"
    return f"{check} tries it on generated breast MRI, which may take minutes. {send_one}"


def _outcomes(outcome: ExamOutcome) -> str:
    models: Sequence[str] = ()
    if outcome.overview is not None:
        models = [f"{model.model}: {model.outcome}" for model in outcome.overview.models]
    return "; ".join(models) or "no model reads it"
