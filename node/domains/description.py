"""What a received object is, in the words of the house."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from node.dicom.untrusted import text
from node.domains.mammography.standard import why_not_standard
from node.domains.mammography.views import view_or_reason
from node.study import Instance, View


def describe(header: Dataset, path: Path, digest: str) -> Instance:
    """Return what `read_header` read as an Instance; path and digest are the caller's."""
    view = view_or_reason(header)
    return Instance(
        study_uid=text(header, "StudyInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        sop_uid=text(header, "SOPInstanceUID"),
        sop_class=text(header, "SOPClassUID"),
        transfer_syntax=text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID"),
        modality=text(header, "Modality"),
        path=path,
        digest=digest,
        view=view if isinstance(view, View) else None,
        is_standard=not why_not_standard(header),
    )
