"""The facts of a header: standard attributes first, then the makers' private ones.

A classic MR Image is asked itself. A frame of an Enhanced MR or Legacy Converted Enhanced MR is
asked in its own functional groups, in the shared ones, and then in the object (PS3.3 C.7.6.16).
"""

from __future__ import annotations

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

from node.dicom import untrusted
from node.dicom.body_part import TERMS, body_part
from node.dicom.snomed import snomed_codes
from node.dicom.untrusted import items, term, text
from node.domains.breast_mr import habits
from node.domains.breast_mr.asked import AskedHeader, held_by
from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.times import moment_from, moment_of
from node.domains.contradictions import why_slices_contradictory
from node.errors import StudyError
from node.imaging.planes import ENHANCED, SLICED, Plane, planes_of

MOST_FRAMES = 10_000
"""Of one object that is asked frame by frame, half a millisecond each, while its sender waits for
the answer. A dynamic series of a breast has some thousands."""
_LONGEST_COIL = 128


def facts_of(header: Dataset) -> tuple[Facts, ...]:
    """Return what an object says: one for a slice, one for each frame of an enhanced object."""
    with untrusted.quietly():
        is_readable = text(header, "SOPClassUID") in SLICED
        if (frames := _frames(header)) > MOST_FRAMES:
            return (_of_too_many(header, frames),)
        try:
            planes: tuple[Plane, ...] = planes_of(header)
            no_plane = ""
        except StudyError as error:
            planes, no_plane = (), str(error)
        if why := why_slices_contradictory(header):
            planes, no_plane = (), why
        common = [header]
        if text(header, "SOPClassUID") not in ENHANCED:
            asked = AskedHeader(header, held_by(common))
            return (_facts(asked, None, planes[0] if planes else None, no_plane, is_readable),)
        held = held_by([*_groups(items(header, "SharedFunctionalGroupsSequence")[:1]), *common])
        own = items(header, "PerFrameFunctionalGroupsSequence") or [Dataset()]
        return tuple(
            _facts(
                AskedHeader(header, held, held_by(_groups([groups]))),
                number,
                planes[number - 1] if planes else None,
                no_plane,
                is_readable,
            )
            for number, groups in enumerate(own, 1)
        )


def _frames(header: Dataset) -> int:
    """Return how many frames an enhanced object has: as it says, or as there are groups."""
    if text(header, "SOPClassUID") not in ENHANCED:
        return 1
    said = max(untrusted.numbers(header, "NumberOfFrames"), default=0)
    if said > MOST_FRAMES:
        return int(said)
    return max(int(said), len(items(header, "PerFrameFunctionalGroupsSequence")))


