"""What makers and sites do that no standard says: each with where that was seen.

A habit without a source is not here. What the standard says itself is read in `headers` and
`series`, and is asked first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

_UCSF = (
    "SlicerBreast_DCEMRI_FTV of the UCSF Breast Imaging Research Group, written for exams of the "
    "I-SPY 2 trial (github.com/rnadkarni2/SlicerBreast_DCEMRI_FTV, commit 3309b9d), "
)
_UCSF_SERIES = _UCSF + "Get_header_info_all_manufacturer.py"
_UCSF_TIMING = _UCSF + "timing_info_class_all_manufacturer.py"
_DUKE = (
    "Series Descriptions of the collection Duke-Breast-Cancer-MRI of The Cancer Imaging Archive "
    "(doi 10.7937/TCIA.e3sv-re93)"
)
_DCM2NIIX = "dcm2niix 1.0.20260724, console/nii_dicom.cpp"
_CLASSIFIER = "dcm-classifier 0.9.9, tests/testing_data/"
_PYDICOM = "pydicom, data/test_files/"


@dataclass(frozen=True, slots=True)
class Private:
    """A private attribute: its value says what a standard one would, were it there."""

    creator: str
    group: int
    element: int
    """Within the creator's block."""
    says: str
    source: str


GE_LOCATIONS = Private(
    *("GEMS_RELA_01", 0x0021, 0x4F, "how many slices one phase has"),
    f"{_UCSF_TIMING}, GE_TimingInfo.locsinacq; {_DCM2NIIX}, kLocationsInAcquisitionGE",
)
GE_DURATION = Private(
    *("GEMS_ACQU_01", 0x0019, 0x5A, "how long the whole series was acquired, in microseconds"),
    f"{_UCSF_TIMING}, GE_TimingInfo.acqdur; {_DCM2NIIX}, kAcquisitionDurationGE",
)
GE_SEQUENCE = Private(
    *("GEMS_ACQU_01", 0x0019, 0x9C, "the name of the pulse sequence"),
    f"{_UCSF_SERIES}, FolderInfo.pulseseqname; {_DCM2NIIX}, kPulseSequenceNameGE",
)
PHILIPS_DURATION = Private(
    *("Philips MR Imaging DD 001", 0x2005, 0x33, "how long the series was acquired, in seconds"),
    f"{_UCSF_TIMING}, PhilipsTimingInfo.tempressec",
)
SIEMENS_COIL = Private(
    *("SIEMENS MR HEADER", 0x0051, 0x0F, "the elements of the receive coil"),
    f"{_DCM2NIIX}, kCoilSiemens",
)
SIEMENS_B_VALUE = Private(
    *("SIEMENS MR HEADER", 0x0019, 0x0C, "the diffusion b-value in s/mm2"),
    f"{_DCM2NIIX}, kDiffusion_bValueSiemens",
)
PHILIPS_B_VALUE = Private(
    *("Philips Imaging DD 001", 0x2001, 0x03, "the diffusion b-value in s/mm2"),
    f"{_DCM2NIIX}, kDiffusion_bValuePhilips",
)

PRIVATE = (
    *(GE_LOCATIONS, GE_DURATION, GE_SEQUENCE, PHILIPS_DURATION, SIEMENS_COIL),
    *(SIEMENS_B_VALUE, PHILIPS_B_VALUE),
)


class HeaderHabit(NamedTuple):
    """A pattern of one attribute, and what it means."""

    means: str
    pattern: re.Pattern[str]
    says: str
    """How the pattern is named in a reason."""
    source: str


def _habit(means: str, pattern: str, says: str, source: str) -> HeaderHabit:
    return HeaderHabit(means, re.compile(pattern, re.IGNORECASE), says, source)


def _word(means: str, word: str, source: str) -> HeaderHabit:
    pattern = re.escape(word).replace("Z", "[SZ]") + "S?"
    return _habit(means, rf"(?<![A-Z]){pattern}(?![A-Z])", word, source)


IMAGE_TYPES = (
    _habit("adc", "^ADC$", "ADC", _CLASSIFIER + "anonymized_testing_data/anonymized_data/6"),
    _habit(
        *("diffusion", "^(DIFFUSION|TRACEW)$", "DIFFUSION"),
        _CLASSIFIER + "anonymized_testing_data/anonymized_data/5",
    ),
    _habit(
        *("mip", "^(MNIP|MIP)$", "a projection"),
        _CLASSIFIER + "anonymized_testing_data/anonymized_data/8 (MNIP)",
    ),
    _habit(
        *("reformatted", "^(MPR|CSA MPR)$", "MPR"),
        f"{_CLASSIFIER}anonymized_testing_data/anonymized_data/2; {_PYDICOM}examples_overlay.dcm",
    ),
    _habit(
        *("susceptibility", "^SWI$", "SWI"),
        _CLASSIFIER + "anonymized_testing_data/anonymized_data/9",
    ),
    _habit(
        *("perfusion", "^PERFUSION$", "PERFUSION"),
        _CLASSIFIER + "anonymized_testing_data/perfusion_data/perfusion_image.dcm",
    ),
)
"""Values of Image Type (0008,0008) from the third on that PS3.3 C.8.3.1.1.1 does not have."""

