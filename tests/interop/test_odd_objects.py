"""One odd object, the second of an exam's four, sent by dcmtk's storescu and by a stock Orthanc.

The table in docs/odd-objects.md is what these tests find: with ODD_OBJECTS=docs/odd-objects.md in
the environment (and in one process) they write it.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import factories
import odd_words
import pytest
from ports import free_port
from pydicom import dcmread

from node.trial import phantom

from .conftest import running
from .programs import (
    MODALITY_AE,
    Node,
    Orthanc,
    StoreScp,
    dcmtk,
    peer,
    settings,
    wait_for,
)
from .tables import DocumentTable

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("odd objects"),
]

DOCUMENT = Path(__file__).parents[2] / "docs" / "odd-objects.md"
DOCUMENT_TO_WRITE = os.environ.get("ODD_OBJECTS")
HEAD = (
    *("what is odd", "the sender is told", "the node says", "images analysed"),
    *("dcmdump", "Orthanc"),
)

Change = Callable[[bytes], bytes]
"""Makes a Part 10 file odd."""


def untouched(content: bytes) -> bytes:
    """Nothing: the exam as it is."""
    return content


@dataclass(frozen=True, slots=True)
class Odd:
    """A kind of odd object, and what must become of it whatever the document says."""

    change: Change
    says: str = ""
    """What the node must say of it, a pattern."""
    analysed: int = 4
    """How many of the four images are analysed."""
    is_refused: bool = False
    """Whether the sender is told that it cannot be understood (0xC000)."""

    @property
    def name(self) -> str:
        return self.change.__name__

    @property
    def title(self) -> str:
        return str(self.change.__doc__).strip()


KINDS = (
    Odd(untouched),
    Odd(odd_words.laterality_in_words),
    Odd(odd_words.unknown_laterality, "unknown laterality U", 3),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """An exam on its way, and what its sender was told."""

    study: str
    odd_uid: str
    told: str
    is_taken: bool = True
    """Whether the sender itself, or the program beside, takes the odd object."""


@dataclass(frozen=True, slots=True)
class Hospital:
    """A node that takes from a modality and an Orthanc, and gives to an archive."""

    node: Node
    orthanc: Orthanc
    folder: Path

    def exam(self, kind: Odd, sender: str) -> list[Path]:
        """Make an exam, its second object odd."""
        name = f"{kind.name} {sender}"
        made = factories.saved_exam(self.folder / name / "made", name)
        files = [self.folder / name / path.name for path in made]
        for path, file in zip(made, files, strict=True):
            dcmtk("dcmconv", path, file)
        files[1].write_bytes(kind.change(files[1].read_bytes()))
        return files

    def sent_by_storescu(self, kind: Odd) -> Sent:
        """Send an exam as a modality does that stops at the first failure."""
        files = self.exam(kind, "storescu")
        output = self.node.send(*files, ok=not kind.is_refused)
        answers = re.findall(r"Received Store Response \((.*)\)", output)
        told = answers[1] if len(answers) > 1 else "nothing"
        return Sent(_study(files), _odd_uid(kind, "storescu"), f"{told}{_stop(len(answers))}")

    def sent_by_orthanc(self, kind: Odd) -> Sent:
        """Send an exam from Orthanc's page."""
        files = self.exam(kind, "orthanc")
        try:
            ids = [self.orthanc.ask("/instances", file.read_bytes())["ID"] for file in files]
        except urllib.error.HTTPError as error:
            return Sent(_study(files), "", f"not taken ({error.code})", is_taken=False)
        order = json.dumps({"Resources": ids, "Permissive": False}).encode()
        try:
            self.orthanc.call("/modalities/ainode/store", order)
            told = "Success"
        except urllib.error.HTTPError as error:
            said = json.loads(error.read())
            status = re.search(r"0x[0-9a-fA-F]{4}|C[0-9A-F]{3}H", str(said.get("Details", "")))
            told = status.group() if status else str(said.get("Details") or said["Message"])
        return Sent(_study(files), _odd_uid(kind, "orthanc"), told)


