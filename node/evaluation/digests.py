"""Images that a network has learnt from -> the lines of `training-images.txt`.

A line names no file: names of files may be those of patients.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from node.dicom.part10 import is_part10
from node.errors import ConfigError, ModelError, StudyError, Unreadable
from node.evaluation.as_dicom import NoPicture, Picturing, as_dicom
from node.imaging.digests import pixel_digest
from node.manifest import Input


def digests_of(
    folder: Path,
    wanted: Input,
    on_other: Callable[[str], None],
    on_unreadable: Callable[[str], None],
) -> Iterator[str]:
    """Yield the digest of each image once; tell what is none, and what cannot be read."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder")
    known = set[str]()
    with tempfile.TemporaryDirectory(prefix="ai-node-digests-") as made:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                digest = pixel_digest(_as_object(path, wanted, Path(made) / "image.dcm"))
            except NoPicture as error:
                on_other(f"{path}: {error}")
                continue
            except (StudyError, ModelError) as error:
                on_unreadable(f"{path}: {error}")
                continue
            if not digest:
                on_other(f"{path}: a DICOM object without pixels")
            elif digest not in known:
                known.add(digest)
                yield digest


def digests_of_files(paths: Iterable[Path], wanted: Input) -> dict[Path, str]:
    """Return the digest of each of some images; raise Unreadable at one that is none."""
    with tempfile.TemporaryDirectory(prefix="ai-node-digests-") as made:
        return {
            path: pixel_digest(_as_object(path, wanted, Path(made) / "image.dcm")) for path in paths
        }


def _as_object(path: Path, wanted: Input, made: Path) -> Path:
    """Return a DICOM object as it is, and of an image file the one that `evaluate` makes of it."""
    try:
        if is_part10(path):
            return path
        dataset = as_dicom(path, Picturing("", ""), wanted)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from error
    dataset.save_as(made, enforce_file_format=True)
    return made