SEQUENCE_NAMES = (
    _habit(
        *("diffusion", r"^\*?ep_b\d", "the sequence name"),
        _CLASSIFIER + "anonymized_testing_data/anonymized_data/5 (*ep_b0, *ep_b1000t)",
    ),
    _habit(
        *("susceptibility", r"^\*?swi", "the sequence name"),
        _CLASSIFIER + "anonymized_testing_data/anonymized_data/8 (*swi3d1r)",
    ),
    _habit("gradient", r"^\*?fl3", "the sequence name", f"{_UCSF_SERIES}, siemens_folder_lbl"),
    _habit("gradient", "efgre3d|3dfgre", "the sequence name", f"{_UCSF_SERIES}, ge_folder_lbl"),
)
"""Of Sequence Name (0018,0024), else the maker's private one."""

SERIES_WORDS = (
    _word("localiser", "LOCALIZER", _PYDICOM + "dicomdirtests/98892003/MR1/15820"),
    _word("localiser", "PILOT", _PYDICOM + "dicomdirtests/98892003/MR2/4950"),
    _word("localiser", "SCOUT", f"{_UCSF_SERIES}, ge_folder_lbl"),
    _word("localiser", "PRE-SCAN", f"{_UCSF_SERIES}, ge_folder_lbl"),
    _word("subtraction", "SUB", f"{_UCSF_SERIES}, siemens_folder_lbl and ge_folder_lbl"),
    _habit(
        *("subtraction", r"\(\d+/\d+/\d+\)\s*-\s*\(\d+/\d+/\d+\)", "one image minus another"),
        f"{_UCSF_SERIES}, ge_folder_lbl",
    ),
    _word("mip", "MIP", f"{_UCSF_SERIES}, siemens_folder_lbl and ge_folder_lbl"),
    _word(
        *("adc", "APPARENT DIFFUSION COEFFICIENT"),
        _CLASSIFIER + "adc_volumes/volume_0/test_dcm_0.0.dcm",
    ),
    _word("diffusion", "DWI", _CLASSIFIER + "dwi_volumes/volume_0/test_dcm_0.0.dcm"),
)
"""Of Series Description (0008,103E)."""

PHASE_WORDS = (
    _habit("pre", r"^(?!.*pre-?scan).*(?<![A-Z])PRE(?![A-Z])", "PRE", _DUKE + ": ax dyn pre"),
    _habit("post", r"(?<!\d)\d(ST|ND|RD|TH)\s*(PASS|AX)", "PASS", _DUKE + ": ax dyn 1st pass"),
    _habit("post", r"(?<![A-Z])PH\d+/", "PH", f"{_DUKE}: Ph1/ax dyn; {_UCSF_SERIES}"),
    _word("post", "POST", f"{_UCSF_SERIES}, ge_folder_lbl"),
)
"""Of Series Description (0008,103E): before or after the contrast agent."""

NO_AGENT = _habit(
    *("no agent", "^(NONE|NO)$", "none"),
    _CLASSIFIER + "anonymized_testing_data/contrast_data/without_contrast (NONE, of a GE Signa)",
)
"""Of Contrast/Bolus Agent (0018,0010), which the standard has for agents only."""

TRIGGER_TIME_OF_PHASES = (
    "GE and Philips: Acquisition Time and Content Time are one for all phases of a series, and "
    "Trigger Time counts from there; "
    f"{_UCSF}chooseEarly_LateByManufacturer.py and multivolume_folder_sort.py"
)
"""Why Trigger Time (0018,1060), which the standard has for cardiac gating, tells phases apart."""

B_VALUE_OF_MAP = _CLASSIFIER + "anonymized_testing_data/anonymized_data/6"
"""Of Siemens: an ADC map has in its private b-value the one it was made with."""

LARGEST_IS_DYNAMIC = f"{_UCSF_SERIES}: of groups of series acquired alike, that with most slices"


_NUMBERED = re.compile(
    r"(?<!\d)(\d+)(?:ST|ND|RD|TH)\s*(?:PASS|AX)|(?<![A-Z])PH(\d+)/", re.IGNORECASE
)
"""The numbers in `PHASE_WORDS`."""


def phase_number(description: str) -> int | None:
    """Return which phase a description names, 0 for that before the agent, None if none."""
    if found := _NUMBERED.search(description):
        return int(found[1] or found[2])
    return 0 if meanings(PHASE_WORDS, description) == {"pre"} else None


def first_match(habits: tuple[HeaderHabit, ...], text: str) -> HeaderHabit | None:
    """Return the first habit whose pattern is found in a text."""
    return next((habit for habit in habits if habit.pattern.search(text)), None)


def meanings(habits: tuple[HeaderHabit, ...], text: str) -> frozenset[str]:
    """Return all that is meant by a text."""
    return frozenset(habit.means for habit in habits if habit.pattern.search(text))
