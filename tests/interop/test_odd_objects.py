"""One odd object, the second of an exam's four, sent by dcmtk's storescu, by a stock Orthanc, and
by a sender that changes nothing.

The table in docs/odd-objects.md is what these tests find: with ODD_OBJECTS=docs/odd-objects.md in
the environment (and in one process) they write it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import factories
import odd_classes
import odd_conversion
import odd_structure as structure
import odd_words
import pytest
import small_models
from odd_imaging import ODD_IMAGING, magnification_by_distances_alone
from peers import association
from ports import free_port
from pydicom import dcmread
from pynetdicom import build_context
from pynetdicom.dimse_primitives import C_STORE

from .conftest import running
from .programs import (
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    Node,
    Orthanc,
    StoreScp,
    dcmtk,
    peer,
    program,
    settings,
    wait_for,
)
from .tables import DocumentTable

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("odd objects"),
]

DOCUMENT = Path(__file__).parents[2] / "docs" / "odd-objects.md"
DOCUMENT_TO_WRITE = os.environ.get("ODD_OBJECTS")
HEAD = ("what is odd", "the sender is told", "the node says", "images analysed", "dcmdump")

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
    """What the node must say of it, a pattern; "" if nothing."""
    analysed: int = 4
    """How many of the four images are analysed if all come."""
    is_damaged: bool = False
    """Whether the sender is told that it cannot be understood (0xC000)."""

    @property
    def name(self) -> str:
        return self.change.__name__

    @property
    def title(self) -> str:
        return str(self.change.__doc__).strip().removesuffix(".")


def said_twice(words: str) -> str:
    return f"{words} twice, with different values"


TOLD = {
    magnification_by_distances_alone: "Magnification taken from the distances of the source: L CC"
}
"""What is measured and told."""

KINDS = (
    Odd(untouched),
    *(Odd(damaged, "one object refused as damaged", 3, True) for damaged in structure.DAMAGED),
    *(Odd(readable) for readable in structure.READABLE),
    *(Odd(make, words, 3) for _, make, words in ODD_IMAGING if words),
    *(Odd(make) for _, make, words in ODD_IMAGING if not words and make not in TOLD),
    *(Odd(make, words) for make, words in TOLD.items()),
    Odd(structure.two_patient_ids, said_twice("held: one object states Patient ID"), 0),
    Odd(structure.two_names, said_twice("held: one object states Patient's Name"), 0),
    Odd(structure.two_birth_dates, said_twice("held: one object states Patient's Birth Date"), 0),
    Odd(structure.two_study_uids, said_twice("held: one object states Study Instance UID"), 0),
    Odd(structure.two_sop_uids, said_twice("held: one object states SOP Instance UID"), 0),
    Odd(structure.two_lateralities, said_twice("states Image Laterality"), 3),
    Odd(structure.two_view_codes, said_twice("states View Code Sequence"), 3),
    Odd(structure.two_codes_in_the_view, said_twice("states Code Value of View Code Sequence"), 3),
    Odd(structure.implant_and_none, said_twice("states Breast Implant Present"), 3),
    Odd(structure.two_windows, said_twice("states Window Center"), 3),
    Odd(
        structure.another_patient_id_behind_the_pixels,
        said_twice("held: one object states Patient ID"),
        0,
    ),
    Odd(
        structure.another_laterality_behind_the_pixels,
        said_twice("states Image Laterality"),
        3,
    ),
    Odd(
        structure.implant_behind_the_pixels,
        "states Breast Implant Present behind the pixel data",
        3,
    ),
    Odd(structure.patient_id_behind_the_pixels),
    Odd(structure.two_pixel_data, said_twice("states Pixel Data"), 3),
    Odd(structure.same_patient_id_twice),
    Odd(structure.two_station_names),
    Odd(structure.text_as_procedure_codes),
    Odd(structure.text_as_view_codes, "states View Code Sequence as something else than items", 3),
    Odd(structure.blanks_as_view_modifiers),
    Odd(odd_classes.hanging_protocol, "L CC missing", 3),
    Odd(odd_classes.private_class, "object of an unknown kind", 3),
    Odd(odd_classes.retired_class, "L CC: Standalone Overlay", 3),
    Odd(structure.another_syntax_inside),
    Odd(structure.meta_information_inside),
    Odd(structure.padded_pixels),
    Odd(structure.pixels_with_more, "pixel data is [0-9]+ bytes long, expected", 3),
    Odd(structure.trailing_padding),
    Odd(structure.zeros_behind_the_end),
    Odd(odd_conversion.name_in_latin_1_under_utf_8),
    Odd(odd_conversion.patient_id_in_latin_1_under_utf_8, "held: .*Patient ID", 0),
    Odd(odd_words.laterality_in_words),
    Odd(odd_words.unknown_laterality, "unknown laterality U", 3),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """An exam on its way, and what its sender was told of the second object."""

    study: str
    odd_uid: str
    told: str
    has_left: bool = True
    """Whether the odd object left: the sender took it, and sent it."""


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

    def sent(self, kind: Odd, sender: str) -> Sent:
        """Send an exam."""
        study, odd_uid = (
            str(factories.exam(f"{kind.name} {sender}")[1][keyword].value)
            for keyword in ("StudyInstanceUID", "SOPInstanceUID")
        )
        told, has_left = SENDERS[sender](self, self.exam(kind, sender))
        return Sent(study, odd_uid, told, has_left)

    def by_storescu(self, files: list[Path]) -> tuple[str, bool]:
        """Send as many modalities do: up to the first failure."""
        options = ["-v", "-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK, str(self.node.port)]
        ran = subprocess.run(
            [program("storescu"), *options, *map(str, files)],
            capture_output=True,
            check=False,
            timeout=120,
        )
        answers = re.findall(rb"Received Store Response \((.*)\)", ran.stdout + ran.stderr)
        if len(answers) < 2:
            return "does not send it; sends no more", False
        told = answers[1].decode()
        return f"{told}{'' if len(answers) == 4 else '; sends no more'}", True

    def by_orthanc(self, files: list[Path]) -> tuple[str, bool]:
        """Send from Orthanc's page, in the order of the files."""
        ids, is_taken = [], True
        for file in files:
            try:
                ids.append(self.orthanc.ask("/instances", file.read_bytes())["ID"])
            except urllib.error.HTTPError:
                assert file == files[1], "the neighbours are taken"
                is_taken = False
        order = json.dumps({"Resources": ids, "Permissive": False}).encode()
        try:
            self.orthanc.call("/modalities/ainode/store", order)
        except urllib.error.HTTPError as error:
            said = json.loads(error.read())
            return f"{said.get('Details') or said['Message']}; sends no more", True
        return ("Success" if is_taken else "does not take it"), is_taken

    def byte_for_byte(self, files: list[Path]) -> tuple[str, bool]:
        """Send the data sets as they lie in the files, whatever is answered."""
        answers = sent_as_they_lie(self.node.port, files)
        assert answers[:1] + answers[2:] == [0, 0, 0], "the neighbours are stored"
        return ("Success" if answers[1] == 0 else f"0x{answers[1]:04X}"), True


