"""How scanners write the headers of a breast MRI; each habit with its source.

The sources, by the letters that the habits name:

A  dcm-classifier 0.9.9 (PyPI, sdist), tests/testing_data/anonymized_testing_data: real objects.
   A1 anonymized_data/1 (SIEMENS Aera, fl3d), A2 contrast_data/with_contrast (SIEMENS TrioTim),
   A3 perfusion_data/perfusion_image.dcm (SIEMENS Avanto, Acquisition Number 54, Instance 1015),
   A4 contrast_data/without_contrast (GE GENESIS_SIGNA), A5 and A6 anonymized_data/5 and 6
   (SIEMENS Aera, diffusion and ADC).
B  nibabel 5.4.2 (PyPI), nibabel/nicom/tests/data: real objects. B1 philips_mprage.dcm.gz
   (Philips Achieva, Enhanced MR, with the classic attributes of each frame in (2005,140F)),
   B2 slicethickness_empty_string.dcm (SIEMENS Prisma, a MIP).
C  github.com/neurolabusc/dcm_qa_nih, In/20180918GE/mr_0007/README-Series.txt, and
   github.com/nih-fmrif/ge_test_dataset, 20180907-26974/mr_0004/README-Series.txt: headers of real
   objects (GE DISCOVERY MR750, DV26).
D  github.com/rnadkarni2/SlicerBreast_DCEMRI_FTV, DCE_IDandPhaseSelect: how the UCSF Breast Imaging
   Research Group tells the phases of breast MRI of many sites apart. D1
   Get_header_info_all_manufacturer.py, D2 multivolume_folder_sort.py, D3
   timing_info_class_all_manufacturer.py, D4 Exam_Ident_and_timing.py.
E  github.com/rordenlab/dcm2niix, Philips/README.md: stored, displayed and precise values.
S  the standard, PS3.3: C.7.6.4 Contrast/Bolus, C.8.3.1 MR Image (its Image Type Value 3).

Where a real object names a coil, the part of the body in it is replaced by the breast. Of Series
Descriptions only the parts that D1 looks for have a source; the other words are invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Family(StrEnum):
    """Of which SOP class the images are."""

    CLASSIC = "MR Image"
    ENHANCED = "Enhanced MR Image"
    LEGACY = "Legacy Converted Enhanced MR Image"


class Arrangement(StrEnum):
    """How phases lie in series. In one series, Instance Numbers go phase or slice first."""

    PER_PHASE = "a series per phase"
    BY_PHASE = "one series, phase by phase"
    BY_SLICE = "one series, slice by slice"
    PRE_AND_POSTS = "a series before the injection, one after it"


class Vendor(StrEnum):
    """Whose private elements and words are written; STANDARD has none."""

    STANDARD = "Generated"
    SIEMENS = "SIEMENS"
    GE = "GE MEDICAL SYSTEMS"
    PHILIPS = "Philips Medical Systems"


@dataclass(frozen=True, slots=True)
class Style:
    """What a scanner writes. The fields that have no letter are choices of whoever asks."""

    vendor: Vendor
    model: str
    software: tuple[str, ...]
    dynamic_type: tuple[str, ...]
    """Image Type of the dynamic images."""
    bits_stored: int = 12
    signed: bool = False
    arrangement: Arrangement = Arrangement.PER_PHASE
    family: Family = Family.CLASSIC
    series_step: int = 1
    """Series Numbers go up by this; what is derived follows within the step."""
    acquisition_time: bool = True
    """Acquisition Time is there, and is of what Content Time is of."""
    content_time: bool = True
    """Content Time is that of the phase; else that of the series."""
    trigger_time: bool = False
    """Trigger Time is the phase's milliseconds since the series began."""
    temporal_position: bool = True
    """Temporal Position Identifier and Number of Temporal Positions."""
    acquisition_number: bool = True
    """Acquisition Number counts the phases."""
    injection_time: bool = True
    """Contrast/Bolus Start Time is stated."""
    agent: str = "GADOBUTROL"
    """Contrast/Bolus Agent after the injection."""
    no_agent: str = ""
    """Contrast/Bolus Agent before it; "" is absent."""
    subtraction_type: tuple[str, ...] = ("DERIVED", "SECONDARY", "MODULUS SUBTRACT")
    mip_type: tuple[str, ...] = ("DERIVED", "SECONDARY", "PROJECTION IMAGE")
    body_part: str | None = "BREAST"
    """Body Part Examined; None is absent. Sites write "CHEST", too."""
    coil: str = ""
    """Receive Coil Name; "" is absent."""


STANDARD = Style(
    Vendor.STANDARD,
    "Phantom",
    ("1",),
    ("ORIGINAL", "PRIMARY", "OTHER"),  # S
    coil="BREAST 8",
)
"""All that the standard has for phases, and nothing else (S)."""

