"""reference/ in a package: what its network and the node make of certain images, to be compared.

Inputs are told by recipe: a generated exam, by its name and technique, or files by their SHA-256
and where to get them. No image is part of a package.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from node import toml_file
from node.analysis.pipeline import MODEL_FAILED
from node.dicom.header import read_header
from node.errors import ConfigError, NodeError, Unreadable
from node.inference.answers import activated
from node.inference.onnx import OnnxSession
from node.inference.session import Tensor
from node.manifest import BoxesOutput, Model
from node.manifest.words import Ascii, Sha256, Uid, Version
from node.offline import analyse_folder
from node.packages import exams
from node.packages.answers import differences
from node.result import Evaluation, Finding, Result
from node.toml_file import Section, wrong
from node.trial import phantom

REFERENCE = Path("reference") / "reference.toml"
REFERENCE_EXAM = "reference"
"""What the exam is called that the command generates."""
REFERENCE_TOLERANCE = 0.001
_OF_RESULTS = 10.0
"""In place of 1: results are percents, cm2, mm."""
_FEW = 64
"""Of a larger tensor so many values are kept, evenly spaced."""
_ODD_ONES = 0.02
"""Of them so many may be others: where a threshold lies near, the last digit decides."""
Called = tuple[str, str]
"""What a value is of: unit and tensor, or what is about what."""
Value = TypeVar("Value")


class ReferenceFile(Section):
    """A file that the author names."""

    sha256: Sha256
    where: Ascii
    """Where to get it."""


_Number = Annotated[float, Field(allow_inf_nan=True)]
"""NaN where there is no number."""


class ReferenceTensor(Section):
    """What the network says of a unit at one of its outputs."""

    unit: str
    tensor: str
    shape: tuple[int, ...]
    mean: _Number
    values: tuple[_Number, ...]
    """All, or of many some, evenly spaced."""


class ReferenceResult(Section):
    """What the node makes of it: a number or a word."""

    about: str
    what: str
    value: float | str


class ReferenceCase(Section):
    """Images that are analysed together, and the answers."""

    exam: str = ""
    """The name of a generated exam."""
    rows: Annotated[int, Field(ge=64, le=8192)] = 1328
    columns: Annotated[int, Field(ge=64, le=8192)] = 1024
    spacing_mm: Annotated[float, Field(gt=0, le=2)] = 0.18
    files: tuple[ReferenceFile, ...] = ()
    answers: tuple[ReferenceTensor, ...]
    results: tuple[ReferenceResult, ...]

    @property
    def technique(self) -> phantom.Technique:
        """How the generated exam is taken."""
        return phantom.Technique(self.rows, self.columns, self.spacing_mm)

    @model_validator(mode="after")
    def _has_one_input(self) -> Self:
        if bool(self.exam) == bool(self.files):
            raise wrong([(("exam",), "expected either exam, a name, or files")])
        return self


class ReferenceAnswers(Section):
    """The whole file."""

    weights: Sha256
    """Of the network that gave these answers."""
    version: Version | None = None
    """Of the package then; None if it was not written down, as by former nodes."""
    device_uid: Uid | None = None
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = REFERENCE_TOLERANCE
    """By so much a number may differ: of 1, or of itself where it is larger."""
    cases: Annotated[tuple[ReferenceCase, ...], Field(min_length=1)]


# Compare


def compare_reference(model: Model, threads: int, files: Path | None = None) -> str:
    """Compare what is said now with what the package says; raise NodeError where that differs."""
    path, is_product = model.folder / REFERENCE, model.manifest.status == "product"
    if not path.is_file():
        if is_product:
            raise NodeError(f'{path}: missing, and status = "product" needs it; {_how(model)}')
        return f"there is none to compare with; {_how(model)}"
    reference = toml_file.load(path, ReferenceAnswers)
    advice = f"{_as_another(model, reference)}{_how(model)}"
    if reference.weights != model.manifest.weights.sha256:
        raise NodeError(f"{path} is of other weights than the manifest's; {advice}")
    known = _by_digest(files) if files else {}
    compared, missing, problems = 0, list[str](), list[str]()
    for case in reference.cases:
        if lacking := [one for one in case.files if one.sha256 not in known]:
            missing.append(f"{len(lacking)} of {len(case.files)} files of {lacking[0].where}")
            continue
        with _images(model, case, known) as paths:
            found = _said(model, threads, paths, case)
        problems += _differences(case, found, reference.tolerance)
        compared += 1
    if problems:
        more = f", and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise NodeError(f"{path}: {'; '.join(problems[:3])}{more}; if it is right now, {advice}")
    if is_product and not compared:
        raise NodeError(
            f'{path}: nothing could be compared, and status = "product" needs it: give with '
            f"--files {', '.join(missing)}"
        )
    left = (
        f"; could not be compared, give them with --files: {', '.join(missing)}" if missing else ""
    )
    result = f"{compared} compared, and the same" if compared else "none compared"
    return f"of {len(reference.cases)} in {REFERENCE} {result}{left}"


def _as_another(model: Model, reference: ReferenceAnswers) -> str:
    """Say what a package that answers differently lacks to be told from the one before."""
    manifest = model.manifest
    kept = {
        "version": reference.version in (None, manifest.version),
        "device_uid": reference.device_uid in (None, manifest.device_uid),
    }
    if words := " and ".join(f"a new {word}" for word, is_kept in kept.items() if is_kept):
        return f"give it {words} first (docs/models.md, section 7), then "
    return ""


def _how(model: Model) -> str:
    return f"`ai-node models reference {model.folder}` writes it"


def _by_digest(files: Path) -> dict[str, Path]:
    return {_digest(path): path for path in exams.files_in(files)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _images(model: Model, case: ReferenceCase, known: Mapping[str, Path]) -> Iterator[list[Path]]:
    if case.files:
        yield [known[one.sha256] for one in case.files]
        return
    exam = exams.generated_exam(model, case.exam, case.technique)
    with exams.generated_files(model, [exam]) as (paths,):
        yield paths


def _said(
    model: Model, threads: int, paths: Sequence[Path], recipe: ReferenceCase
) -> ReferenceCase:
    """Return the case with what is said of its images now."""
    session = OnnxSession(model, threads)
    answers = []
    for unit in exams.prepared_units(model, paths)[0]:
        given = session.run(exams.tensors_of(model, session, unit.by_role))
        answers += [_kept(unit.name, name, _sure(model, name, v)) for name, v in given.items()]
    with tempfile.TemporaryDirectory(prefix="ai-node-reference-") as folder:
        studies = analyse_folder(paths, Path(folder), model, lambda: None).studies
    results = [line for study in studies if study.result for line in _results(study.result)]
    return recipe.model_copy(update={"answers": tuple(answers), "results": tuple(results)})


def _sure(model: Model, name: str, values: Tensor) -> Tensor:
    """Return what counts of an answer: where a box is that is no finding may be the device's."""
    for output in model.manifest.outputs:
        if isinstance(output, BoxesOutput) and output.tensor == name:
            is_none = activated(values[..., 4], output.activation) < output.threshold
            values = values.copy()
            values[is_none] = np.where(np.arange(values.shape[-1]) == 4, values[is_none], 0)
    return values


