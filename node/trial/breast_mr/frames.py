"""The functional groups of an Enhanced MR object, as B1 of styles.py has them."""

from __future__ import annotations

from datetime import timedelta

from pydicom import Dataset

from node.trial.breast_mr.headers import MrExam, Scan, Shot
from node.trial.breast_mr.styles import Vendor

_FRAME_TYPE = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
_IN_PRIVATE = (
    "ImageType",
    "SOPInstanceUID",
    "ContentTime",
    "ScanningSequence",
    "SequenceVariant",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "NumberOfTemporalPositions",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "ImagePositionPatient",
)
"""What (2005,140F) repeats of a classic header."""


def shared_of(exam: MrExam, scan: Scan, image: Dataset) -> Dataset:
    """Return the functional groups that all frames share (PS3.3 A.36.4)."""
    shared = Dataset()
    orientation = _one(ImageOrientationPatient=image.ImageOrientationPatient)
    shared.PlaneOrientationSequence = [orientation]
    shared.FrameAnatomySequence = [_anatomy()]
    shared.MRTimingAndRelatedParametersSequence = [_timing(scan)]
    shared.MRFOVGeometrySequence = [_geometry(image)]
    shared.MREchoSequence = [_one(EffectiveEchoTime=float(scan.pulse.echo_ms))]
    shared.MRModifierSequence = [_modifier()]
    shared.MRImagingModifierSequence = [_imaging_modifier()]
    shared.MRReceiveCoilSequence = [_receive_coil(exam.style.coil)]
    shared.MRTransmitCoilSequence = [
        _one(TransmitCoilName="Body", TransmitCoilManufacturerName="", TransmitCoilType="BODY")
    ]
    shared.MRAveragesSequence = [_one(NumberOfAverages="1")]
    return shared


def frame_of(exam: MrExam, scan: Scan, shot: Shot, image: Dataset, place: int) -> Dataset:
    """Return the functional groups of one frame; its place in the stack counts from 1."""
    frame = Dataset()
    frame.PixelMeasuresSequence = [
        _one(
            SliceThickness=image.SliceThickness,
            SpacingBetweenSlices=image.SpacingBetweenSlices,
            PixelSpacing=image.PixelSpacing,
        )
    ]
    frame.PlanePositionSequence = [_one(ImagePositionPatient=image.ImagePositionPatient)]
    frame.FrameContentSequence = [_content(exam, scan, shot, place)]
    frame.MRImageFrameTypeSequence = [_frame_type()]
    frame.PixelValueTransformationSequence = [
        _one(
            RescaleIntercept=image.get("RescaleIntercept", "0"),
            RescaleSlope=image.get("RescaleSlope", "1"),
            RescaleType="US",
        )
    ]
    frame.FrameVOILUTSequence = [
        _one(WindowCenter=image.WindowCenter, WindowWidth=image.WindowWidth)
    ]
    if exam.style.vendor is Vendor.PHILIPS:
        _add_private(frame, image)
    else:
        frame.ContrastBolusUsageSequence = [_usage(shot)]
    return frame


def _content(exam: MrExam, scan: Scan, shot: Shot, place: int) -> Dataset:
    content = Dataset()
    moment = exam.begun_at + timedelta(seconds=shot.begun_s)
    content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = f"{moment:%Y%m%d%H%M%S.%f}"
    content.FrameAcquisitionDuration = float(shot.duration_s * 1000)
    content.StackID, content.InStackPositionNumber = "1", place
    content.TemporalPositionIndex = shot.position
    content.DimensionIndexValues = [1, place] + [shot.position] * (scan.phases > 1)
    return content


def _add_private(frame: Dataset, image: Dataset) -> None:
    """Write the classic attributes of a frame as Philips does (B1), with the scale slope."""
    block = frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
    item = Dataset()
    for keyword in _IN_PRIVATE:
        if keyword in image:
            setattr(item, keyword, image[keyword].value)
    for group, creator, elements in (
        (0x2001, "Philips Imaging DD 001", (0x03, 0x12, 0x18, 0x21, 0x81)),
        (0x2005, "Philips MR Imaging DD 001", (0x0D, 0x0E)),
    ):
        source = image.private_block(group, creator)
        target = item.private_block(group, creator, create=True)
        for element in elements:
            target.add_new(element, source[element].VR, source[element].value)
    block.add_new(0x0F, "SQ", [item])


def _usage(shot: Shot) -> Dataset:
    given = "YES" if shot.injected_s is not None else "NO"
    return _one(
        ContrastBolusAgentNumber=1,
        ContrastBolusAgentAdministered=given,
        ContrastBolusAgentDetected=given,
        ContrastBolusAgentPhase="POST_CONTRAST" if shot.injected_s is not None else "PRE_CONTRAST",
    )


def _anatomy() -> Dataset:
    region = _one(CodeValue="76752008", CodingSchemeDesignator="SCT", CodeMeaning="Breast")
    return _one(FrameLaterality="B", AnatomicRegionSequence=[region])


def _frame_type() -> Dataset:
    return _one(
        FrameType=_FRAME_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="T1",
    )


def _timing(scan: Scan) -> Dataset:
    return _one(
        RepetitionTime=scan.pulse.repetition_ms,
        FlipAngle=scan.pulse.flip_degrees,
        EchoTrainLength=1,
        RFEchoTrainLength=0,
        GradientEchoTrainLength=1,
        SpecificAbsorptionRateSequence=[
            _one(
                SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY",
                SpecificAbsorptionRateValue=0.02,
            )
        ],
        GradientOutputType="DB_DT",
        GradientOutput=79.0,
        OperatingModeSequence=[
            _one(OperatingModeType=what, OperatingMode="IEC_NORMAL")
            for what in ("STATIC FIELD", "RF", "GRADIENT")
        ],
    )


def _geometry(image: Dataset) -> Dataset:
    return _one(
        InPlanePhaseEncodingDirection="COLUMN",
        MRAcquisitionFrequencyEncodingSteps=int(image.Columns),
        MRAcquisitionPhaseEncodingStepsInPlane=int(image.Rows),
        MRAcquisitionPhaseEncodingStepsOutOfPlane=1,
        PercentSampling="100",
        PercentPhaseFieldOfView="100",
    )


def _modifier() -> Dataset:
    return _one(
        InversionRecovery="NO",
        FlowCompensation="NONE",
        Spoiling="RF",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        ParallelAcquisition="NO",
        PartialFourier="NO",
    )


def _imaging_modifier() -> Dataset:
    return _one(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=63.608,
        PixelBandwidth="540",
    )


def _receive_coil(name: str) -> Dataset:
    element = _one(MultiCoilElementName="1", MultiCoilElementUsed="YES")
    return _one(
        ReceiveCoilName=name or "1",
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=[element],
    )


def _one(**values: object) -> Dataset:
    """Return an item of a sequence with these attributes."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