def _study(files: list[Path]) -> str:
    return str(dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def _odd_uid(kind: Odd, sender: str) -> str:
    return str(factories.exam(f"{kind.name} {sender}")[1].SOPInstanceUID)


def _stop(answers: int) -> str:
    return "" if answers == len(phantom.EXAM) else f"; it stops after {answers}"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder, port = tmp_path_factory.mktemp("hospital"), free_port()
    with running() as start:
        archive = StoreScp(folder / "pacs", "PACS")
        orthanc = Orthanc(folder / "orthanc", port)
        modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
        other = peer("orthanc", orthanc.ae_title, orthanc.port, sends=True, results_to=["pacs"])
        pacs = peer("pacs", archive.ae_title, archive.port)
        node = Node(folder / "node", port, settings(port, modality, other, pacs))
        for daemon in (archive, orthanc, node):
            start(daemon)
        yield Hospital(node, orthanc, folder)


@pytest.fixture(scope="module")
def by_storescu(hospital: Hospital) -> dict[str, Sent]:
    """Every kind's exam, all sent before anybody looks what became of them."""
    return {kind.name: hospital.sent_by_storescu(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def by_orthanc(hospital: Hospital) -> dict[str, Sent]:
    """The same from Orthanc."""
    return {kind.name: hospital.sent_by_orthanc(kind) for kind in KINDS}


FINAL = ("done", "held", "undelivered", "out of scope", "excluded")


def became(hospital: Hospital, sent: Sent) -> dict[str, Any]:
    """Return what `ai-node studies` says of an exam at the end."""

    def look() -> dict[str, Any] | None:
        study = hospital.node.studies().get(sent.study)
        return study if study and study["state"] in FINAL else None

    return wait_for(f"the end of {sent.study}", look)


def words_of(study: dict[str, Any], usual: frozenset[str]) -> list[str]:
    """Return what is said of a study, and not of the untouched exam."""
    said = [f"held: {study['error']}"] if study["state"] == "held" else [study["error"] or ""]
    said += [study["reason"]] if study["reason"] != "4/4 views" else []
    for model in study["models"]:
        result = model["result"] or {"reason": "", "refused": [], "statements": []}
        said.append(result["reason"])
        said += [f"{refusal['what']}: {refusal['reason']}" for refusal in result["refused"]]
        said += [statement for statement in result["statements"] if statement not in usual]
    return [words for words in dict.fromkeys(said) if words]


def analysed(study: dict[str, Any]) -> list[str]:
    return [
        uid for model in study["models"] if model["result"] for uid in model["result"]["analysed"]
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_one_odd_object_never_costs_its_neighbours(
    kind: Odd,
    hospital: Hospital,
    by_storescu: dict[str, Sent],
    by_orthanc: dict[str, Sent],
    tmp_path: Path,
) -> None:
    plain = became(hospital, by_storescu["untouched"])
    usual = frozenset(s for model in plain["models"] for s in model["result"]["statements"])
    legs = [by_storescu[kind.name], by_orthanc[kind.name]]
    told, says, counts = [], [], []
    for sent in legs:
        told.append(sent.told)
        if not sent.is_taken:
            continue
        study = became(hospital, sent)
        said = words_of(study, usual)
        assert re.search(kind.says, "; ".join(said))
        if not kind.says:
            assert said == []
        says.append("<br>".join(said) or "-")
        counts.append(str(len(analysed(study))))
        assert len(set(analysed(study)) - {sent.odd_uid}) == min(kind.analysed, 3)
        assert len(analysed(study)) == kind.analysed
    assert kind.is_refused == ("Success" not in told[0])
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(kind.change(hospital.exam(kind, "storescu")[0].read_bytes()))
    cells = (
        kind.title,
        _once(told),
        _once(says),
        _once(counts),
        _dcmdump(odd),
        "takes it" if legs[1].is_taken else "does not take it",
    )
    row = tuple(cell.replace("|", "/") for cell in cells)
    if DOCUMENT_TO_WRITE:
        DocumentTable(Path(DOCUMENT_TO_WRITE), HEAD).write(row, ROWS)
    assert DocumentTable(DOCUMENT, HEAD).rows()[row[0]] == row


ROWS = [kind.title for kind in KINDS]


def test_the_document_has_a_row_for_every_kind_and_no_other() -> None:
    assert list(DocumentTable(DOCUMENT, HEAD).rows()) == ROWS


def _once(cells: list[str]) -> str:
    """Return what both senders found, or each by name."""
    if len(set(cells)) <= 1:
        return "".join(cells[:1])
    return "<br>".join(
        f"{who}: {cell}" for who, cell in zip(("storescu", "Orthanc"), cells, strict=False)
    )


def _dcmdump(path: Path) -> str:
    try:
        output = dcmtk("dcmdump", path)
    except AssertionError:
        return "does not read it"
    return "reads it with a warning" if re.search(r"^[WE]: ", output, re.M) else "reads it"
