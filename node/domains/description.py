"""What a received object is, in the words of the house."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from node.dicom.untrusted import text
from node.domains.table import shown_by
from node.study import Instance


def describe(header: Dataset, path: Path, digest: str) -> Instance:
    """Return what `read_header` read as an Instance; path and digest are the caller's."""
    shown = shown_by(header)
    meta = getattr(header, "file_meta", None)
    return Instance(
        study_uid=text(header, "StudyInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        sop_uid=text(header, "SOPInstanceUID"),
        sop_class=shown.sop_class,
        transfer_syntax="" if meta is None else text(meta, "TransferSyntaxUID"),
        modality=shown.modality,
        path=path,
        digest=digest,
        body_part=shown.body_part,
        view=shown.view,
        is_standard=shown.is_standard,
        details=shown.details,
    )
