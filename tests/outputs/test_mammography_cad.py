"""The CAD report keeps to TID 4000, and its marks and codes are what the result says.

The tree is read by other code than that which built it: codes are written out here, and every
reference to another content item is followed from the root.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from examples import examples
from factories import L_CC, L_MLO, R_CC, R_MLO
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION, SECONDARY_CAPTURE
from node.outputs import mammography_cad, measurement_report
from node.outputs.case import Draft, Predecessor
from node.outputs.guard import check
from node.outputs.report_set import to_bytes
from node.result import Code, Finding, Measurement, Point, Refusal, Region
from node.study import Laterality, View
from node.trial import phantom
from outputs.drafts import (
    AI_SCORE,
    BREAST,
    DETECTOR,
    MASS,
    PERCENT,
    PROBABILITY_OF_CANCER,
    as_version_2,
    detected,
    draft,
    graded,
    reread,
    scored,
    segmented,
    with_bytes,
    with_damaged,
    with_result,
)

MAMMOGRAPHY_CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
DICOM_MASS = Code("129788004", "SCT", "Mammographic breast mass")
"""Of CID 6016 alone: a composite feature may be one, a single image finding may not."""
CLUSTER = Code("129769006", "SCT", "Calcification Cluster")

EXAM = detected(draft())
NOTHING_FOUND = with_result(EXAM, findings=())
R_XCCL = View(Laterality.RIGHT, "XCCL")
LEFT_OUT = detected(
    draft((*phantom.EXAM, R_XCCL), refuse={R_XCCL: "XCCL is not a view this model reads"})
)
"""A rule left out one view, which is none of those of a screening exam."""
GAP = detected(draft(refuse={R_MLO: "the view is magnified"}))
"""A rule left out the only image of a view."""
(_LEFT,) = GAP.results[0].refused
PARTLY = with_result(GAP, refused=(replace(_LEFT, reason="it cannot be decoded", is_failure=True),))
FAILED = with_result(
    draft(refuse=dict.fromkeys(phantom.EXAM, "implant")), model=DETECTOR, looked_for=(MASS,)
)
GIVEN_UP = with_result(
    NOTHING_FOUND, analysed=(), refused=(), reason="the study ended the process five times"
)
LATER = replace(
    as_version_2(PARTLY),
    predecessors={
        ("mass-detector", "mammography-cad"): Predecessor("2.25.11", MAMMOGRAPHY_CAD_SR, "2.25.12")
    },
)


def of_kind(made: Draft, kind: Code) -> Draft:
    """Return the draft with findings of another kind, which is also what was looked for."""
    findings = [replace(finding, kind=kind) for finding in made.results[0].findings]
    return with_result(made, findings=tuple(findings), looked_for=(kind,))


def one_lesion(made: Draft) -> Draft:
    """Return the draft with all its findings, on three images, called one lesion."""
    findings = [
        replace(finding, lesion="R lesion 1", laterality=Laterality.RIGHT)
        for finding in made.results[0].findings
    ]
    return with_result(made, findings=tuple(findings))


CASES = {
    "findings": EXAM,
    "outlines": segmented(draft()),
    "nothing found": NOTHING_FOUND,
    "one left out": LEFT_OUT,
    "a gap": GAP,
    "partly": PARTLY,
    "partly, nothing found": with_result(PARTLY, findings=()),
    "not analysed": FAILED,
    "given up": GIVEN_UP,
    "version 2": LATER,
    "a kind of its own": of_kind(EXAM, DICOM_MASS),
    "a lesion on three images": one_lesion(EXAM),
}


def report(made: Draft) -> Dataset:
    (dataset,) = mammography_cad.build(made)
    return reread(dataset)


@cache
def report_of(case: str) -> Dataset:
    """Return the report of a case, which nobody changes."""
    return report(CASES[case])


def children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence", []))


def name(item: Dataset) -> str:
    return (
        str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""
    )


def value(item: Dataset) -> str:
    return str(item.ConceptCodeSequence[0].CodeValue)


def below(item: Dataset, code: str = "") -> Iterator[Dataset]:
    """Yield all content items below, or those of one concept name, in the order of the tree."""
    for child in children(item):
        if code in ("", name(child)):
            yield child
        yield from below(child, code)


def one(item: Dataset, code: str) -> Dataset:
    """Return the one child with this concept name."""
    (found,) = [child for child in children(item) if name(child) == code]
    return found


def numbers(item: Dataset) -> dict[str, str]:
    """Return the numbers that are children, by concept, as written."""
    found = {}
    for child in children(item):
        if child.get("ValueType") == "NUM":
            (measured,) = child.MeasuredValueSequence
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            found[name(child)] = f"{measured.NumericValue} {unit}"
    return found


def target(root: Dataset, reference: Dataset) -> str:
    """Return the SOP Instance UID of the image a by-reference relationship leads to."""
    assert "ValueType" not in reference
    first, *way = reference.ReferencedContentItemIdentifier
    assert first == 1
    item = root
    for step in way:
        item = item.ContentSequence[step - 1]
    assert item.ValueType == "IMAGE"
    assert item in children(one(root, "111028"))
    return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def targets(root: Dataset, item: Dataset) -> list[str]:
    """Return what the children of an item that are references lead to."""
    return [target(root, c) for c in children(item) if "ReferencedContentItemIdentifier" in c]


def library(root: Dataset) -> list[str]:
    images = children(one(root, "111028"))
    return [str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in images]


def summary(root: Dataset) -> Dataset:
    return one(root, "111017")


def said(root: Dataset) -> str:
    return str(one(summary(root), "111033").TextValue)


def single_findings(root: Dataset) -> list[Dataset]:
    return list(below(root, "111059"))


def outline(item: Dataset) -> list[float]:
    return [float(coordinate) for coordinate in one(item, "111041").GraphicData]


def as_stored(points: tuple[Point, ...]) -> list[float]:
    """Return coordinates as a reader gets them: Graphic Data (0070,0022) has 32 bits."""
    flat = [coordinate for point in points for coordinate in point]
    return list(struct.unpack(f"<{len(flat)}f", struct.pack(f"<{len(flat)}f", *flat)))


# The document


def test_it_is_an_unverified_preliminary_cad_report_of_the_study() -> None:
    dataset = report(EXAM)
    assert (dataset.SOPClassUID, dataset.Modality) == (MAMMOGRAPHY_CAD_SR, "SR")
    assert (dataset.SeriesNumber, dataset.InstanceNumber) == (9001, 1)
    assert dataset.SeriesDescription == "AI Mass Detector CAD - AI generated"
    assert (dataset.VerificationFlag, dataset.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert (dataset.CompletionFlag, dataset.ContentQualification) == ("COMPLETE", "RESEARCH")
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "4000"


@pytest.mark.parametrize("case", CASES)
def test_it_belongs_to_the_study_and_is_the_same_each_time(case: str) -> None:
    first, again = (mammography_cad.build(CASES[case])[0] for _ in range(2))
    check(CASES[case], first)
    assert to_bytes(first) == to_bytes(again)


def test_only_a_model_that_looks_for_something_gets_one() -> None:
    assert mammography_cad.build(draft()) == []
    assert mammography_cad.build(graded(draft())) == []
    assert mammography_cad.build(scored(draft())) == []
    both = replace(EXAM, results=(*draft().results, *EXAM.results))
    assert [d.SeriesDescription for d in mammography_cad.build(both)] == [
        "AI Mass Detector CAD - AI generated"
    ]


def test_there_is_none_outside_mammography() -> None:
    version = EXAM.version
    instances = tuple(replace(instance, modality="MR") for instance in version.instances)
    mixed = replace(EXAM, version=replace(version, instances=instances))
    assert mammography_cad.build(mixed) == []


def test_a_document_names_the_one_it_replaces() -> None:
    dataset = report(LATER)
    (series,) = dataset.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.11"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.12"
    assert "Version 2, replaces that of 08:42." in said(dataset)
    assert dataset.SeriesInstanceUID == report(PARTLY).SeriesInstanceUID
    assert dataset.SOPInstanceUID != report(PARTLY).SOPInstanceUID
    assert dataset.InstanceNumber > report(PARTLY).InstanceNumber


# The tree


@pytest.mark.parametrize("case", CASES)
def test_the_root_has_the_five_rows_of_the_template_in_order(case: str) -> None:
    root = report_of(case)
    assert (name(root), root.ValueType) == ("111036", "CONTAINER")
    rows = [(child.RelationshipType, child.ValueType, name(child)) for child in children(root)]
    assert rows == [
        ("HAS CONCEPT MOD", "CODE", "121049"),
        ("CONTAINS", "CONTAINER", "111028"),
        ("CONTAINS", "CODE", "111017"),
        ("CONTAINS", "CODE", "111064"),
        ("CONTAINS", "CODE", "111065"),
    ]


@pytest.mark.parametrize("case", CASES)
def test_every_reference_leads_to_an_image_of_the_library_that_is_evidence(case: str) -> None:
    root = report_of(case)
    evidence = [
        str(reference.ReferencedSOPInstanceUID)
        for study in root.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert len(set(library(root))) == len(library(root)) == 4
    assert sorted(evidence) == sorted(library(root))
    references = [i for i in below(root) if "ReferencedContentItemIdentifier" in i]
    assert references
    assert {target(root, reference) for reference in references} <= set(library(root))


@pytest.mark.parametrize("case", CASES)
def test_containers_are_separate_and_our_words_are_ascii(case: str) -> None:
    root = report_of(case)
    for item in [root, *below(root)]:
        if item.get("ValueType") == "CONTAINER":
            assert item.ContinuityOfContent == "SEPARATE"
        assert str(item.get("TextValue", "")).isascii()


def test_the_library_says_how_each_image_was_acquired() -> None:
    images = children(one(report(EXAM), "111028"))
    assert all(name(image) == "" and image.RelationshipType == "CONTAINS" for image in images)
    views = [(value(one(i, "111027")), value(one(i, "111031"))) for i in images]
    assert views == [
        ("73056007", "399162004"),
        ("80248007", "399162004"),
        ("73056007", "399368009"),
        ("80248007", "399368009"),
    ]
    last = images[-1]
    assert (one(last, "111044").TextValue, one(last, "111043").TextValue) == ("A", "FR")
    assert str(one(last, "111060").Date) == str(EXAM.source.StudyDate)
    assert str(one(last, "111019").Time) == "101700"
    assert numbers(last) == {"111026": "720 um", "111066": "720 um"}


def test_the_horizontal_spacing_is_that_of_columns() -> None:
    made = detected(draft([R_CC], change=lambda d: setattr(d, "ImagerPixelSpacing", [0.1, 0.07])))
    (image,) = children(one(report(made), "111028"))
    assert numbers(image) == {"111026": "70 um", "111066": "100 um"}


@pytest.mark.parametrize("scheme", ["SRT", "SCT"])
@pytest.mark.parametrize("is_in_the_view", [True, False])
def test_view_modifiers_are_said_in_the_codes_of_today(scheme: str, is_in_the_view: bool) -> None:
    def displace(dataset: Dataset) -> None:
        modifier = Dataset()
        modifier.CodeValue = "R-102D5" if scheme == "SRT" else "399209000"
        modifier.CodingSchemeDesignator = scheme
        modifier.CodeMeaning = "Implant Displaced"
        place = dataset.ViewCodeSequence[0] if is_in_the_view else dataset
        place.ViewModifierCodeSequence = [modifier]

    (image,) = children(one(report(detected(draft([R_CC], change=displace))), "111028"))
    code = one(one(image, "111031"), "111032").ConceptCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("399209000", "SCT")


def test_what_a_source_says_badly_is_left_out_of_the_library() -> None:
    spoiled = with_bytes(
        detected(draft([R_CC])),
        PatientOrientation=b"P\\UP",
        StudyTime=b"9:30",
        ContentDate=b"20261399",
        ContentTime=b"",
        ImagerPixelSpacing=b"0.07\\fine",
    )
    (image,) = children(one(report(spoiled), "111028"))
    assert [name(child) for child in children(image)] == ["111027", "111031", "111060"]


def test_a_damaged_image_is_named_though_nothing_is_known_of_it() -> None:
    damaged = PARTLY.results[0].refused[0].sop_uid
    headers = {uid: header for uid, header in PARTLY.headers.items() if uid != damaged}
    root = report(replace(PARTLY, headers=headers))
    assert library(root)[-1] == damaged
    assert [name(i) for i in children(children(one(root, "111028"))[-1])] == ["111027", "111031"]


def test_an_object_that_is_no_image_is_not_in_the_library() -> None:
    refused = PARTLY.results[0].refused[0]
    instances = tuple(
        replace(i, sop_class="1.2.840.10008.5.1.4.1.1.66") if i.sop_uid == refused.sop_uid else i
        for i in PARTLY.version.instances
    )
    root = report(replace(PARTLY, version=replace(PARTLY.version, instances=instances)))
    assert refused.sop_uid not in library(root)
    assert value(one(root, "111064")) == "111222"
    assert "Not analysed: R MLO: it cannot be decoded." in said(root)
    assert root.CompletionFlag == "PARTIAL"


def test_what_was_refused_as_damaged_is_told_in_words_for_no_item_can_refer_to_it() -> None:
    root = report(with_damaged(NOTHING_FOUND))
    assert value(one(root, "111064")) == "111222"
    assert "Not analysed: 1 object refused as damaged." in said(root)
    assert root.CompletionFlag == "PARTIAL"


def test_what_a_rule_left_out_is_told_in_words_and_not_called_a_failure() -> None:
    root = report(LEFT_OUT)
    assert LEFT_OUT.results[0].refused[0].sop_uid not in library(root)
    assert "Not analysed: R XCCL: XCCL is not a view this model reads." in said(root)


def test_a_breast_that_was_not_read_is_missed_whyever_it_was_left_out() -> None:
    root = report(GAP)
    assert GAP.results[0].refused[0].sop_uid in library(root)
    assert root.CompletionFlag == "PARTIAL"
    (left_out,) = GAP.results[0].refused
    for sop_class, is_missed in ((MG_FOR_PRESENTATION, True), (SECONDARY_CAPTURE, False)):
        nameless = tuple(
            replace(i, view=None, sop_class=sop_class) if i.sop_uid == left_out.sop_uid else i
            for i in GAP.version.instances
        )
        root = report(replace(GAP, version=replace(GAP.version, instances=nameless)))
        assert (left_out.sop_uid in library(root)) == is_missed


# The outcome


@pytest.mark.parametrize(
    ("case", "findings", "detections", "analyses"),
    [
        ("findings", "111242", "111222", "111222"),
        ("nothing found", "111241", "111222", "111222"),
        ("one left out", "111242", "111222", "111222"),
        ("a gap", "111244", "111223", "111223"),
        ("partly", "111244", "111223", "111223"),
        ("partly, nothing found", "111243", "111223", "111223"),
        ("not analysed", "111245", "111224", "111225"),
        ("given up", "111245", "111224", "111225"),
    ],
)
def test_the_outcome_is_coded(case: str, findings: str, detections: str, analyses: str) -> None:
    root = report_of(case)
    codes = [value(one(root, row)) for row in ("111017", "111064", "111065")]
    assert codes == [findings, detections, analyses]


@pytest.mark.parametrize("case", CASES)
def test_each_image_either_succeeded_or_failed_and_is_listed_as_such(case: str) -> None:
    made = CASES[case]
    root = report(made)
    analysed = list(made.results[0].analysed)
    others = [i.sop_uid for i in made.version.instances if i.sop_uid not in analysed]
    others = [] if case == "one left out" else others
    rows = [("111064", "111063", "111025", "111022")]
    if analysed:
        rows.append(("111065", "111062", "111024", "111004"))
    else:
        assert children(one(root, "111065")) == []
    for row, succeeded, failed, performed in rows:
        found = {name(child): child for child in children(one(root, row))}
        assert list(found) == [c for c, uids in ((succeeded, analysed), (failed, others)) if uids]
        for code, uids in ((succeeded, analysed), (failed, others)):
            if code in found:
                assert found[code].RelationshipType == "INFERRED FROM"
                assert targets(root, one(found[code], performed)) == uids


def test_what_was_looked_for_is_named_with_the_algorithm() -> None:
    root = report(with_result(EXAM, looked_for=(MASS, CLUSTER, BREAST, AI_SCORE)))
    performed = list(below(one(root, "111064"), "111022"))
    assert [value(item) for item in performed] == ["129793001", "129769006", "111099"]
    for item in [*performed, *below(root, "111004"), summary(root), *single_findings(root)]:
        assert one(item, "111001").TextValue == "Mass Detector"
        assert one(item, "111003").TextValue == "1.0.0"


def test_nothing_found_holds_no_impression_of_a_breast() -> None:
    root = report(NOTHING_FOUND)
    assert not list(below(root, "111034"))
    assert said(root).startswith("Processed 4 images, nothing found. AI generated.")
    assert root.CompletionFlag == "COMPLETE"


def test_not_analysed_says_why() -> None:
    assert said(report(FAILED)).startswith("NOT ANALYSED: implant.")
    assert said(report(GIVEN_UP)).startswith("NOT ANALYSED: the study ended the process")
    assert "Not analysed: R MLO: it cannot be decoded." in said(report(PARTLY))
    assert {report(m).CompletionFlag for m in (FAILED, GIVEN_UP, PARTLY)} == {"PARTIAL"}


def test_nothing_is_said_where_no_mammogram_could_be_named() -> None:
    instances = tuple(
        replace(i, sop_class="1.2.840.10008.5.1.4.1.1.66") for i in FAILED.version.instances
    )
    bare = replace(FAILED, version=replace(FAILED.version, instances=instances))
    assert mammography_cad.build(bare) == []


# Findings


def test_a_breast_holds_its_findings_right_before_left() -> None:
    impressions = list(below(report(EXAM), "111034"))
    assert [value(one(i, "111056")) for i in impressions] == ["111150", "111150"]
    assert [[name(c) for c in children(i)] for i in impressions] == [
        ["111056", "111015"],
        ["111056", "111059"],
    ]


def test_a_lesion_on_two_images_is_one_composite_as_sure_as_its_surest_finding() -> None:
    root = report(EXAM)
    (composite,) = below(root, "111015")
    assert value(composite) == MASS.value
    assert [name(child) for child in children(composite)] == [
        *("111056", "112039", "112040", "111016", "111057", "111001", "111003"),
        *("111011", "111047", "111059", "111059"),
    ]
    assert (value(one(composite, "111016")), value(one(composite, "111057"))) == (
        "111154",
        "111158",
    )
    assert numbers(composite) == {"111011": "91 %", "111047": "91 %"}
    singles = children(composite)[-2:]
    assert [single.RelationshipType for single in singles] == ["INFERRED FROM"] * 2
    places = [targets(root, one(single, "111010")) for single in singles]
    by_view = {str(i.view): i.sop_uid for i in EXAM.version.instances}
    assert places == [[by_view["R CC"]], [by_view["R MLO"]]]
    for code, attribute in (("112039", "TextValue"), ("112040", "UID")):
        shared = {str(one(item, code)[attribute].value) for item in (composite, *singles)}
        assert len(shared) == 1
    assert one(composite, "112039").TextValue == "1: R mass, seen on CC and MLO"


def test_a_lesion_on_three_images_is_a_composite_of_two_items_throughout() -> None:
    root = report_of("a lesion on three images")
    outer, inner = below(root, "111015")
    assert [name(child) for child in children(outer)[-2:]] == ["111015", "111059"]
    assert [name(child) for child in children(inner)[-2:]] == ["111059", "111059"]
    assert numbers(outer) == {"111011": "91 %", "111047": "91 %"}
    assert len(single_findings(root)) == 3


def test_findings_on_one_image_stay_single_whatever_they_are_called() -> None:
    first = replace(EXAM.results[0].findings[0], lesion="")
    root = report(with_result(EXAM, findings=(first, replace(first, label="R CC mass 2"))))
    assert not list(below(root, "111015"))
    labels = [str(one(item, "112039").TextValue) for item in single_findings(root)]
    assert labels == ["1: R CC mass", "2: R CC mass"]
    assert len({str(one(item, "112040").UID) for item in single_findings(root)}) == 2


def test_lesions_of_one_name_in_both_breasts_are_two() -> None:
    findings = [replace(f, lesion="lesion 1") for f in segmented(draft()).results[0].findings]
    root = report(with_result(EXAM, findings=tuple(findings)))
    right, left = below(root, "111015")
    assert one(right, "112040").UID != one(left, "112040").UID


def test_a_single_finding_is_tracked_as_in_the_measurement_report() -> None:
    alone = [f for f in EXAM.results[0].findings if not f.lesion]
    made = with_result(EXAM, findings=tuple(alone))
    (finding,) = single_findings(report(made))
    (measured,) = measurement_report.build(made)
    (tracked,) = below(reread(measured), "112040")
    assert one(finding, "112040").UID == tracked.UID
    assert one(finding, "112039").TextValue == "L CC mass"


def test_a_score_that_is_no_probability_is_a_certainty_alone() -> None:
    findings = [
        replace(f, measurements=(replace(f.measurements[0], concept=AI_SCORE),))
        for f in EXAM.results[0].findings
    ]
    root = report(with_result(EXAM, findings=tuple(findings)))
    assert not list(below(root, "111047"))
    assert [numbers(f) for f in single_findings(root)] == [
        {"111012": "87 %"},
        {"111012": "91 %"},
        {"111012": "56 %"},
    ]
    assert "CodingSchemeIdentificationSequence" not in root


def test_a_score_in_another_unit_than_percent_is_not_passed_off_as_one() -> None:
    per_mille = Measurement(
        PROBABILITY_OF_CANCER, 870, Code("[ppth]", "UCUM", "per mille"), 0, is_score=True
    )
    finding = replace(EXAM.results[0].findings[2], measurements=(per_mille,))
    (single,) = single_findings(report(with_result(EXAM, findings=(finding,))))
    assert numbers(single) == {}


def test_an_area_is_written_where_the_template_has_a_row_for_it() -> None:
    root = report_of("outlines")
    areas = [f"{f.measurements[0].value:.1f} cm2" for f in CASES["outlines"].results[0].findings]
    by_place = {
        targets(root, one(f, "111041"))[0]: numbers(f)["42798000"] for f in single_findings(root)
    }
    assert [by_place[uid] for uid in CASES["outlines"].results[0].analysed] == areas
    nipples = of_kind(CASES["outlines"], Code("24142002", "SCT", "Nipple"))
    assert all(numbers(f) == {} for f in single_findings(report(nipples)))


def test_calcifications_are_called_calcifications() -> None:
    root = report(of_kind(EXAM, CLUSTER))
    assert {value(f) for f in single_findings(root)} == {"129769006"}
    assert [value(i) for i in below(root, "111022")] == ["129769006"]


@pytest.mark.parametrize(
    ("kind", "composite"),
    [
        (DICOM_MASS, "129788004"),
        (Code("BLOB", "99AINODE", "Blob"), "111099"),
        (Code("129793001", "99AINODE", "Not what SNOMED means by it"), "111099"),
        (Code("129715009", "SCT", "Breast composition"), "111099"),
    ],
)
def test_a_kind_the_template_has_not_is_a_region_with_a_description(
    kind: Code, composite: str
) -> None:
    root = report(of_kind(EXAM, kind))
    assert [value(item) for item in below(root, "111015")] == [composite]
    assert [value(item) for item in below(root, "111022")] == ["111099"]
    for single, label, score in zip(
        single_findings(root),
        ("1: R CC mass", "1: R MLO mass", "2: L CC mass"),
        ("87 %", "91 %", "56 %"),
        strict=True,
    ):
        assert value(single) == "111099"
        assert numbers(single) == {"111012": score}  # a probability is forbidden here
        described = str(one(single, "111058").TextValue)
        assert described == f"{kind.meaning}. {label}, Probability of cancer: {score}."


EDGE = st.floats(0, 5000, width=32)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])
@given(
    edges=st.tuples(EDGE, EDGE, EDGE, EDGE),
    score=st.floats(0, 100),
    decimals=st.integers(0, 2),
    view=st.sampled_from([R_CC, L_CC, R_MLO, L_MLO]),
)
def test_boxes_and_scores_are_read_back_as_they_were_said(
    edges: tuple[float, float, float, float], score: float, decimals: int, view: object
) -> None:
    left, top, right, bottom = edges
    box = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    image = next(i for i in EXAM.version.instances if i.view == view)
    assert image.view is not None
    finding = Finding(
        label=f"{view} mass",
        kind=MASS,
        laterality=image.view.laterality,
        region=Region(image.sop_uid, box, is_box=True),
        measurements=(Measurement(PROBABILITY_OF_CANCER, score, PERCENT, decimals, is_score=True),),
    )
    root = report(with_result(EXAM, findings=(finding,)))
    (single,) = single_findings(root)
    code = single.ConceptCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == (MASS.value, MASS.scheme)
    written = f"{score:.{decimals}f} %"
    assert numbers(single) == {"111012": written, "111047": written}
    assert one(single, "111041").GraphicType == "POLYLINE"
    assert outline(single) == as_stored(box)
    assert one(single, "111010").GraphicType == "POINT"
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert list(one(single, "111010").GraphicData) == as_stored((middle,))
    for graphic in ("111010", "111041"):
        assert targets(root, one(single, graphic)) == [image.sop_uid]


@pytest.mark.parametrize("case", ["findings", "outlines", "a lesion on three images"])
def test_every_finding_is_there_once_with_its_outline_and_image(case: str) -> None:
    root = report_of(case)
    read = [
        (targets(root, one(f, "111041"))[0], outline(f), targets(root, one(f, "111010"))[0])
        for f in single_findings(root)
    ]
    meant = [
        (f.region.sop_uid, as_stored(f.region.outline), f.region.sop_uid)
        for f in CASES[case].results[0].findings
    ]
    assert sorted(read) == sorted(meant)


# The centre


def is_inside(outline: tuple[Point, ...], point: Point) -> bool:
    """Count the edges below the point: another way round than the node, which goes along rows."""
    x, y = point
    below_it = [
        (ax, ay, bx, by)
        for (ax, ay), (bx, by) in pairwise(outline)
        if (ax > x) != (bx > x) and ay + (x - ax) / (bx - ax) * (by - ay) > y
    ]
    return len(below_it) % 2 == 1


def test_the_centre_of_an_outline_is_its_centroid() -> None:
    triangle = ((1.0, 1.0), (4.0, 1.0), (1.0, 7.0), (1.0, 1.0))
    assert mammography_cad.centre(Region("1", triangle)) == pytest.approx((2.0, 3.0))
    far = tuple((x + 5000, y + 5000) for x, y in reversed(triangle))
    assert mammography_cad.centre(Region("1", far)) == pytest.approx((5002.0, 5003.0))


def test_the_centre_of_a_box_is_its_middle_to_the_last_digit() -> None:
    box = ((38.4, 12.3), (372.9, 12.3), (372.9, 186.0), (38.4, 186.0), (38.4, 12.3))
    middle = ((38.4 + 372.9) / 2, (12.3 + 186.0) / 2)
    assert mammography_cad.centre(Region("1", box, is_box=True)) == middle


def test_the_centre_of_a_crescent_lies_within_it() -> None:
    cup = (
        *((0.0, 0.0), (2.0, 0.0), (2.0, 8.0), (9.0, 8.0), (9.0, 0.0)),
        *((10.0, 0.0), (10.0, 9.0), (0.0, 9.0), (0.0, 0.0)),
    )
    column, row = mammography_cad.centre(Region("1", cup))
    assert column == 1.0  # the middle of the thicker arm, which is left of the centroid
    assert is_inside(cup, (column, row))


@pytest.mark.parametrize(
    "outline",
    [
        ((3.0, 4.0), (5.0, 4.0), (3.0, 4.0)),
        ((4.0, 4.0), (4.0, 4.0), (4.0, 4.0)),
        ((3.0, 3.0), (5.0, 5.0), (5.0, 3.0), (3.0, 5.0), (3.0, 3.0)),
    ],
)
def test_an_outline_around_nothing_has_a_centre_too(outline: tuple[Point, ...]) -> None:
    assert mammography_cad.centre(Region("1", outline)) == (4.0, 4.0)


@settings(max_examples=examples(200))
@given(st.lists(st.floats(1, 400), min_size=5, max_size=40))
def test_the_centre_of_any_outline_lies_within_it(radii: list[float]) -> None:
    """Star-shaped outlines, spiky enough for the centroid of many to lie outside."""
    steps = [2 * math.pi * n / len(radii) for n in range(len(radii))]
    points = [
        (500 + r * math.cos(angle), 500 + r * math.sin(angle))
        for r, angle in zip(radii, steps, strict=True)
    ]
    closed = (*points, points[0])
    centre = mammography_cad.centre(Region("1", closed))
    assume(all(abs(x - centre[0]) > 1e-6 for x, _ in points))
    assert is_inside(closed, centre)


def test_a_refusal_that_is_repeated_names_its_image_once() -> None:
    (refused,) = PARTLY.results[0].refused
    twice = (refused, Refusal(refused.sop_uid, refused.what, "blurred", is_failure=True))
    root = report(with_result(PARTLY, refused=twice))
    assert len(library(root)) == 4