def _of_too_many(header: Dataset, frames: int) -> Facts:
    """Return what is listed of an object whose frames are not asked."""
    said = str(frames) if frames < 10**12 else f"{frames:.3g}"
    shared = _groups(items(header, "SharedFunctionalGroupsSequence")[:1])
    asked = AskedHeader(header, held_by([*shared, header]))
    coil, coil_by = _coil(asked)
    return Facts(
        sop_uid=text(header, "SOPInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        series_number=asked.whole("SeriesNumber"),
        why_not_asked=f"{said} frames in one object, and no more than {MOST_FRAMES} are read",
        body_part=body_part(header) or _region_of_frame(asked),
        coil=coil,
        coil_by=coil_by,
        protocol=asked.text("ProtocolName"),
        series_description=asked.text("SeriesDescription"),
        study_description=asked.text("StudyDescription"),
    )


def _groups(found: list[Dataset]) -> tuple[Dataset, ...]:
    """Return the items of functional groups, each of which is a sequence of one."""
    return tuple(
        item
        for groups in found
        for tag in groups.keys()  # noqa: SIM118 - a data set, whose values stay undecoded
        if dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"
        for item in items(groups, keyword_for_tag(tag))[:1]
    )


def _facts(
    asked: AskedHeader, frame: int | None, plane: Plane | None, no_plane: str, is_readable: bool
) -> Facts:
    header = asked.header
    agent, agent_by = _agent(asked)
    fat, fat_by = _fat(asked)
    acquired_s, acquired_by = _acquired(asked)
    duration_s, duration_by, is_of_frame = _duration(asked)
    coil, coil_by = _coil(asked)
    b_value, is_b_value_private = _b_value(asked)
    temporal_position, temporal_by = _temporal_position(asked)
    return Facts(
        sop_uid=text(header, "SOPInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        frame=frame,
        series_number=asked.whole("SeriesNumber"),
        is_readable=is_readable,
        maker=_maker(header),
        image_type=asked.terms("FrameType") or asked.terms("ImageType"),
        is_compressed_with_loss=term(header, "LossyImageCompression") == "01",
        contrast=asked.term("AcquisitionContrast"),
        calculation=asked.term("VolumeBasedCalculationTechnique"),
        sequence=asked.terms("ScanningSequence") or _sequence_of_enhanced(asked),
        variant=asked.terms("SequenceVariant") or _variant_of_enhanced(asked),
        options=asked.terms("ScanOptions"),
        dimensions=asked.term("MRAcquisitionType"),
        sequence_name=asked.text("SequenceName")
        or asked.text("PulseSequenceName")
        or asked.private(habits.GE_SEQUENCE),
        repetition_ms=asked.positive("RepetitionTime"),
        echo_ms=asked.positive("EchoTime") or asked.positive("EffectiveEchoTime"),
        inversion_ms=asked.positive("InversionTime") or asked.positive("InversionTimes"),
        flip_degrees=asked.positive("FlipAngle"),
        b_value=b_value,
        is_b_value_private=is_b_value_private,
        fat=fat,
        fat_by=fat_by,
        agent=agent,
        agent_by=agent_by,
        bolus_s=_bolus(asked),
        temporal_position=temporal_position,
        temporal_by=temporal_by,
        temporal_positions=asked.whole("NumberOfTemporalPositions"),
        temporal_resolution_s=_in_seconds(asked.positive("TemporalResolution")),
        acquisition_number=asked.whole("FrameAcquisitionNumber")
        or asked.whole("AcquisitionNumber"),
        trigger_s=_trigger(asked),
        acquired_s=acquired_s,
        acquired_by=acquired_by,
        content_s=_moment(asked, "ContentDate", "ContentTime"),
        series_s=_moment(asked, "SeriesDate", "SeriesTime"),
        duration_s=duration_s,
        duration_by=duration_by,
        is_duration_of_frame=is_of_frame,
        position=tuple(round(x, 3) for x in plane.position) if plane else (),
        orientation=tuple(round(x, 5) for x in plane.orientation) if plane else (),
        size=(plane.rows, plane.columns) if plane else (),
        spacing=plane.spacing if plane else (),
        no_plane=no_plane,
        locations=_count_of(asked.private_number(habits.GE_LOCATIONS)),
        body_part=body_part(header) or _region_of_frame(asked),
        coil=coil,
        coil_by=coil_by,
        protocol=asked.text("ProtocolName"),
        series_description=asked.text("SeriesDescription"),
        study_description=asked.text("StudyDescription"),
    )


def _maker(header: Dataset) -> str:
    said = text(header, "Manufacturer").upper()
    return next((maker for maker in ("SIEMENS", "PHILIPS") if maker in said), "") or (
        "GE" if said.startswith("GE ") or said == "GE" else ""
    )


def _region_of_frame(asked: AskedHeader) -> str:
    codes = snomed_codes(asked.items("AnatomicRegionSequence")[:1])
    return TERMS.get(codes[0], codes[0])[:64] if codes else ""


def _sequence_of_enhanced(asked: AskedHeader) -> tuple[str, ...]:
    """Return Scanning Sequence of what Enhanced MR says instead (PS3.3 C.8.13.4)."""
    pulse = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
    found = pulse.get(asked.term("EchoPulseSequence"), ())
    planar = ("EP",) if asked.term("EchoPlanarPulseSequence") == "YES" else ()
    inversion = ("IR",) if asked.term("InversionRecovery") == "YES" else ()
    return (*found, *planar, *inversion)


def _variant_of_enhanced(asked: AskedHeader) -> tuple[str, ...]:
    spoiled = ("SP",) if asked.term("Spoiling") not in ("", "NONE") else ()
    flight = ("TOF",) if asked.term("TimeOfFlightContrast") == "YES" else ()
    return (*spoiled, *flight)


def _b_value(asked: AskedHeader) -> tuple[float | None, bool]:
    """Return it, and whether it is a private one."""
    if (found := asked.number("DiffusionBValue")) is not None:
        return found, False
    private = (habits.SIEMENS_B_VALUE, habits.PHILIPS_B_VALUE)
    values = [found for one in private if (found := asked.private_number(one)) is not None]
    return (values[0], True) if values else (None, False)


def _fat(asked: AskedHeader) -> tuple[str, str]:
    suppression = asked.term("SpectrallySelectedSuppression")
    excitation = asked.term("SpectrallySelectedExcitation")
    if "FAT" in suppression:
        return "suppressed", "Spectrally Selected Suppression"
    if excitation == "WATER":
        return "suppressed", "Spectrally Selected Excitation"
    if suppression or excitation:
        return "kept", "Spectrally Selected Suppression and Excitation"
    if "FS" in asked.terms("ScanOptions"):
        return "suppressed", "Scan Options"
    return "", ""


def _agent(asked: AskedHeader) -> tuple[str, str]:
    """Return whether an agent was given when an image was taken, and what says so."""
    administered = {term(one, "ContrastBolusAgentAdministered") for one in _usage(asked)} - {""}
    if administered:
        given = "given" if "YES" in administered else "none"
        return given, "Contrast/Bolus Agent Administered"
    said = asked.text("ContrastBolusAgent")
    if habits.NO_AGENT.pattern.search(said):
        return "none", "Contrast/Bolus Agent"
    if said:
        return "given", "Contrast/Bolus Agent"
    if asked.items("ContrastBolusAgentSequence"):
        return "given", "Contrast/Bolus Agent Sequence"
    return "", ""


def _usage(asked: AskedHeader) -> list[Dataset]:
    """Return the items of Contrast/Bolus Usage, which `_groups` has opened to the first."""
    return [
        *asked.having("ContrastBolusAgentAdministered"),
        *asked.items("ContrastBolusUsageSequence"),
    ]


def _bolus(asked: AskedHeader) -> float | None:
    """Return Contrast/Bolus Start Time, on the day of the acquisition."""
    started = asked.text("ContrastBolusStartTime") or _start_of_profile(asked)
    days = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
    day = next((found for day in days if (found := asked.text(day))), "")
    if not day:
        day = asked.text("AcquisitionDateTime")[:8]
    return moment_from(day, started)


def _start_of_profile(asked: AskedHeader) -> str:
    """Return it of an enhanced object (Enhanced Contrast/Bolus Module, PS3.3 C.7.6.4b)."""
    profiles = [
        profile
        for agent in asked.items("ContrastBolusAgentSequence")
        for profile in items(agent, "ContrastAdministrationProfileSequence")
    ]
    return next((found for one in profiles if (found := text(one, "ContrastBolusStartTime"))), "")


def _temporal_position(asked: AskedHeader) -> tuple[int | None, str]:
    index = asked.whole("TemporalPositionIndex")
    if index is not None:
        return index, "Temporal Position Index"
    return asked.whole("TemporalPositionIdentifier"), "Temporal Position Identifier"


def _trigger(asked: AskedHeader) -> float | None:
    offset = asked.number("TemporalPositionTimeOffset")
    return offset if offset is not None else _in_seconds(asked.number("TriggerTime"))


def _acquired(asked: AskedHeader) -> tuple[float | None, str]:
    for keyword, name in (
        ("FrameAcquisitionDateTime", "Frame Acquisition DateTime"),
        ("AcquisitionDateTime", "Acquisition DateTime"),
    ):
        if (found := moment_of(asked.text(keyword))) is not None:
            return found, name
    return _moment(asked, "AcquisitionDate", "AcquisitionTime"), "Acquisition Time"


def _duration(asked: AskedHeader) -> tuple[float | None, str, bool]:
    """Return how long it took, what says so, and whether that is of the frame alone."""
    if (found := asked.positive("FrameAcquisitionDuration")) is not None:
        return found / 1000, "Frame Acquisition Duration", True
    if (found := asked.positive("AcquisitionDuration")) is not None:
        return found, "Acquisition Duration", False
    if found := asked.private_number(habits.GE_DURATION):
        return found / 1e6, "private attribute (0019,xx5A) of GE", False
    if found := asked.private_number(habits.PHILIPS_DURATION):
        return found, "private attribute (2005,xx33) of Philips", False
    return None, "", False


def _coil(asked: AskedHeader) -> tuple[str, str]:
    if found := asked.text("ReceiveCoilName"):
        return found, "Receive Coil Name"
    elements = [
        text(one, "MultiCoilElementName") for one in asked.items("MultiCoilDefinitionSequence")
    ]
    if found := "\\".join(filter(None, elements))[:_LONGEST_COIL]:
        return found, "Multi-Coil Element Name"
    if found := asked.private(habits.SIEMENS_COIL):
        return found, "private attribute (0051,xx0F) of Siemens"
    return "", ""


def _count_of(number: float | None) -> int | None:
    return int(number) if number is not None and number == int(number) and number > 0 else None


def _in_seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _moment(asked: AskedHeader, date: str, time: str) -> float | None:
    """Return a date and time, with the study's date where there is only a time."""
    day = asked.text(date) or text(asked.header, "StudyDate")
    return moment_from(day, asked.text(time))
