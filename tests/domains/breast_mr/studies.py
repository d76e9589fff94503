"""Headers of breast MRI studies, as small as what is told from them: no pixels, few slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydicom import Dataset, uid

from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import Reading, read
from node.identity import stable_uid

SLICES = 4
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]


def image(series: int = 1, z: float = 0.0, copy: object = "", **changes: Any) -> Dataset:
    """Return a T1-weighted slice of a gradient echo, as a breast coil takes it."""
    one = Dataset()
    one.SOPClassUID = uid.MRImageStorage
    one.SOPInstanceUID = stable_uid("mr", str(series), str(z), str(copy))
    one.SeriesInstanceUID = stable_uid("mr", str(series))
    one.StudyInstanceUID = stable_uid("mr")
    one.Modality = "MR"
    one.SeriesNumber = series
    one.StudyDate = one.AcquisitionDate = one.ContentDate = one.SeriesDate = "20260310"
    one.BodyPartExamined = "BREAST"
    one.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    one.ScanningSequence = "GR"
    one.SequenceVariant = "SP"
    one.MRAcquisitionType = "3D"
    one.RepetitionTime = 4.5
    one.EchoTime = 1.6
    one.FlipAngle = 10
    one.Rows, one.Columns = 8, 10
    one.PixelSpacing = [0.8, 0.8]
    one.SliceThickness = 2
    one.ImagePositionPatient = [-50.0, -40.0, z]
    one.ImageOrientationPatient = AXIAL
    for keyword, value in changes.items():
        if value is None:
            if keyword in one:
                delattr(one, keyword)
        else:
            setattr(one, keyword, value)
    return one


def stack(series: int = 1, copy: object = "", **changes: Any) -> list[Dataset]:
    """Return the slices of one phase."""
    return [image(series, 2.0 * number, copy, **changes) for number in range(SLICES)]


def one_each(phases: int = 3, **changes: Any) -> list[Dataset]:
    """Return a study of one series for each phase, told apart by the times only."""
    return [
        one
        for number in range(phases)
        for one in stack(5 + number, AcquisitionTime=clock(90 * number), **changes)
    ]


def clock(seconds: float) -> str:
    """Return TM of so long after ten o'clock."""
    whole = int(seconds)
    return f"{10 + whole // 3600:02}{whole // 60 % 60:02}{whole % 60:02}"


def facts(headers: Iterable[Dataset]) -> list[Facts]:
    return [one for header in headers for one in facts_of(header)]


def reading(headers: Iterable[Dataset]) -> Reading:
    return read(facts(headers))


def names(found: Reading) -> list[str]:
    return [phase.name for phase in found.phases]


def sop_uids(found: Reading) -> dict[str, set[str]]:
    return {phase.name: {sop for sop, _ in phase.images} for phase in found.phases}


def uids_of(headers: Iterable[Dataset]) -> set[str]:
    return {str(one.SOPInstanceUID) for one in headers}


def enhanced(
    phases: Sequence[float] = (0, 90, 180),
    is_by_slice: bool = False,
    administered: Sequence[str] = (),
    **changes: Any,
) -> Dataset:
    """Return one Enhanced MR of all phases, which begin so many seconds after ten o'clock."""
    one = image(9, 0.0, "enhanced", SOPClassUID=uid.EnhancedMRImageStorage, **changes)
    for keyword in ("ScanningSequence", "SequenceVariant", "RepetitionTime", "EchoTime"):
        delattr(one, keyword)
    one.EchoPulseSequence = "GRADIENT"
    one.AcquisitionContrast = "T1"
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.8, 0.8], SliceThickness=2)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=AXIAL)]
    shared.MRTimingAndRelatedParametersSequence = [_item(RepetitionTime=4.5, FlipAngle=10)]
    shared.MREchoSequence = [_item(EffectiveEchoTime=1.6)]
    one.SharedFunctionalGroupsSequence = [shared]
    frames = [(phase, z) for phase in range(len(phases)) for z in range(SLICES)]
    if is_by_slice:
        frames.sort(key=lambda frame: frame[1])
    own = []
    for phase, z in frames:
        groups = Dataset()
        groups.PlanePositionSequence = [_item(ImagePositionPatient=[-50.0, -40.0, 2.0 * z])]
        groups.FrameContentSequence = [
            _item(
                TemporalPositionIndex=phase + 1,
                FrameAcquisitionDateTime="20260310" + clock(phases[phase]),
                FrameAcquisitionDuration=80_000.0,
            )
        ]
        if administered:
            groups.ContrastBolusUsageSequence = [
                _item(ContrastBolusAgentAdministered=administered[phase])
            ]
        own.append(groups)
    one.PerFrameFunctionalGroupsSequence = own
    one.NumberOfFrames = len(frames)
    return one


def _item(**values: Any) -> Dataset:
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one
