"""DICOM objects made in memory or in a temporary folder: nobody's data, no files kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.uid import generate_uid

from node.result import HeatMap, Mark, Measurement, OutputScore, UnitScore
from node.study import IMAGE, Instance, Laterality, Unit, View
from node.trial import phantom
from node.trial.phantom import Patient, Technique

R_CC = View(Laterality.RIGHT, "CC")
L_CC = View(Laterality.LEFT, "CC")
R_MLO = View(Laterality.RIGHT, "MLO")
L_MLO = View(Laterality.LEFT, "MLO")

SMALL = Technique(rows=332, columns=256, spacing_mm=0.72)
"""The usual field of view in large pixels: quick to make and quick to read."""


def instance(view: View, sop_uid: str) -> Instance:
    """Return a mammogram as the ledger knows it, with no file behind it."""
    return Instance(
        study_uid="1",
        series_uid="1.1",
        sop_uid=sop_uid,
        sop_class="1.2.840.10008.5.1.4.1.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        modality="MG",
        path=Path("x.dcm"),
        digest=sop_uid,
        view=view,
    )


def unit(view: View, sop_uid: str, doubts: tuple[str, ...] = ()) -> Unit:
    """Return a mammogram as a model reads it."""
    return Unit({IMAGE: instance(view, sop_uid)}, str(view), doubts=doubts)


def exam(
    study: str = "test", views: Iterable[View] = phantom.EXAM, patient: Patient | None = None
) -> list[Dataset]:
    """Return small phantom mammograms; the text `study` decides all UIDs."""
    return phantom.exam(study, views, patient=patient or Patient(), technique=SMALL)


def rejection_note(
    images: Sequence[Dataset], title: str = "113001", meaning: str = "Rejected for Quality Reasons"
) -> Dataset:
    """Return a Key Object Selection that takes these images of one study out of use (IHE IOCM)."""
    return KeyObjectSelectionDocument(
        evidence=images,
        content=KeyObjectSelection(
            document_title=CodedConcept(title, "DCM", meaning), referenced_objects=images
        ),
        series_instance_uid=generate_uid(entropy_srcs=["series", images[0].StudyInstanceUID]),
        series_number=900,
        sop_instance_uid=generate_uid(entropy_srcs=["note", *(i.SOPInstanceUID for i in images)]),
        instance_number=1,
        manufacturer="Test",
    )


def saved_exam(
    folder: Path, study: str = "test", views: Iterable[View] = phantom.EXAM
) -> list[Path]:
    """Write small phantom mammograms as Part 10 files and return their paths."""
    return phantom.save(exam(study, views), folder)


def unit_score(
    key: str,
    measurements: tuple[Measurement, ...] = (),
    marks: tuple[Mark, ...] = (),
    heat_map: HeatMap | None = None,
) -> UnitScore:
    """Return what a network of one output said."""
    return UnitScore(key, (OutputScore(measurements, marks, heat_map),))
