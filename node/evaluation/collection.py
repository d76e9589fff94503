"""Rows of a table -> exams: which images a ward would have had together, and what each is.

A DICOM object is used as it is, and must say nothing else than its row; an exam is a DICOM study.
Of breast MRI a row is a whole study, in a folder.
An image file needs a row that says what it shows; an exam is a patient. The column `exam` overrules
both.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path

import numpy as np

from node.dicom.header import read_header
from node.dicom.part10 import is_part10
from node.domains.description import describe
from node.errors import Unreadable
from node.evaluation.as_dicom import TAKEN_AT, Picturing, as_dicom, require_grey
from node.evaluation.labels import LabelRow, LabelTable, refuse
from node.evaluation.study_folders import StudyFolder, study_in
from node.identity import disagreement, identity_of, is_own
from node.manifest import Input, Manifest
from node.store import dataset_digest
from node.study import Instance, Laterality, StudyVersion, View


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A row, and what its file says."""

    row: LabelRow
    study_uid: str = ""
    """"" for image files, which have none."""
    sop_uid: str = ""
    identity: str = ""
    side: Laterality | None = None
    projection: str = ""
    study: StudyFolder | None = None
    """Of a row that is of a whole study."""

    @property
    def is_dicom(self) -> bool:
        """Whether it is used as it is."""
        return bool(self.study_uid)

    @property
    def exam(self) -> str:
        """What tells exams of one patient apart."""
        return self.row.exam or self.study_uid

    @property
    def identities(self) -> frozenset[str]:
        """Whose its objects say they are."""
        return frozenset({self.identity}) if self.study is None else self.study.identities


@dataclass(frozen=True, slots=True)
class LabelledExam:
    """Images that a model is given together."""

    number: int
    """From 1, in the order of the table."""
    patient: str
    name: str
    images: tuple[LabelledImage, ...]
    why_held: str = ""
    """Why a node would analyse nothing of it."""


def collect(
    table: LabelTable, manifest: Manifest, on_read: Callable[[], None]
) -> list[LabelledExam]:
    """Sort the rows into exams, or raise ConfigError with all that contradicts itself."""
    images, problems = list[LabelledImage](), list[str]()
    for row in table.rows:
        try:
            image = _looked_at(row, of_studies=manifest.domain == "breast_mr")
        except Unreadable as error:
            problems.append(table.problem(row, f"{row.path}: {error}"))
        else:
            images.append(image)
            problems += [table.problem(row, p) for p in _contradictions(image, manifest)]
        on_read()
    problems += [table.problem(row, words) for row, words in _twice(images)]
    problems += [table.problem(row, words) for row, words in _of_two_patients(images)]
    refuse(problems)
    sorted_images = defaultdict[tuple[str, str], list[LabelledImage]](list)
    for image in images:
        sorted_images[image.row.patient, image.exam].append(image)
    return [
        LabelledExam(number, patient, name, tuple(of_exam), _why_held(of_exam))
        for number, ((patient, name), of_exam) in enumerate(sorted_images.items(), start=1)
    ]


def _looked_at(row: LabelRow, *, of_studies: bool) -> LabelledImage:
    if of_studies != row.path.is_dir():
        is_what = "is no folder" if of_studies else "is a folder"
        of_what = "the folder of a study" if of_studies else "an image"
        raise Unreadable(f"{is_what}, expected {of_what}: a line for each of these")
    try:
        if of_studies:
            study = study_in(row.path)
            return LabelledImage(row, study.study_uid, study.sop_uid, study=study)
        if not is_part10(row.path):
            require_grey(row.path)
            return LabelledImage(row, side=row.side, projection=row.projection)
        header = read_header(row.path)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error
    if is_own(header):
        raise Unreadable("is a result of an AI node, not an image")
    found = describe(header, row.path, "")
    side, projection = row.side, row.projection
    if found.view is not None:
        side, projection = found.view.laterality, found.view.projection
    return LabelledImage(row, found.study_uid, found.sop_uid, identity_of(header), side, projection)


def _contradictions(image: LabelledImage, manifest: Manifest) -> Iterator[str]:
    row = image.row
    if row.side not in (None, image.side):
        yield f"side: the table says {row.side}, the object {image.side}: {row.path}"
    if row.projection not in ("", image.projection):
        said = f"the table says {row.projection}, the object {image.projection}"
        yield f"view: {said}: {row.path}"
    if not image.is_dicom and manifest.domain == "mammography":
        for name, value in (("side", row.side), ("view", row.projection)):
            if not value:
                yield f"{name}: missing; {row.path.name} is no DICOM object, which would say it"