UNCHANGED = "as it lies"
SENDERS: dict[str, Callable[[Hospital, list[Path]], tuple[str, bool]]] = {
    "storescu": Hospital.by_storescu,
    "Orthanc": Hospital.by_orthanc,
    UNCHANGED: Hospital.byte_for_byte,
}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder, port = tmp_path_factory.mktemp("hospital"), free_port()
    with running() as start:
        archive = StoreScp(folder / "pacs", "PACS")
        orthanc = Orthanc(folder / "orthanc", port)
        modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
        other = peer("orthanc", orthanc.ae_title, orthanc.port, sends=True, results_to=["pacs"])
        # One kind of result: what became of the images is the same in all.
        pacs = peer("pacs", archive.ae_title, archive.port)
        pacs += '\noutputs = ["measurement-report"]'
        # Quick, and no more than a threshold above what a sigmoid makes of air.
        small = small_models.model(folder, small_models.BRIGHT.replace("0.1", "0.2"))
        (small.folder / "README.md").write_text("Of this test: it finds what is bright.\n")
        text = settings(port, modality, other, pacs, node=[f'models_dir = "{folder}"'])
        node = Node(folder / "node", port, text.replace('"breast-area"', '"small"'))
        for daemon in (archive, orthanc, node):
            start(daemon)
        yield Hospital(node, orthanc, folder)


@pytest.fixture(scope="module")
def sent(hospital: Hospital, request: pytest.FixtureRequest) -> dict[tuple[str, str], Sent]:
    """The exams of every kind that is tested, all sent before anybody looks what became of them."""
    tested = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = [one.callspec.params.get("kind") for one in tested if hasattr(one, "callspec")]
    return {
        (kind.name, sender): hospital.sent(kind, sender)
        for kind in KINDS
        if kind in wanted or kind is KINDS[0]
        for sender in SENDERS
    }