SIEMENS = Style(
    Vendor.SIEMENS,
    "Aera",  # A1
    ("syngo MR E11",),  # A1
    ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),  # A1; 12 bits, unsigned, no rescale: A1, A2
    arrangement=Arrangement.PER_PHASE,  # D1, siemens_folder_lbl: one folder, or three and more
    temporal_position=False,  # A1, A2, A3
    acquisition_number=True,  # A3: of one series with all phases, phase by phase
    injection_time=False,  # A2 has agent, volume and dose, and no times
    agent="1.5cc Magnevist",  # A2: free text
    # D1: "SUB" stands in the description of series whose Image Type is ORIGINAL.
    subtraction_type=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
    # B2, without the empty value.
    mip_type=("DERIVED", "SECONDARY", "PROJECTION IMAGE", "CSA MIP", "M", "ND", "NORM"),
)

GE = Style(
    Vendor.GE,
    "DISCOVERY MR750",  # C
    ("27", "LX", "MR Software release:DV26.0_R01_1725.a"),  # C
    ("ORIGINAL", "PRIMARY", "OTHER"),  # C
    bits_stored=16,  # A4, C
    signed=True,  # A4, C
    arrangement=Arrangement.BY_PHASE,  # D1, ge_folder_lbl; D4: one folder, two, or one a phase
    series_step=1,
    acquisition_time=False,  # A4 has none; C has that of the series
    content_time=True,  # D2: tells the phases of GE and Siemens apart
    trigger_time=True,  # D2, D4: in milliseconds, where Content Time does not
    temporal_position=True,  # D3, and C for their number
    acquisition_number=False,  # C: always 1
    injection_time=False,  # A4: an agent, no times
    no_agent="NONE",  # A4
    coil="8Ch Breast",  # C: "32Ch Head"
)

GE_BY_TRIGGER_TIME = replace(GE, content_time=False)
"""All phases of one Content Time: only Trigger Time tells them apart (D2, D4: "like UKCC")."""

PHILIPS = Style(
    Vendor.PHILIPS,
    "Achieva",  # B1
    ("3.2.2", "3.2.2.0"),  # B1
    ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),  # B1, in (2005,140F); 12 bits, unsigned: B1
    arrangement=Arrangement.BY_PHASE,  # D1: pre and posts are almost always in one folder
    series_step=100,  # D1, philips_folder_lbl: what is original ends in 01
    acquisition_time=True,
    content_time=False,  # D2: Trigger Time tells the phases of Philips apart
    trigger_time=True,  # D2, D3: in milliseconds
    temporal_position=True,  # B1, D2
    acquisition_number=False,  # B1: the number of the series
    injection_time=False,  # B1 has no module for it; nothing else was found
    coil="SENSE-Breast-8",  # B1: "SENSE-Head-8"
)

PHILIPS_PRE_AND_POSTS = replace(PHILIPS, arrangement=Arrangement.PRE_AND_POSTS)
"""D4: two folders, of which the second has all posts; each with a scale of its own (E)."""

ENHANCED_STYLE = replace(STANDARD, family=Family.ENHANCED, arrangement=Arrangement.BY_PHASE)
PHILIPS_ENHANCED = replace(PHILIPS, family=Family.ENHANCED)
"""B1: frames of a stack, Rescale Slope by frame, and the private scale slope in (2005,140F)."""
LEGACY = replace(STANDARD, family=Family.LEGACY, arrangement=Arrangement.BY_PHASE)
LEGACY_PER_PHASE = replace(GE, family=Family.LEGACY, arrangement=Arrangement.PER_PHASE)

STYLES = {
    "standard": STANDARD,
    "Siemens": SIEMENS,
    "Siemens, one series": replace(SIEMENS, arrangement=Arrangement.BY_PHASE),  # A3
    "GE": GE,
    "GE by trigger time": GE_BY_TRIGGER_TIME,
    "GE, a series per phase": replace(GE, arrangement=Arrangement.PER_PHASE),  # D1: "Ph1/..."
    "Philips": PHILIPS,
    "Philips, slice by slice": replace(PHILIPS, arrangement=Arrangement.BY_SLICE),
    "Philips, pre and posts": PHILIPS_PRE_AND_POSTS,
    "enhanced": ENHANCED_STYLE,
    "enhanced, a series per phase": replace(ENHANCED_STYLE, arrangement=Arrangement.PER_PHASE),
    "Philips enhanced": PHILIPS_ENHANCED,
    "legacy converted": LEGACY,
    "legacy converted of GE": LEGACY_PER_PHASE,
}
"""Every style, by name."""
