"""What an object contradicts itself in, of the attributes that say what it shows and how."""

from __future__ import annotations

from pydicom import Dataset

from node.dicom.part10 import structure_of
from node.dicom.structure import ANY_PIXEL_DATA
from node.imaging.source import KEYWORDS_READ, tags_of

VIEW_SAID_BY = (
    *("ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence", "PatientOrientation"),
    *("AnatomicRegionSequence", "BodyPartExamined"),
)
"""Which part of whom an image shows, and from where."""

SELECTED_BY = (
    *VIEW_SAID_BY,
    *("SeriesDescription", "ProtocolName", "ViewModifierCodeSequence", "ImageType"),
    *("PresentationIntentType", "QualityControlImage", "QualityControlSubject"),
    *("BiopsyTargetSequence", "SpecimenDescriptionSequence", "PaddleDescription"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence", "BreastImplantPresent"),
    *("ConversionType", "BurnedInAnnotation", "PartialView", "PartialViewCodeSequence"),
    *("EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector"),
    *("DistanceSourceToPatient", "LossyImageCompression", "LossyImageCompressionRatio"),
    *("AcquisitionDate", "AcquisitionTime"),
)
"""The attributes by which a domain tells what a model may see; a test holds them against what is
read."""

SLICES_READ_BY = (
    *("FrameOfReferenceUID", "SliceThickness", "SeriesNumber", "SeriesDate", "SeriesTime"),
    *("StudyDate", "StudyDescription", "ContentDate", "ContentTime", "AcquisitionDateTime"),
    *("AcquisitionDuration", "AcquisitionNumber", "AcquisitionContrast", "TriggerTime"),
    *("TemporalPositionIdentifier", "NumberOfTemporalPositions", "TemporalResolution"),
    *("TemporalPositionIndex", "TemporalPositionTimeOffset", "FrameType"),
    *("FrameAcquisitionDateTime", "FrameAcquisitionDuration", "FrameAcquisitionNumber"),
    *("ContrastBolusStartTime", "ContrastBolusUsageSequence", "ContrastBolusAgentAdministered"),
    *(
        "ContrastAdministrationProfileSequence",
        "DiffusionBValue",
        "EchoPlanarPulseSequence",
        "EchoPulseSequence",
        "EchoTime",
    ),
    *("EffectiveEchoTime", "FlipAngle", "InversionRecovery", "InversionTime", "InversionTimes"),
    *("MRAcquisitionType", "Manufacturer", "MultiCoilDefinitionSequence", "MultiCoilElementName"),
    *("PulseSequenceName", "ReceiveCoilName", "RepetitionTime", "ScanOptions"),
    *("ScanningSequence", "SequenceName", "SequenceVariant", "SpectrallySelectedExcitation"),
    *("SpectrallySelectedSuppression", "Spoiling", "TimeOfFlightContrast"),
    *("VolumeBasedCalculationTechnique", "PixelMeasuresSequence", "PlaneOrientationSequence"),
    *("PlanePositionSequence", "PixelValueTransformationSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""What slices of a magnetic resonance are read by besides."""

_OF_VIEW = frozenset(map(int, tags_of(VIEW_SAID_BY)))
_ALL = ANY_PIXEL_DATA | frozenset(map(int, tags_of((*SELECTED_BY, *KEYWORDS_READ))))
_OF_SLICES = _ALL | frozenset(map(int, tags_of(SLICES_READ_BY)))


def why_contradictory(header: Dataset) -> str:
    """Return what an object contradicts itself in, of all that an image is judged by, "" if not."""
    return next(structure_of(header).contradictions(_ALL), "")


def why_view_contradictory(header: Dataset) -> str:
    """Return what an object contradicts itself in, of what says its view, "" if not."""
    return next(structure_of(header).contradictions(_OF_VIEW), "")


def why_slices_contradictory(header: Dataset) -> str:
    """Return what an MR object contradicts itself in, of all that its slices are read by."""
    return next(structure_of(header).contradictions(_OF_SLICES), "")
