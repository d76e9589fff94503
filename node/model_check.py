"""Looks at a model package before a hospital does: whole, able to run, honestly described."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from node.dicom.header import read_header
from node.domains.description import describe
from node.errors import ConfigError, NodeError
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.inference.inputs import inputs_of, joined
from node.inference.onnx import OnnxSession, available_providers
from node.inference.session import Session, Tensor, in_words, warm_up
from node.manifest import Model
from node.offline import analyse_folder
from node.study import IMAGE
from node.trial import phantom

CARD = "README.md"
_MEASURED = re.compile(
    r"\bn = \d"
    r"|\d ?%? to [-+]?\d"
    # as papers write it: 0.91 (95% CI 0.87-0.94), 0.91 [0.87, 0.94]
    r"|[\[(][^\])\d]*(?:95 ?% ?(?:CI|confidence interval)[:, ]*)?"
    r"[-+]?\d*\.?\d+ ?%?(?:-|\N{EN DASH}| - | \N{EN DASH} |, ?)[-+]?\d*\.?\d+ ?%? ?[\])]"
)
"""A figure with its interval, or a number of cases."""
THREADS = 2
PROVIDER_TOLERANCE = 0.01
"""By so much another provider's answers may differ from the CPU's: of 1, as probabilities have it,
or of the largest value that the CPU gives for that output, if that is more."""


@dataclass(frozen=True, slots=True)
class PackageFinding:
    """What came of one check."""

    what: str
    words: str
    is_ok: bool


def check_package(model: Model) -> Iterator[PackageFinding]:
    """Yield a finding for each check, as it is made."""
    yield _attempt("weights", lambda: _weights(model))
    network = _attempt("network", lambda: _network(model))
    yield network
    if network.is_ok:
        with tempfile.TemporaryDirectory(prefix="ai-node-check-") as folder:
            files = phantom.save(_generated(model), Path(folder) / "exam")
            yield _attempt("exam", lambda: _exam(model, files, Path(folder) / "results"))
            yield _attempt("providers", lambda: _providers(model, files))
    yield _attempt("card", lambda: _card(model))


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


def _exam(model: Model, files: Sequence[Path], out_dir: Path) -> str:
    what = "four views" if len(files) > 1 else "one image"
    (study,) = analyse_folder(files, out_dir, model, lambda: None).studies
    if not study.written or not study.analysed:
        raise NodeError(f"a generated exam of {what}: {study.words}")
    return f"a generated exam of {what}: {study.words}, {len(study.written)} objects"


def _generated(model: Model) -> list[Dataset]:
    """Return four mammograms, or for what reads something else one that says it is that."""
    if model.manifest.domain == "mammography":
        return phantom.exam("model check")
    return [phantom.image_for(model.manifest.input, "model check")]


def _providers(model: Model, files: Sequence[Path]) -> str:
    """Compare every tensor of every provider that is installed with those of the CPU."""
    cpu = OnnxSession(model, THREADS)
    inputs = inputs_of(model.manifest, cpu)
    given = [joined(inputs, unit, model.manifest.image_shape) for unit in _units(model, files)]
    reference = _answers(cpu, given)
    lines = []
    for provider in available_providers():
        if provider == "cpu":
            continue
        try:
            session = OnnxSession(model, THREADS, provider)
        except ConfigError:
            lines.append(f"{provider} is installed, and cannot be used on this machine")
            continue
        found = _answers(session, given)
        lines += [_compared(provider, name, reference[name], found[name]) for name in reference]
    return "; ".join(lines) or "only the CPU is there: nothing to compare"


def _answers(session: Session, given: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return all that a network says of the images, one array for each of its outputs."""
    answers = [session.run(tensors) for tensors in given]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _compared(provider: str, name: str, reference: Tensor, found: Tensor) -> str:
    """Say how far an output differs from the CPU's; raise NodeError if that is too much."""
    most = float(np.abs(found - reference).max())
    allowed = PROVIDER_TOLERANCE * max(1.0, float(np.abs(reference).max()))
    words = f"{provider} differs from the CPU by at most {most:.2g} in {name!r}"
    if most > allowed:
        raise NodeError(f"{words}, allowed are {allowed:.2g}; do not use it for this model")
    return words


def _units(model: Model, files: Sequence[Path]) -> list[dict[str, Tensor]]:
    """Return what the network gets of the images that it reads at once, by role."""
    units: dict[str, dict[str, Tensor]] = {}
    for path in files:
        view = describe(read_header(path), path, "").view
        unit, role = {
            "image": (str(path), IMAGE),
            "breast": (str(view.laterality) if view else "", view.projection if view else ""),
            "exam": ("exam", str(view)),
        }[model.manifest.unit.of]
        prepared = prepare(open_image(path), model.manifest.operations, view)
        units.setdefault(unit, {})[role] = prepared.tensor
    return list(units.values())


def _card(model: Model) -> str:
    """Require a section "Measured" that holds a figure with an interval or a number of cases."""
    path = model.folder / CARD
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise NodeError(
            f"{path}: there is no model card; write what it measures and is not"
        ) from None
    section = re.search(r"(?ms)^#+ *Measured\b(.*?)(?=^# |^## |\Z)", text)
    if section is None:
        raise NodeError(f'{path}: no section "Measured"; state what was measured, on what data')
    if not re.search(_MEASURED, section[1]):
        raise NodeError(
            f'{path}: "Measured" states no figure with its interval ("0.91 (0.87 to 0.94)") '
            'or number of cases ("n = 322")'
        )
    return f"{CARD} states what was measured"
