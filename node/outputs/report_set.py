"""What builds the objects of each kind of `node.kinds`, and the set of them for a study."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pkgutil import resolve_name

from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from node.config import presets
from node.kinds import KINDS
from node.outputs.case import Draft
from node.outputs.guard import check, check_patient, check_result

_PIXEL_DATA = Tag(0x7FE00010)

Builder = Callable[[Draft], list[Dataset]]
"""Builds the objects of a kind: none of them if the results hold nothing that it could say."""


def _builder(names: Iterable[str]) -> Builder:
    builders: list[Builder] = [resolve_name(f"node.outputs.{name}") for name in names]
    return lambda draft: [dataset for build in builders for dataset in build(draft)]


BUILDERS: Mapping[str, Builder] = {name: _builder(kind.built_by) for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Built:
    """A result object, and which kind it is of."""

    kind: str
    dataset: Dataset


def build_report_set(draft: Draft, kinds: Iterable[str] | None = None) -> list[Built]:
    """Build and check every object of these kinds.

    Raises Held rather than return an object that would go into another patient's file.
    """
    check_patient(draft)
    for result in draft.results:
        check_result(draft, result)
    wanted = tuple(presets()["default"] if kinds is None else kinds)
    draft = replace(draft, kinds=frozenset(wanted))
    objects = [Built(kind, dataset) for kind in wanted for dataset in BUILDERS[kind](draft)]
    made = frozenset(str(built.dataset.SOPInstanceUID) for built in objects)
    for built in objects:
        check(draft, built.dataset, made)
    return objects


def to_bytes(dataset: Dataset) -> bytes:
    """Encode the object as a Part 10 file; the same object gives the same bytes.

    Pixels at its end are put there as they are: pydicom would copy them several times.
    """
    stream = BytesIO()
    if not _ends_with_plain_pixels(dataset):
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()
    element = dataset[_PIXEL_DATA]
    del dataset[_PIXEL_DATA]
    try:
        dataset.save_as(stream, enforce_file_format=True)
    finally:
        dataset[_PIXEL_DATA] = element
    length = len(element.value)
    head = struct.pack("<HH2sHL", _PIXEL_DATA.group, _PIXEL_DATA.element, b"OB", 0, length)
    return b"".join((stream.getbuffer(), head, element.value))


def _ends_with_plain_pixels(dataset: Dataset) -> bool:
    if _PIXEL_DATA not in dataset:
        return False
    element = dataset[_PIXEL_DATA]
    return (
        (element.VR, max(dataset.keys())) == ("OB", _PIXEL_DATA)
        and isinstance(element.value, bytes)
        and len(element.value) % 2 == 0
        and dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    )
