"""Looks at a model package before a hospital does: whole, able to run, honestly described."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from node.analysis.pipeline import MODEL_FAILED
from node.errors import ConfigError, NodeError
from node.inference.onnx import OnnxSession, available_providers
from node.inference.session import Session, Tensor, in_words, warm_up
from node.manifest import Model, other_with_device_uid
from node.offline import analyse_folder
from node.packages import exams
from node.packages.answers import BLACK_UNIT, amiss_in_answers, ask, blind_roles, differences
from node.packages.card import card_in_words
from node.packages.reference import compare_reference

THREADS = 2
PROVIDER_TOLERANCE = 0.01
"""By so much another provider's answers may differ from the CPU's: of 1, as probabilities have it,
or of the largest value that the CPU gives for that output, if that is more."""
_MANY_FILES = 64
"""Of what is given, so many files are tried."""
_MANY_SLICES = 10_000
"""And so many of exams of volumes: a part of one is none."""


@dataclass(frozen=True, slots=True)
class PackageFinding:
    """What came of one check."""

    what: str
    words: str
    is_ok: bool


def check_package(
    model: Model, files: Path | None = None, folders: Sequence[Path] = ()
) -> Iterator[PackageFinding]:
    """Yield a finding for each check, as it is made.

    `files` is a folder of images that the model was made for, in place of generated ones; other
    packages lie in `folders`.
    """
    yield _attempt("weights", lambda: _weights(model))
    network = _attempt("network", lambda: _network(model))
    yield network
    if network.is_ok:
        yield from _on_images(model, files)
    yield _attempt("identity", lambda: _identity(model, folders))
    yield _attempt("card", lambda: card_in_words(model))


def _on_images(model: Model, files: Path | None) -> Iterator[PackageFinding]:
    try:
        trial = _Trial.on(model, files)
    except NodeError as error:
        yield PackageFinding("exam", str(error), is_ok=False)
        return
    with exams.generated_files(model, trial.generated) as made:
        tried = trial.given or made[0]
        images = [*trial.given, *(path for exam in made for path in exam)]
        yield _attempt("exam", lambda: _exam(model, tried, bool(trial.given)))
        units, _ = exams.prepared_units(model, images)
        if units:
            yield _attempt("answers", lambda: _answers(model, units))
            yield _attempt("providers", lambda: _providers(model, units))
    yield _attempt("reference", lambda: compare_reference(model, THREADS, files))


@dataclass(frozen=True, slots=True)
class _Trial:
    """The images that a package is tried on."""

    given: list[Path]
    generated: list[list[Dataset]]
    """Exams that differ clearly; none, if none can be made and others are given."""

    @classmethod
    def on(cls, model: Model, files: Path | None) -> _Trial:
        many = _MANY_SLICES if model.manifest.unit.is_of_volumes else _MANY_FILES
        given = exams.dicom_among(exams.files_in(files))[:many] if files else []
        if files and not given:
            raise ConfigError(f"--files {files}: holds no DICOM object")
        try:
            return cls(given, exams.unlike_exams(model, "model check"))
        except NodeError:
            if given:
                return cls(given, [])
            raise


def _attempt(what: str, do: Callable[[], str]) -> PackageFinding:
    try:
        return PackageFinding(what, do(), is_ok=True)
    except NodeError as error:
        return PackageFinding(what, str(error), is_ok=False)


def _weights(model: Model) -> str:
    model.verify_weights()
    size_mb = model.weights_path.stat().st_size / 1e6
    sha256 = model.manifest.weights.sha256
    return f"{model.weights_path.name}, {size_mb:.1f} MB, SHA-256 {sha256[:12]}... as declared"


def _network(model: Model) -> str:
    session = OnnxSession(model, THREADS)
    warm_up(session)
    gives = in_words(model.manifest.tensor_shapes)
    return f"takes {in_words(session.inputs)}, gives {gives}, ran on a black image"


def _exam(model: Model, files: Sequence[Path], is_given: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="ai-node-check-") as folder:
        studies = analyse_folder(files, Path(folder), model, lambda: None).studies
    number = _NUMBERS.get(len(files), str(len(files)))
    what = f"a generated exam of {number} {'view' if len(files) > 1 else 'image'}"
    what += "s" if len(files) > 1 else ""
    if model.manifest.unit.is_of_volumes:
        what = f"a generated breast MRI of {len(files)} {'objects' if len(files) > 1 else 'object'}"
    if is_given:
        what = f"{len(files)} given {'images' if len(files) > 1 else 'image'}"
    said = "; ".join(study.words for study in studies)
    if not any(study.written and study.analysed for study in studies):
        reasons = [line for study in studies for line in study.details]
        words = f"{what}: {said}" + (
            f" ({reasons[0]})" if reasons and reasons[0] not in said else ""
        )
        raise NodeError(
            words if is_given else f"{words}; if it is right about these, {_GIVE_FILES}"
        )
    failed = {
        one.what
        for study in studies
        for one in (study.result.refused if study.result else ())
        if one.reason.startswith(MODEL_FAILED)
    }
    if failed:
        raise NodeError(
            f"{what}: the model failed on {', '.join(sorted(failed))}; the rest: {said}"
        )
    count = sum(len(study.written) for study in studies)
    return f"{what}: {said}, {count} objects"


_NUMBERS = {1: "one", 2: "two", 4: "four"}
_GIVE_FILES = exams.GIVE_FILES


def _answers(model: Model, units: Sequence[exams.PreparedUnit]) -> str:
    """Refuse what can be noticed of the answers to images that differ clearly."""
    session = OnnxSession(model, THREADS)
    asked, (black,) = ask(model, session, units), ask(model, session, [BLACK_UNIT])
    found = [*amiss_in_answers(model.manifest, asked, black), *blind_roles(model, session, units)]
    if found:
        raise NodeError("; ".join(found))
    return f"repeatable, in range and different for {len(asked)} different inputs"


def _providers(model: Model, units: Sequence[exams.PreparedUnit]) -> str:
    """Compare every tensor of every provider that is installed with those of the CPU."""
    cpu = OnnxSession(model, THREADS)
    reference = _concatenated(model, cpu, units)
    lines = []
    for provider in available_providers():
        if provider == "cpu":
            continue
        try:
            session = OnnxSession(model, THREADS, provider)
        except ConfigError:
            lines.append(f"{provider} is installed, and cannot be used on this machine")
            continue
        found = _concatenated(model, session, units)
        lines += [_compared(provider, name, reference[name], found[name]) for name in reference]
    return "; ".join(lines) or "only the CPU is there: nothing to compare"


def _concatenated(
    model: Model, session: Session, units: Sequence[exams.PreparedUnit]
) -> dict[str, Tensor]:
    """Return all that a network says of the images, one array for each of its outputs."""
    answers = [session.run(exams.tensors_of(model, session, unit.by_role)) for unit in units]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _compared(provider: str, name: str, reference: Tensor, found: Tensor) -> str:
    """Say how far an output differs from the CPU's; raise NodeError if that is too much."""
    most = float(differences(found, reference).max())
    allowed = PROVIDER_TOLERANCE * max(1.0, float(np.nan_to_num(np.abs(reference)).max()))
    words = f"{provider} differs from the CPU by at most {most:.2g} in {name!r}"
    if most > allowed:
        raise NodeError(f"{words}, allowed are {allowed:.2g}; do not use it for this model")
    return words


def _identity(model: Model, folders: Sequence[Path]) -> str:
    """Refuse a device UID that another package has."""
    if other := other_with_device_uid(model, [model.folder.resolve().parent, *folders]):
        raise NodeError(
            f"device_uid {model.manifest.device_uid} is also that of {other.manifest.name} "
            f"{other.manifest.version} in {other.folder}: of two algorithms or versions each needs "
            "its own, or their results cannot be told apart; models/README.md tells how to make one"
        )
    return "no other package has its device_uid"
