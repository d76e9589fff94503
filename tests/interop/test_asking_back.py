"""A late image of a study whose images were removed: an archive gives them back, or not all.

In the everyday run each archive is asked in one way; with `ARCHIVES=all` in both.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from ports import free_port
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from retained import retention_on

from node.config import load_config
from node.ledger import Ledger, schema
from node.store import Store

from .conftest import Started
from .programs import (
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    DcmQrScp,
    Node,
    Orthanc,
    dcmtk,
    objects_in,
    peer,
    settings,
    wait_for,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

Exam = Callable[[str], list[Path]]
Way = Literal["get", "move"]

_ALL = [(name, way) for name in ("orthanc", "dcmqrscp") for way in ("get", "move")]
_EVERYDAY = [("orthanc", "get"), ("dcmqrscp", "move")]
WAYS = _ALL if os.environ.get("ARCHIVES") == "all" else _EVERYDAY


class Site:
    """A modality that sends to a node, and an archive that has its images and gets the results."""

    def __init__(self, folder: Path, archive: str, way: Way, ask_back_within_s: float) -> None:
        port = free_port()
        made = Orthanc if archive == "orthanc" else DcmQrScp
        self.archive: Orthanc | DcmQrScp = made(folder / archive, port)
        modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"])
        one = peer("archive", self.archive.ae_title, self.archive.port, sends=True)
        asked = f'{one}\nretrieve = "{way}"'
        retention = f"[retention]\nask_back_within_s = {ask_back_within_s}\n"
        self.node = Node(folder / "node", port, settings(port, modality, asked) + retention)

    def start(self, started: Started) -> None:
        started(self.archive)
        started(self.node)

    def archived(self, paths: list[Path]) -> None:
        """Have images in the archive."""
        if isinstance(self.archive, Orthanc):
            self.archive.upload(paths)
            return
        address = ("-aec", self.archive.ae_title, LOOPBACK, str(self.archive.port))
        dcmtk("storescu", "-aet", NODE_AE, *address, *paths)

    def state(self, study_uid: str) -> dict[str, Any]:
        return self.node.studies().get(study_uid, {})

    def reaches(self, study_uid: str, state: str, version: int) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            told = self.state(study_uid)
            is_there = (told.get("state"), told.get("version")) == (state, version)
            return told if is_there else None

        return wait_for(f"version {version} to be {state}", look)

    def remove(self, study_uid: str) -> None:
        """Let retention remove images and results of a study, as if it had come long ago."""
        store = Store(load_config(self.node.config).store_dir, "sweeper")
        store.prepare()
        ledger = Ledger(load_config(self.node.config).database_url)
        study = schema.study
        its = study.c.study_uid == study_uid
        with closing(ledger):
            with ledger.writing() as db:
                db.execute(study.update().where(its).values(last_at=study.c.last_at - 1e8))
            retention = retention_on(ledger, store)

            def is_removed() -> bool:  # once nobody is to be told of it any more
                retention.sweep()
                return not any(objects_in(store.path(tree)) for tree in ("received", "reports"))

            wait_for("the files to be removed", is_removed)

    def reports(self) -> list[Dataset]:
        """Return the structured reports that the node has files of."""
        made = objects_in(self.node.store / "reports").values()
        return [one for path in made if (one := dcmread(path)).Modality == "SR"]


def late_image(file: Path) -> Path:
    """Write a view once more, as a technologist repeats an exposure."""
    image = dcmread(file)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    image.save_as(file.with_suffix(".late"))
    return file.with_suffix(".late")


@pytest.mark.parametrize(("archive", "way"), WAYS)
def test_a_late_image_of_removed_ones_leads_to_a_second_version_of_all_that_names_the_first(
    archive: str, way: Way, tmp_path: Path, exam: Exam, started: Started
) -> None:
    site = Site(tmp_path, archive, way, ask_back_within_s=600)
    site.start(started)
    files = exam("removed")
    study_uid = str(dcmread(files[0]).StudyInstanceUID)
    site.archived(files)
    site.node.send(*files)
    site.reaches(study_uid, "done", 1)
    (first,) = site.reports()
    site.remove(study_uid)
    assert site.node.kept == {}
    site.node.send(late_image(files[0]))
    told = site.reaches(study_uid, "done", 2)
    assert len(site.node.kept) == 5
    assert "5 of 5 images analysed" in str(told["models"])
    (second,) = site.reports()
    (predecessor,) = second.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    events = [event for _, event in told["history"]]
    assert "4 images of it removed, needed for a new report: asked back" in events
    assert "all its images are here again" in events


def test_a_study_that_no_archive_has_all_of_is_held_and_goes_on_when_it_is_sent_again(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    site = Site(tmp_path, "dcmqrscp", "get", ask_back_within_s=1)
    site.start(started)
    files = exam("not all of it")
    study_uid = str(dcmread(files[0]).StudyInstanceUID)
    site.archived(files[:3])
    site.node.send(*files)
    site.reaches(study_uid, "done", 1)
    site.remove(study_uid)
    site.node.send(late_image(files[0]))
    told = site.reaches(study_uid, "held", 1)
    words = "1 image needed for a new report, removed since "
    assert str(told["error"]).startswith(words)
    assert "archive was asked for " in told["error"]
    assert "send the whole study again" in told["error"]
    assert len(site.reports()) == 0
    site.node.send(*files)
    told = site.reaches(study_uid, "done", 2)
    assert "5 of 5 images analysed" in str(told["models"])