def _kept(unit: str, name: str, values: Tensor) -> ReferenceTensor:
    flat = values.reshape(-1).astype(np.float64)
    if len(flat) > _FEW:
        flat = flat[np.linspace(0, len(flat) - 1, _FEW).astype(int)]
    return ReferenceTensor(
        unit=unit,
        tensor=name,
        shape=values.shape,
        mean=_short(values.mean(dtype=np.float64)),
        values=tuple(map(_short, flat)),
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def _results(result: Result) -> Iterator[ReferenceResult]:
    subjects: list[Finding | Evaluation] = [*result.findings, *result.evaluations]
    for about in subjects:
        for number in about.measurements:
            yield ReferenceResult(
                about=about.label, what=number.concept.meaning, value=_short(number.value)
            )
    for evaluation in result.evaluations:
        if evaluation.grade:
            grade = evaluation.grade
            yield ReferenceResult(
                about=evaluation.label, what=grade.concept.meaning, value=grade.value.value
            )
    for refusal in result.refused:
        yield ReferenceResult(about=refusal.what, what="not analysed", value=refusal.reason)
    if result.triage:
        yield ReferenceResult(about="exam", what="level", value=str(result.triage.level))


def _differences(wanted: ReferenceCase, found: ReferenceCase, tolerance: float) -> Iterator[str]:
    yield from _differing_tensors(wanted, found, tolerance)
    before = [((one.about, one.what), one.value) for one in wanted.results]
    now = [((one.about, one.what), one.value) for one in found.results]
    for key, old, new in _paired(before, now):
        if isinstance(old, float) and isinstance(new, float):
            if abs(old - new) <= tolerance * max(_OF_RESULTS, abs(old)):
                continue
        elif old == new:
            continue
        yield f"{' '.join(key)} was {_or_nothing(old)} and is {_or_nothing(new)}"


def _paired(
    before: Sequence[tuple[Called, Value]], now: Sequence[tuple[Called, Value]]
) -> Iterator[tuple[Called, Value | None, Value | None]]:
    """Yield what is called the same, the first with the first: a view may be there twice."""
    for key in dict.fromkeys(name for name, _ in (*before, *now)):
        of_key = ([value for name, value in each if name == key] for each in (before, now))
        for old, new in zip_longest(*of_key):
            yield key, old, new


def _or_nothing(value: float | str | None) -> str:
    return "not there" if value is None else str(value)


def _differing_tensors(
    wanted: ReferenceCase, found: ReferenceCase, tolerance: float
) -> Iterator[str]:
    before, now = (
        [((one.unit, one.tensor), one) for one in case.answers] for case in (wanted, found)
    )
    for (unit, tensor), old, new in _paired(before, now):
        where = f"{tensor!r} of {unit}"
        if new is None:
            yield f"{where} is not there any more"
        elif old is None:
            yield f"{where} was not there"
        elif new.shape != old.shape:
            yield f"{where} was of shape {old.shape} and is of {new.shape}"
        elif words := _difference(old, new, tolerance):
            yield f"{where} {words}"


def _difference(old: ReferenceTensor, new: ReferenceTensor, tolerance: float) -> str:
    before, after = (np.array([one.mean, *one.values]) for one in (old, new))
    if len(before) != len(after):
        return f"has {len(before) - 1} values in the file, expected {len(after) - 1}"
    apart = differences(before, after)
    allowed = tolerance * np.maximum(1.0, np.nan_to_num(np.abs(before)))
    odd = int(np.count_nonzero(apart[1:] > allowed[1:]))
    may_be = int(_ODD_ONES * len(old.values)) if np.prod(old.shape) > _FEW else 0
    if apart[0] <= allowed[0] and odd <= may_be:
        return ""
    worst = int(np.argmax(apart - allowed))
    what = f"value {worst - 1} of the {len(old.values)} kept" if worst else "mean"
    return f"is another: {what} is {after[worst]:.6g}, expected {before[worst]:.6g}"


# Write


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, for whoever asked for it."""

    path: Path
    words: str


def write_reference(
    model: Model, threads: int, files: Path | None = None, where: str = ""
) -> Written:
    """Write what is said of a generated exam, or of the studies among given files."""
    cases = [_said(model, threads, paths, case) for case, paths in _recipes(model, files, where)]
    failed = [one for case in cases for one in case.results if _is_failure(one)]
    if failed:
        raise NodeError(f"{failed[0].about}: {failed[0].value}; `ai-node models check` says more")
    if not any(case.answers for case in cases):
        reasons = {
            one.value for case in cases for one in case.results if one.what == "not analysed"
        }
        words = f" ({', '.join(sorted(map(str, reasons)))})" if reasons else ""
        raise NodeError(f"the network reads none of the images{words}; {exams.GIVE_FILES}")
    path = model.folder / REFERENCE
    path.parent.mkdir(exist_ok=True)
    path.write_text(_as_toml(model, cases), "utf-8")
    units = sum(len({one.unit for one in case.answers}) for case in cases)
    return Written(path, f"studies: {len(cases)}, inputs of the network: {units}")


def _is_failure(one: ReferenceResult) -> bool:
    return isinstance(one.value, str) and one.value.startswith(MODEL_FAILED)


def _recipes(
    model: Model, files: Path | None, where: str
) -> Iterator[tuple[ReferenceCase, list[Path]]]:
    if files is None:
        case = ReferenceCase(exam=REFERENCE_EXAM, answers=(), results=())
        with _images(model, case, {}) as paths:
            yield case, paths
        return
    if not where:
        raise ConfigError("--from is missing: where does who has the package get these files?")
    for paths in _studies(exams.dicom_among(exams.files_in(files))):
        named = tuple(ReferenceFile(sha256=_digest(path), where=where) for path in paths)
        yield ReferenceCase(files=named, answers=(), results=()), paths


def _studies(paths: Sequence[Path]) -> list[list[Path]]:
    studies: dict[str, list[Path]] = {}
    for path in paths:
        try:
            study_uid = str(read_header(path).StudyInstanceUID)
        except Unreadable as error:
            raise NodeError(f"{path}: {error}") from error
        studies.setdefault(study_uid, []).append(path)
    return list(studies.values())


def _as_toml(model: Model, cases: Sequence[ReferenceCase]) -> str:
    lines = [
        f"# What {model.manifest.name} {model.manifest.version} says of these images; written by",
        "# `ai-node models reference`, compared by `ai-node models check`.",
        f"weights = {toml_file.quoted(model.manifest.weights.sha256)}",
        f"version = {toml_file.quoted(model.manifest.version)}",
        f"device_uid = {toml_file.quoted(model.manifest.device_uid)}",
        f"tolerance = {REFERENCE_TOLERANCE}",
    ]
    for case in cases:
        lines += ["", "[[cases]]"]
        if case.exam:
            lines.append(f"exam = {toml_file.quoted(case.exam)}")
            if not model.manifest.unit.is_of_volumes:  # whose exam has one size
                lines += [f"rows = {case.rows}", f"columns = {case.columns}"]
                lines.append(f"spacing_mm = {case.spacing_mm}")
        else:
            files = "".join(f"  {_inline(one)},\n" for one in case.files)
            lines += [f"files = [\n{files}]"]
        for name, rows in (("results", case.results), ("answers", case.answers)):
            lines += [f"{name} = [", *(f"  {_inline(row)}," for row in rows), "]"]
    return "\n".join(lines) + "\n"


def _inline(section: Section) -> str:
    words = section.model_dump(mode="json")
    pairs = (f"{key} = {toml_file.quoted(value)}" for key, value in words.items())
    return f"{{ {', '.join(pairs)} }}"