def sent_as_they_lie(port: int, files: list[Path]) -> list[int]:
    """Send data sets byte for byte, in the syntax of the file meta information; return statuses.

    What lies in a data set decides nothing, as it would if pynetdicom were asked to send the file.
    """
    contents = [file.read_bytes() for file in files]
    metas = [
        dcmread(BytesIO(content[: structure.data_set_at(content)])).file_meta
        for content in contents
    ]
    pairs = dict.fromkeys((m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m in metas)
    statuses = []
    with association(port, [build_context(*pair) for pair in pairs]) as opened:
        ids = {(c.abstract_syntax, *c.transfer_syntax): c for c in opened.accepted_contexts}
        for number, (file, content, meta) in enumerate(zip(files, contents, metas, strict=True)):
            request = C_STORE()
            request.MessageID, request.Priority = number + 1, 2
            request.AffectedSOPClassUID = meta.MediaStorageSOPClassUID
            request.AffectedSOPInstanceUID = meta.MediaStorageSOPInstanceUID
            request._dataset_path = (file, structure.data_set_at(content))
            context_id = ids[meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID].context_id
            assert context_id is not None
            opened._reactor_checkpoint.clear()
            opened.dimse.send_msg(request, context_id)
            _, answer = opened.dimse.get_msg(block=True)
            opened._reactor_checkpoint.set()
            assert isinstance(answer, C_STORE)
            assert answer.Status is not None
            statuses.append(answer.Status)
    return statuses


FINAL = ("done", "held", "undelivered", "out of scope", "excluded")


@pytest.fixture(scope="module")
def ends(hospital: Hospital, sent: dict[tuple[str, str], Sent]) -> dict[str, dict[str, Any]]:
    """What `ai-node studies` says of each exam at the end, by Study Instance UID."""
    studies = {exam.study for exam in sent.values()}

    def look() -> dict[str, dict[str, Any]] | None:
        told = hospital.node.studies()
        return (
            told if all(told.get(one, {"state": ""})["state"] in FINAL for one in studies) else None
        )

    return wait_for("the end of every exam", look, within_s=900)


def words_of(study: dict[str, Any], usual: frozenset[str]) -> list[str]:
    """Return what is said of a study, and not of the untouched exam."""
    said = [f"held: {study['error']}"] if study["state"] == "held" else [study["error"] or ""]
    said += [study["reason"]] if not study["reason"].startswith("4/4 views") else []
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
    sent: dict[tuple[str, str], Sent],
    ends: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    plain = ends[sent["untouched", "storescu"].study]
    usual = frozenset(s for model in plain["models"] for s in model["result"]["statements"])
    exams = {sender: sent[kind.name, sender] for sender in SENDERS}
    says, counts = {}, {}
    for sender, exam in exams.items():
        study = ends[exam.study]
        said, images = words_of(study, usual), analysed(study)
        counts[sender] = str(len(images))
        if exam.has_left:
            says[sender] = "<br>".join(said) or "-"
        if sender == UNCHANGED:
            assert re.search(kind.says, "; ".join(said)) if kind.says else said == []
            assert len(images) == kind.analysed
        if "sends no more" not in exam.told and study["state"] != "held":
            assert len(set(images) - {exam.odd_uid}) == 3, "the neighbours are analysed"
    assert exams[UNCHANGED].told == ("0xC000" if kind.is_damaged else "Success")
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(kind.change(hospital.exam(kind, "dcmdump")[0].read_bytes()))
    cells = (
        kind.title,
        _once({sender: exam.told for sender, exam in exams.items()}),
        _once(says),
        _once(counts),
        _dcmdump(odd),
    )
    row = tuple(cell.replace("|", "/") for cell in cells)
    if DOCUMENT_TO_WRITE:
        DocumentTable(Path(DOCUMENT_TO_WRITE), HEAD).write(row, ROWS)
    assert DocumentTable(DOCUMENT, HEAD).rows()[row[0]] == row


ROWS = [kind.title for kind in KINDS]


def test_the_document_has_a_row_for_every_kind_and_no_other() -> None:
    assert list(DocumentTable(DOCUMENT, HEAD).rows()) == ROWS


def _once(cells: dict[str, str]) -> str:
    """Return what all senders found, or each by name."""
    if len(set(cells.values())) <= 1:
        return "".join([*cells.values()][:1])
    return "<br>".join(f"{sender}: {cell}" for sender, cell in cells.items())


def _dcmdump(path: Path) -> str:
    try:
        output = dcmtk("dcmdump", path)
    except AssertionError:
        return "does not read it"
    return "reads it with a warning" if re.search(r"^[WE]: ", output, re.M) else "reads it"
