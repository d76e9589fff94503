"""What a study waits for once all its views are there, with real senders: dcmtk's and Orthanc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from pydicom import dcmread
from pydicom.uid import UID

from .conftest import Started
from .programs import MODALITY_AE, Node, Orthanc, peer, settings, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Exam = Callable[[str], list[Path]]
RESULTS = 6
"""Of a four-view exam: the report, the summary and one marked image per view."""
QUIET_IS_NEVER = "settle_s = 3000\nquiet_s = 3600"


def between(
    tmp_path: Path, started: Started, waits: str, *, orthanc_sends: bool = False
) -> tuple[Orthanc, Node]:
    """Start a node between dcmtk's modality and an Orthanc that gets the results."""
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["orthanc"])
    archive = peer("orthanc", orthanc.ae_title, orthanc.port, sends=orthanc_sends)
    text = settings(port, modality, archive).replace("settle_s = 0.5", waits)
    node = Node(tmp_path / "node", port, text)
    started(orthanc)
    started(node)
    return orthanc, node


def delivered(node: Node, version: int = 1) -> dict[str, Any]:
    """Wait until the results of the only study are stored; return what the node says of it."""

    def look() -> dict[str, Any] | None:
        [study] = node.studies().values()
        return study if (study["version"], study["state"]) == (version, "done") else None

    return wait_for("the results to be delivered", look)


def test_a_sender_that_releases_its_association_is_waited_for_no_longer(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    orthanc, node = between(tmp_path, started, QUIET_IS_NEVER)
    node.send(*exam("released"))
    assert delivered(node)["reason"] == "4/4 views, association ended"
    assert len(orthanc.ask("/instances")) == RESULTS


def test_nor_is_one_that_opens_an_association_for_each_view_and_a_fifth_makes_a_second_version(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    orthanc, node = between(tmp_path, started, QUIET_IS_NEVER)
    paths = exam("one by one")
    for path in paths:
        node.send(path)
    assert delivered(node)["reason"] == "4/4 views, association ended"
    fifth = dcmread(paths[-1])
    uid = UID(f"{fifth.SOPInstanceUID}.5")
    fifth.SOPInstanceUID = fifth.file_meta.MediaStorageSOPInstanceUID = uid
    fifth.save_as(tmp_path / "fifth.dcm")
    node.send(tmp_path / "fifth.dcm")
    assert delivered(node, version=2)["reason"] == "4/4 views, association ended"
    objects = [
        orthanc.ask(f"/instances/{one}/simplified-tags") for one in orthanc.ask("/instances")
    ]
    reports = [one for one in objects if one["Modality"] == "SR"]
    replaced = [one for one in reports if "PredecessorDocumentsSequence" in one]
    assert len(reports) == 2
    assert len(replaced) == 1, "the second names the first as the one that it replaces"


def test_nor_is_orthanc_when_a_person_forwards_a_study(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    orthanc, node = between(tmp_path, started, QUIET_IS_NEVER, orthanc_sends=True)
    orthanc.forward(orthanc.upload(exam("forwarded")))
    assert delivered(node)["reason"] == "4/4 views, association ended"
