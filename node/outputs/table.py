"""The kinds of object there are, which of them a preset asks for, and the last look at each.

To add a kind, write a module with `build` and add a line to BUILDERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from itertools import combinations

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from node.errors import ConfigError, Held
from node.identity import disagree, identity_of
from node.outputs import capture, header, measurement_report, verbatim
from node.outputs.draft import Draft

Builder = Callable[[Draft], list[Dataset]]

BUILDERS: Mapping[str, Builder] = {
    "measurement-report": measurement_report.build,
    "capture": capture.build,
}
PRESETS: Mapping[str, tuple[str, ...]] = {
    "default": ("measurement-report", "capture"),
}
COMPARED = tuple(
    keyword for keyword in header.COPIED if dictionary_VR(verbatim.tag_of(keyword)) != "SQ"
)
REFERENCES = (
    "SourceImageSequence",
    "ContentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
)


def kinds_of(names: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds that these presets and kinds name, each once, in order."""
    kinds: dict[str, None] = {}
    for name in names:
        if name not in PRESETS and name not in BUILDERS:
            known = ", ".join([*PRESETS, *BUILDERS])
            raise ConfigError(f"no output is called {name!r}; there are: {known}")
        kinds.update(dict.fromkeys(PRESETS.get(name, (name,))))
    return tuple(kinds)


def build_report_set(draft: Draft, names: Iterable[str] = ("default",)) -> list[Dataset]:
    """Build and check every object of these presets and kinds.

    Raises Held rather than return an object that would go into another patient's file.
    """
    datasets = [dataset for kind in kinds_of(names) for dataset in BUILDERS[kind](draft)]
    _check_patient(draft)
    for dataset in datasets:
        check(draft, dataset)
    return datasets


def to_bytes(dataset: Dataset) -> bytes:
    """Encode the object as a Part 10 file; the same object gives the same bytes."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def check(draft: Draft, dataset: Dataset) -> None:
    """Raise Held unless the object belongs to the study, and says so as the study does."""
    if verbatim.plain(dataset, "StudyInstanceUID") != draft.version.study_uid:
        raise Held("a result would go into another study; nothing is sent")
    for keyword in COMPARED:
        if verbatim.value_bytes(draft.source, keyword) != verbatim.value_bytes(dataset, keyword):
            raise Held(f"{keyword} of a result is not that of its study; nothing is sent")
    known = {instance.sop_uid for instance in draft.version.instances}
    if not known.issuperset(_referenced(dataset)):
        raise Held("a result refers to an image of another study; nothing is sent")


def _check_patient(draft: Draft) -> None:
    """All instances of a study are of one patient, or we do not know whose results these are."""
    studies = {verbatim.value_bytes(h, "StudyInstanceUID") for h in draft.headers.values()}
    if len(studies) > 1:
        raise Held("the instances of the study disagree about StudyInstanceUID; nothing is sent")
    identities = {identity_of(header) for header in draft.headers.values()}
    if any(disagree(first, second) for first, second in combinations(identities, 2)):
        raise Held(
            "patient ID, its issuer or accession number disagree within the study; nothing is sent"
        )


def _referenced(dataset: Dataset) -> Iterator[str]:
    for keyword in REFERENCES:
        for item in dataset.get(keyword) or []:
            for element in item.iterall():
                if element.keyword == "ReferencedSOPInstanceUID":
                    yield str(element.value)