def _twice(images: Sequence[LabelledImage]) -> Iterator[tuple[LabelRow, str]]:
    """Yield images that are there under two names."""
    first = dict[str, LabelRow]()
    sizes = defaultdict[int, list[LabelledImage]](list)
    for image in images:
        if image.is_dicom:
            known = first.setdefault(image.sop_uid, image.row)
            if known is not image.row:
                yield image.row, f"the same SOP Instance UID as in line {known.line}"
        else:
            sizes[image.row.path.stat().st_size].append(image)
    for alike in sizes.values():
        for image in alike if len(alike) > 1 else ():
            digest = hashlib.sha256(image.row.path.read_bytes()).hexdigest()
            known = first.setdefault(digest, image.row)
            if known is not image.row:
                yield image.row, f"the same image as in line {known.line}"


def _of_two_patients(images: Sequence[LabelledImage]) -> Iterator[tuple[LabelRow, str]]:
    """Yield images of a DICOM study that the table gives to two patients."""
    first = dict[str, LabelRow]()
    for image in images:
        known = first.setdefault(image.study_uid, image.row) if image.is_dicom else image.row
        if known.patient != image.row.patient:
            yield image.row, f"patient: another than in line {known.line}, of the same DICOM study"


def _why_held(images: Sequence[LabelledImage]) -> str:
    """Return what a node would hold the study for."""
    studies = defaultdict[str, set[str]](set)
    for image in images:
        if image.is_dicom:
            studies[image.study_uid] |= image.identities
    return next(filter(None, map(disagreement, studies.values())), "")


@dataclass(frozen=True, slots=True)
class GivenExam:
    """An exam as the pipeline takes it."""

    version: StudyVersion | None
    """None if none of its images can be taken."""
    sop_uids: Mapping[int, str]
    """By the line of the table; of a study that of one of its objects."""
    refused: Mapping[int, str]
    """Why an image cannot be taken, by the line of the table."""
    highest_of_16_bits: int | None = None
    """The highest value of the image files that use, as far as anybody said, all 16 bits."""
    studies: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """The SOP Instance UIDs of each row that is of a study, by the line of the table."""


def given(exam: LabelledExam, wanted: Input, folder: Path) -> GivenExam:
    """Return an exam as the pipeline takes it; image files become objects in a folder."""
    instances, sop_uids, refused = list[Instance](), dict[int, str](), dict[int, str]()
    highest, damaged, studies = list[int](), 0, dict[int, tuple[str, ...]]()
    for image in exam.images:
        line = image.row.line
        path = image.row.path
        try:
            if image.study is not None:
                of_study = _instances(image.study)
                instances += of_study.values()
                damaged += image.study.damaged
                sop_uids[line], studies[line] = image.sop_uid, tuple(of_study)
                continue
            if not image.is_dicom:
                path = folder / f"{line}.dcm"
                highest += _saved(image, wanted, path)
            instance = _instance(path)
        except Unreadable as error:
            refused[line] = str(error)
            damaged += 1
            continue
        if instance.sop_uid in sop_uids.values():
            refused[line] = "the same pixels as another image of the exam"
            continue
        instances.append(instance)
        sop_uids[line] = instance.sop_uid
    version = None
    if instances:
        version = StudyVersion(
            study_uid=instances[0].study_uid,
            number=1,
            reason="of a table of labelled images",
            instances=tuple(instances),
            decided_at=TAKEN_AT.replace(tzinfo=UTC),
            installation="evaluation",
            damaged=damaged,
        )
    return GivenExam(version, sop_uids, refused, max(highest, default=None), studies)


def _instances(study: StudyFolder) -> dict[str, Instance]:
    """Return the objects of a study by SOP Instance UID; one that is there twice counts once."""
    found = dict[str, Instance]()
    for path in study.paths:
        instance = _instance(path)
        found.setdefault(instance.sop_uid, instance)
    return found


def _saved(image: LabelledImage, wanted: Input, target: Path) -> list[int]:
    """Write an image file as an object; return its highest value, if it uses all of 16 bits."""
    try:
        dataset = as_dicom(image.row.path, _picturing(image), wanted)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error
    dataset.save_as(target, enforce_file_format=True)
    if dataset.BitsStored != 16:
        return []
    return [int(np.frombuffer(dataset.PixelData, "<u2").max())]


def _instance(path: Path) -> Instance:
    try:
        header = read_header(path)
        return replace(describe(header, path, dataset_digest(path)), identity=identity_of(header))
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error


def _picturing(image: LabelledImage) -> Picturing:
    row = image.row
    view = View(row.side, row.projection) if row.side and row.projection else None
    return Picturing(
        row.patient,
        image.exam,
        view,
        bits=row.bits,
        spacing_mm=row.spacing_mm,
        chest_wall=row.chest_wall,
        is_inverted=row.is_inverted,
    )
