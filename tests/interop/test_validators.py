"""Every kind of object before the validators: dcmtk, dicom3tools and PixelMed.

A finding fails the test unless it is in ALLOWED, where each entry has its reason. A validator
that is not installed fails too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import factories
import pytest
from outputs.drafts import as_version_2, draft, graded, with_bytes, with_result
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage

from node import phantom
from node.outputs.draft import Draft, Predecessor
from node.outputs.table import build_report_set, to_bytes

pytestmark = pytest.mark.interop

PIXELMED = Path("/usr/share/java/pixelmed.jar")
JAVA = (
    "-Djdk.xml.xpathTotalOpLimit=0",  # the compiled templates are beyond Java's limits
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djava.awt.headless=true",
    "-cp",
    str(PIXELMED),
    "com.pixelmed.validate.DicomSRValidator",
    "-checktemplateid",
    "-checkcontentitemorder",
)
ALLOWED = (
    # The attribute is younger than dicom3tools of 2022; IHE AIR asks for it.
    r"ContributingEquipmentSequence.*DeviceUID.*not present in standard DICOM IOD",
    # Our own scheme, declared in Coding Scheme Identification Sequence (0008,0110).
    r"Unrecognized defined term = <99AINODE>",
    # What a study lacks is not made up, even if an index of a disc would want it.
    r"(PatientID|StudyID).*needed to build DICOMDIR",
    # CID 100 is a baseline group (others may be used) and has no mammography in it.
    r'\(121058,DCM,"Procedure reported"\).*not found in context group 100',
    # PixelMed of 2022 has no list for CID 7465, says so, and then knows no row of TID 1420.
    r"Internal Error: $",
    r"^\s+Template 1420 MeasurementsDerivedFromMultipleROIMeasurements/\[Row 1\] NUM CID 7465$",
    r"^\s+(: Concept Name CID is empty or missing - |7465)$",
    r'\(126011,DCM,"Derived Imaging Measurements"\)/NUM .*: Content Item not in template',
    # Also an attribute of the requests (0040,0275) of a series: dcentvfy knows one place only.
    r"Different information entities for attribute.*AccessionNumber",
)
PIXELMED_SAYS = r"Found |Root Template Validation Complete|IOD validation complete|\s*$"

EXAM = draft()
LATER = as_version_2(EXAM)
LATER = replace(
    LATER,
    version=replace(LATER.version, decided_at=LATER.version.decided_at + timedelta(days=1)),
    predecessors={
        ("breast-area", ComprehensiveSRStorage): Predecessor(
            "2.25.111", ComprehensiveSRStorage, "2.25.112"
        ),
    },
)
PARTLY = draft(refuse={factories.R_MLO: "the view is magnified"})
NOTHING = draft(refuse=dict.fromkeys(phantom.EXAM, "the images are For Processing"))


def requested() -> Draft:
    """Return an exam with a request, issuers and a zone, as from a well-run hospital."""

    def describe(dataset: Dataset) -> None:
        request = Dataset()
        request.RequestedProcedureID = "RP1"
        request.RequestedProcedureDescription = "Screening"
        dataset.RequestAttributesSequence = [request]
        issuer = Dataset()
        issuer.LocalNamespaceEntityID = "HOSPITAL"
        dataset.IssuerOfAccessionNumberSequence = [issuer]
        dataset.IssuerOfPatientID = "HIS"
        dataset.TimezoneOffsetFromUTC = "+0100"

    return draft(change=describe)


def bare() -> Draft:
    """Return an exam of nobody, without the attributes that may be missing."""

    def strip(dataset: Dataset) -> None:
        for keyword in ("PatientName", "PatientID", "StudyID", "AccessionNumber"):
            if keyword in dataset:
                delattr(dataset, keyword)

    return draft([factories.L_CC], change=strip)


CASES = {
    "four views": EXAM,
    "version 2, partly": as_version_2(PARTLY),
    "version 2, a day later": LATER,
    "not analysed": NOTHING,
    "nothing found": with_result(EXAM, findings=(), evaluations=()),
    "numbers without a place": graded(EXAM),
    "requested": requested(),
    "bare": bare(),
    "Latin-1": with_bytes(
        draft([factories.R_CC]),
        SpecificCharacterSet=b"ISO_IR 100",
        PatientName="Müller^Jürgen".encode("latin-1"),
    ),
    "Korean": with_bytes(
        draft([factories.R_CC]),
        SpecificCharacterSet=b"\\ISO 2022 IR 149",
        PatientName=b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
    ),
}
PRINTABLE = tuple(case for case in CASES if case != "Korean")
"""Cases for dsr2html, which knows no character set with code extensions."""
TEMPLATES = ("version 2, partly", "not analysed", "numbers without a place")
"""Cases for PixelMed, which takes a quarter of a minute each."""


def run(*command: str | Path) -> list[str]:
    """Run a validator and return its lines; most say nothing by their exit status."""
    path = shutil.which(command[0], path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        packages = "dcmtk dicom3tools libpixelmed-java default-jre-headless"
        pytest.fail(f"{command[0]} is not installed: apt-get install {packages}", pytrace=False)
    arguments = [path, *map(str, command[1:])]
    ran = subprocess.run(arguments, capture_output=True, check=False, timeout=120)
    return (ran.stdout + ran.stderr).decode("utf-8", "replace").splitlines()


def unexpected(lines: list[str]) -> list[str]:
    return [line for line in lines if not any(re.search(known, line) for known in ALLOWED)]


def saved(made: Draft, folder: Path) -> Iterator[tuple[Path, Dataset]]:
    for number, dataset in enumerate(build_report_set(made)):
        path = folder / f"{number}-{dataset.Modality}.dcm"
        path.write_bytes(to_bytes(dataset))
        yield path, dataset


@pytest.mark.parametrize("case", CASES)
def test_dicom3tools_finds_nothing(case: str, tmp_path: Path) -> None:
    for path, _ in saved(CASES[case], tmp_path):
        lines = run("dciodvfy", "-new", path)
        assert lines, "dciodvfy names the object it checks"
        assert not unexpected([line for line in lines if re.match("Error|Warning", line)])


def test_the_versions_of_a_study_agree_about_patient_study_and_series(tmp_path: Path) -> None:
    paths = phantom.save(phantom.exam("test", technique=factories.SMALL), tmp_path / "exam")
    for name, made in (("first", PARTLY), ("second", LATER)):
        (tmp_path / name).mkdir()
        paths += [path for path, _ in saved(made, tmp_path / name)]
    assert not unexpected(run("dcentvfy", *paths))


@pytest.mark.parametrize("case", PRINTABLE)
def test_dcmtk_reads_and_prints_the_report(case: str, tmp_path: Path) -> None:
    report, _ = next(saved(CASES[case], tmp_path))
    dumped = run("dsrdump", "-v", report)
    assert any("AI generated" in line for line in dumped)
    page = tmp_path / "report.html"
    printed = run("dsr2html", report, page)
    assert not unexpected([line for line in dumped + printed if re.match("[EWF]: ", line)])
    assert "Not verified by a physician" in page.read_text("utf-8", "replace")


@pytest.mark.parametrize("case", TEMPLATES)
def test_pixelmed_finds_the_templates_kept(case: str, tmp_path: Path) -> None:
    if not PIXELMED.exists():
        pytest.fail("PixelMed is not installed: apt-get install libpixelmed-java", pytrace=False)
    report, _ = next(saved(CASES[case], tmp_path))
    lines = run("java", *JAVA, report)
    assert "IOD validation complete" in lines
    assert any(line.startswith("Found Root Template") for line in lines)
    assert not unexpected([line for line in lines if not re.match(PIXELMED_SAYS, line)])
