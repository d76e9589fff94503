"""The validators that other people wrote, and what each says of an object.

Each answers with the lines that are findings. Most say nothing by their exit status, so one that
did not look would pass: an answer without the sign that it looked is a finding, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag

from node.kinds import KINDS

from . import pixelmed

PACKAGES = "dcmtk dicom3tools libpixelmed-java default-jre-headless"
PYTHON_PACKAGES = "pip install dicom-validator jpype1"
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
REPORTS: tuple[str, ...] = (
    "measurement-report",
    "measurement-report-3d",
    "mammography-cad",
    "key-images",
)
"""Kinds that are a content tree."""

Validator = Callable[[Path], list[str]]


def run(*command: str | Path) -> tuple[int, list[str]]:
    """Run a command; return its exit status and what it says."""
    path = shutil.which(command[0], path=SEARCH_PATH)
    if path is None:
        pytest.fail(f"{command[0]} is not installed: apt-get install {PACKAGES}", pytrace=False)
    arguments = [path, *map(str, command[1:])]
    ran = subprocess.run(arguments, capture_output=True, check=False, timeout=120)
    return ran.returncode, (ran.stdout + ran.stderr).decode("utf-8", "replace").splitlines()


def _complaints(status: int, lines: Iterable[str]) -> list[str]:
    """Return what dcmtk calls a warning or an error, and that it gave up."""
    found = [line for line in lines if re.match("[WEF]: ", line)]
    return [*found, f"exit status {status}"] if status else found


def dciodvfy(path: Path) -> list[str]:
    """Check the attributes of an IOD, by dicom3tools; it does not check templates."""
    _, lines = run("dciodvfy", "-new", path)
    found = [line for line in lines if re.match("Error|Warning", line)]
    named = [line for line in lines if re.fullmatch(r"\w+", line)]
    return found if named else [*found, "dciodvfy does not name the object"]


def dcentvfy(paths: Iterable[Path]) -> list[str]:
    """Check that the objects of a study agree about patient, study, series and equipment."""
    _, lines = run("dcentvfy", *paths)
    return lines


def dsrdump(path: Path) -> list[str]:
    """Read and print a content tree, by dcmtk; it checks relationships and references in it."""
    status, lines = run("dsrdump", "-v", path)
    found = _complaints(status, lines)
    return found if any("AI generated" in line for line in lines) else [*found, "prints nothing"]


def dsr2html(path: Path) -> list[str]:
    """Print a content tree as a page, by dcmtk, as some viewers do."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        found = _complaints(*run("dsr2html", path, page))
        text = page.read_text("utf-8", "replace") if page.exists() else ""
    return found if "AI generated" in text else [*found, "prints nothing"]


def dcmpschk(path: Path) -> list[str]:
    """Check a presentation state, by dcmtk; it tells each finding in several lines."""
    status, lines = run("dcmpschk", path)
    said = [line.removeprefix("W: ").removeprefix("E: ").strip() for line in lines]
    found = [
        " ".join(block)
        for is_finding, block in groupby(said, lambda line: not _is_progress_of_dcmpschk(line))
        if is_finding
    ]
    return found if found or ("Test passed." in said and not status) else ["does not pass"]


def _is_progress_of_dcmpschk(line: str) -> bool:
    return line.startswith(("Testing: ", "Test passed", "Test failed")) or not line


def dicom_validator(path: Path) -> list[str]:
    """Check the attributes of an IOD by the tables of the standard (dicom-validator)."""
    try:  # not above: the default tests collect this file, and need no validator
        from dicom_validator.validator.error_handler import NullValidationResultHandler
        from dicom_validator.validator.iod_validator import IODValidator
        from dicom_validator.validator.validation_result import Status

        from .dicom_validator_cache import tables
    except ImportError as error:
        pytest.fail(f"{error.name} is not installed: {PYTHON_PACKAGES}", pytrace=False)
    checked = tables(tuple(kind.sop_class for kind in KINDS.values()))
    handler = NullValidationResultHandler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own of values that are wrong in the source
        result = IODValidator(dcmread(path), checked, error_handler=handler).validate()
    found = [
        f"{module}: {_named((*(tag.parents or ()), tag.tag))} {error.code.name}"
        for module, errors in result.module_errors.items()
        for tag, error in errors.items()
    ]
    if result.status not in (Status.Passed, Status.Failed):
        found.append(result.status.name)
    return found


def _named(tags: Iterable[int]) -> str:
    return "/".join(keyword_for_tag(tag) or str(tag) for tag in tags)


class PixelMed:
    """PixelMed's DicomSRValidator, which checks templates; started when first asked."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> list[str]:
        lines = self._ask(path).splitlines()
        found = [line for line in lines if line.strip() and not _is_progress(line)]
        if "IOD validation complete" not in lines:
            found.append("does not complete")
        if not any(line.startswith("Found Root Template") for line in lines):
            found.append("does not find the template")
        return found

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=60)  # it ends with its input

    def _ask(self, path: Path) -> str:
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            pytest.fail(
                f"PixelMed ended (status {process.wait()}), see what it says above; "
                f"it needs Java and jpype1: apt-get install {PACKAGES}; {PYTHON_PACKAGES}",
                pytrace=False,
            )
        return str(json.loads(answer))

    @staticmethod
    def _started() -> subprocess.Popen[str]:
        if not Path(pixelmed.JAR).exists():
            pytest.fail(f"PixelMed is not installed: apt-get install {PACKAGES}", pytrace=False)
        command = [sys.executable, pixelmed.__file__]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _is_progress(line: str) -> bool:
    return line.startswith(("Found ", "Root Template Validation Complete", "IOD validation"))


def validators_of(kind: str, pixelmed: PixelMed) -> Mapping[str, Validator]:
    """Return what knows this kind of object, by name."""
    every: dict[str, Validator] = {"dciodvfy": dciodvfy, "dicom-validator": dicom_validator}
    if kind in REPORTS:
        return every | {"dsrdump": dsrdump, "dsr2html": dsr2html, "PixelMed": pixelmed}
    if kind == "presentation-state":
        return every | {"dcmpschk": dcmpschk}
    return every
