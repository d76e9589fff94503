"""An object in Implicit VR Little Endian, for who takes the default transfer syntax alone."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.dsutils import create_file_meta

from node.dicom.deflated import LARGEST, Inflated
from node.dicom.implicit import write_implicit
from node.dicom.part10 import data_set_begins_at, open_part10


@contextmanager
def in_default_syntax(path: Path, sop_class: str, sop_uid: str, syntax: str) -> Iterator[Path]:
    """Have an uncompressed object in Implicit VR, as a file that is gone when its turn is over."""
    meta = create_file_meta(
        sop_class_uid=UID(sop_class),
        sop_instance_uid=UID(sop_uid),
        transfer_syntax=ImplicitVRLittleEndian,
    )
    with tempfile.TemporaryFile() as file, path.open("rb") as source:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(cast("DicomIO", file), meta)
        write_implicit(
            _data_set(source, UID(syntax)),
            cast("BinaryIO", file),
            is_little_endian=UID(syntax).is_little_endian,
        )
        file.flush()
        # It never has a name: nothing of a patient's is left, however we end.
        yield Path(f"/dev/fd/{file.fileno()}")


def _data_set(source: BinaryIO, syntax: UID) -> BinaryIO:
    if syntax.is_deflated:
        open_part10(source)
        source.seek(0)
        return io.BufferedReader(Inflated(source, data_set_begins_at(source), LARGEST))
    source.seek(open_part10(source).begins_at)
    return source
