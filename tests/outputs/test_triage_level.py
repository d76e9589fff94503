"""The triage level in every kind of object: why, what was measured, what it was, and by whom."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset

from node.kinds import KINDS
from node.outputs import encapsulated_pdf, marked_view, sr_triage, summary_page, wording
from node.outputs.case import Draft
from node.result import Code, Measurement, ModelIdentity, Priority
from node.trial import phantom

from .drafts import (
    DEMONSTRATION,
    HIGH,
    MODEL,
    PRODUCT,
    TRIAGE,
    after,
    decided,
    detected,
    draft,
    graded,
    items,
    ranking,
    report_set,
    scored,
    triage_at,
    triaged,
    with_result,
)

URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE
NOT_ASSESSED = Priority.NOT_ASSESSED
EXAM = draft()
LARGE = draft(technique=phantom.Technique())
REPORTS = ("measurement-report", "measurement-report-3d")


def marked(level: Priority, model: ModelIdentity = TRIAGE) -> Draft:
    """Return what a detector says that triages: every kind of object has something to say."""
    return with_result(detected(EXAM), model=model, triage=triage_at(level))


def together(*drafts: Draft) -> Draft:
    return decided(replace(drafts[0], results=tuple(one.results[0] for one in drafts)))


def all_text(tree: Dataset) -> str:
    return " ".join(str(one.value) for one in tree.iterall() if one.keyword == "TextValue")


def page_text(made: Draft) -> str:
    rows = summary_page._rows(made, 20, 900)
    return " ".join(f"{row.left} {row.right}".strip() for row in rows)


def said(made: Draft) -> dict[str, str]:
    """Return all words of every kind of object that has words."""
    trees = {
        kind: " ".join(map(all_text, report_set(made, [kind])))
        for kind in (*REPORTS, "mammography-cad", "key-images")
    }
    pdf = " ".join(encapsulated_pdf._lines(made))
    found = {**trees, "encapsulated-pdf": pdf, "capture": page_text(made)}
    return {kind: words for kind, words in found.items() if words}


def coded_levels(tree: Dataset, concept: Code) -> list[str]:
    found = items(tree, "CODE", concept.value)
    return [str(item.ConceptCodeSequence[0].CodeMeaning) for item in found]


# What is said of a level


@pytest.mark.parametrize("level", list(Priority))
def test_every_kind_of_object_says_level_reason_and_what_it_does_not_say(level: Priority) -> None:
    words = said(marked(level))
    assert words.keys() == {*KINDS} - {"segmentation", "presentation-state"}
    for kind, text in words.items():
        triage = triage_at(level)
        assert str(level) in text.lower(), kind
        assert triage.why.lower() in text.lower(), kind
        assert wording.MEANINGS[level] in text, kind
        assert "research model" in text, kind


def test_routine_is_never_called_anything_that_excludes_disease() -> None:
    for made in (marked(ROUTINE), triaged(EXAM, ROUTINE), after(marked(ROUTINE), URGENT)):
        for kind, text in said(made).items():
            assert "This does not exclude disease." in text, kind
            assert not re.search(r"\b(negative|normal|healthy)\b", text, re.IGNORECASE), kind


def test_what_was_measured_at_the_operating_point_is_said_whole() -> None:
    words = (
        "Operating point high (at least 71 %): sensitivity 62 % (95 % interval 55 % to 69 %) "
        "of 210 with the disease, specificity 90 % (95 % interval 88.2 % to 91.8 %) "
        "of 1180 without; "
        "measured on: women of a screening set that the weights never saw."
    )
    for kind, text in said(marked(URGENT)).items():
        assert words in " ".join(text.split()), kind


def test_the_score_that_decided_is_told_and_its_rank_among_those_without_the_disease() -> None:
    for kind, text in said(marked(URGENT)).items():
        assert "L breast AI score 72 %: at or above the operating point high (71 %)." in text, kind
        assert "This score is higher than 97 of 100 without the disease." in text, kind
    named = replace(triage_at(URGENT), among="women of one city.")
    for kind, text in said(with_result(marked(URGENT), triage=named)).items():
        assert "This score is higher than 97 of 100 women of one city." in text, kind
    unranked = with_result(marked(URGENT), triage=replace(triage_at(URGENT), rank=None))
    assert all("without the disease." not in text for text in said(unranked).values())


def test_a_threshold_is_in_the_unit_of_the_score_it_is_compared_with() -> None:
    score = Measurement(Code("AISCORE", "99AINODE", "AI score"), 0.784, Code("1", "UCUM", ""), 3)
    triage = replace(triage_at(URGENT), score=score)
    assert wording.threshold(triage, HIGH) == "0.71"
    assert wording.threshold(triage_at(URGENT), replace(HIGH, threshold=0.123456)) == "12.3456 %"


def test_models_that_do_not_triage_say_nothing_of_a_level() -> None:
    for made in (EXAM, detected(EXAM), scored(EXAM), graded(EXAM)):
        for kind, text in said(made).items():
            assert not re.search("priority|triage|not assessed|routine", text, re.IGNORECASE), kind


# Codes


@pytest.mark.parametrize("level", list(Priority))
@pytest.mark.parametrize("kind", REPORTS)
def test_the_level_is_coded_in_reports_with_regions_and_without(level: Priority, kind: str) -> None:
    for made in (marked(level), triaged(EXAM, level)):
        (tree,) = report_set(made, [kind])
        assert coded_levels(tree, sr_triage.TRIAGE_LEVEL) == [str(level)]
        assert coded_levels(tree, sr_triage.LEVEL_BEFORE) == []
        (scheme,) = tree.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == "99AINODE"


def test_a_study_of_which_nothing_was_analysed_has_its_level_in_code_and_words() -> None:
    made = with_result(
        draft(refuse=dict.fromkeys(phantom.EXAM, "For Processing")),
        model=TRIAGE,
        triage=triage_at(NOT_ASSESSED),
    )
    (tree,) = report_set(made, ["measurement-report"])
    assert coded_levels(tree, sr_triage.TRIAGE_LEVEL) == ["not assessed"]
    assert "AI triage level: not assessed (research model)." in all_text(tree)


def test_codes_fit_where_codes_stand() -> None:
    concepts = (sr_triage.TRIAGE_LEVEL, sr_triage.LEVEL_OF_MODEL, sr_triage.LEVEL_BEFORE)
    codes = [*sr_triage.LEVEL_CODES.values(), *concepts]
    assert all(len(code.value) <= 16 for code in codes)
    assert len({code.value for code in codes}) == len(Priority) + 3


# Changes


def test_a_level_that_was_lowered_is_told_in_every_object_and_in_code() -> None:
    made = after(marked(ROUTINE), URGENT, SOON)
    words = "AI triage level changed: urgent in version 1, soon in version 2, now routine."
    for kind, text in said(made).items():
        assert words in text, kind
    (tree,) = report_set(made, ["measurement-report"])
    assert coded_levels(tree, sr_triage.TRIAGE_LEVEL) == ["routine"]
    assert coded_levels(tree, sr_triage.LEVEL_BEFORE) == ["urgent", "soon"]


def test_a_level_that_rose_is_told_and_one_that_stayed_is_not() -> None:
    assert "routine in version 1, now urgent" in page_text(after(marked(URGENT), ROUTINE))
    assert all("changed" not in text for text in said(after(marked(URGENT), URGENT)).values())


def test_a_level_that_no_model_gives_any_more_is_told_by_those_that_are_left() -> None:
    words = "AI triage level changed: urgent in version 1, now none: no model gives one any more."
    for kind, text in said(after(detected(EXAM), URGENT)).items():
        assert words in text, kind


def test_a_model_that_does_not_triage_leaves_the_change_to_the_one_that_does() -> None:
    made = after(together(detected(EXAM), triaged(EXAM, ROUTINE)), URGENT)
    other, own = report_set(made, ["measurement-report"])
    assert "changed" not in all_text(other)
    assert "urgent in version 1, now routine" in all_text(own)


# Whose level


def test_a_report_says_if_another_model_has_decided() -> None:
    second = replace(TRIAGE, name="second", title="Second", device_uid="2.25.9")
    made = together(triaged(EXAM, ROUTINE), triaged(EXAM, URGENT, second))
    first, deciding = (all_text(tree) for tree in report_set(made, ["measurement-report"]))
    assert "AI triage level: routine (research model)." in first
    assert "The level of the study is urgent (research model), by Second." in first
    assert "The level of the study" not in deciding
    for tree, own in zip(
        report_set(made, ["measurement-report"]), ("routine", "urgent"), strict=True
    ):
        assert coded_levels(tree, sr_triage.TRIAGE_LEVEL) == ["urgent"], "the study's, in each"
        assert coded_levels(tree, sr_triage.LEVEL_OF_MODEL) == [own]
    assert page_text(made).startswith("Urgent AI triage level by Second, a research model")
    assert "AI triage level: routine (research model)." in page_text(made)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (PRODUCT, "urgent"),
        (TRIAGE, "urgent (research model)"),
        (DEMONSTRATION, "urgent (demonstration model)"),
    ],
)
def test_what_kind_of_model_gave_a_level_stands_beside_it(model: ModelIdentity, name: str) -> None:
    made = ranking(triaged(EXAM, URGENT, model))
    (tree,) = report_set(made, ["measurement-report"])
    assert f"AI triage level: {name}." in all_text(tree)
    (item,) = items(tree, "CODE", sr_triage.TRIAGE_LEVEL.value)
    assert item.ContentSequence[0].TextValue == f"AI triage level: {name}"


def test_a_demonstration_gives_the_study_no_level_and_says_so() -> None:
    made = triaged(EXAM, URGENT, DEMONSTRATION)
    assert made.level is None
    words = "It gives the study no level, for it is a demonstration model."
    (tree,) = report_set(made, ["measurement-report"])
    assert coded_levels(tree, sr_triage.TRIAGE_LEVEL) == []
    assert coded_levels(tree, sr_triage.LEVEL_OF_MODEL) == ["urgent"]
    for text in (all_text(tree), page_text(made)):
        assert words in text
        assert "AI triage level: urgent (demonstration model)." in text
    assert not page_text(made).startswith("Urgent")
    allowed = ranking(made)
    assert allowed.level is URGENT
    assert words not in page_text(allowed)
    assert page_text(allowed).startswith("Urgent AI triage level by Breast Triage, a demonstration")


# Pictures


def test_the_level_is_the_largest_of_the_summary_and_is_never_left_out() -> None:
    rows = list(summary_page._rows(triaged(EXAM, URGENT), 24, 900))
    assert rows[0].left == "Urgent"
    assert rows[0].colour == marked_view.LEVEL_COLOURS[URGENT]
    assert rows[0].scale > max(row.scale for row in rows[1:])
    crowded = with_result(
        triaged(EXAM, URGENT), statements=tuple(f"Sentence {n}. " * 12 for n in range(40))
    )
    _, shown = summary_page.fitted(crowded, (700, 1000))
    assert shown[0].left == "Urgent"
    assert "no room for" in shown[-1].left


def head_has(pixels: np.ndarray, level: Priority) -> bool:
    """Whether the colour of a level is in the band above the picture."""
    band = pixels[: pixels.shape[0] // 14]
    return bool((band == marked_view.LEVEL_COLOURS[level]).all(axis=-1).any())


def test_every_capture_of_a_view_names_the_level_in_its_head() -> None:
    made = with_result(detected(LARGE), triage=triage_at(URGENT))
    sop_uid = made.version.instances[0].sop_uid
    assert head_has(marked_view.draw_marked_view(made, sop_uid), URGENT)
    untriaged = detected(LARGE)
    assert not head_has(marked_view.draw_marked_view(untriaged, sop_uid), URGENT)
    scores = with_result(scored(LARGE), triage=triage_at(URGENT))
    (result,) = scores.results
    assert head_has(marked_view.draw_heat_map(scores, result, result.heat_maps[0]), URGENT)


def test_a_demonstration_s_level_is_in_the_head_of_no_capture_unless_it_may_rank() -> None:
    made = with_result(detected(LARGE), model=DEMONSTRATION, triage=triage_at(URGENT))
    sop_uid = made.version.instances[0].sop_uid
    assert not head_has(marked_view.draw_marked_view(made, sop_uid), URGENT)
    allowed = ranking(made)
    assert head_has(marked_view.draw_marked_view(allowed, sop_uid), URGENT)


# Series Descriptions


def descriptions(made: Draft) -> dict[str, str]:
    kinds = ("measurement-report", "capture", "key-images")
    return {str(d.SeriesInstanceUID): str(d.SeriesDescription) for d in report_set(made, kinds)}


@pytest.mark.parametrize(
    ("level", "model", "begin"),
    [
        (URGENT, PRODUCT, "AI URGENT Breast Triage "),
        (URGENT, TRIAGE, "AI URGENT (research) Breast Triage "),
        (SOON, PRODUCT, "AI SOON Breast Triage "),
        (NOT_ASSESSED, PRODUCT, "AI NOT ASSESSED Breast Triage "),
        (ROUTINE, PRODUCT, "AI Breast Triage "),
    ],
)
def test_where_a_preset_wants_it_series_descriptions_begin_with_the_level(
    level: Priority, model: ModelIdentity, begin: str
) -> None:
    made = marked(level, model)
    wanted = descriptions(replace(made, has_level_in_lists=True))
    assert all(words.startswith(begin) for words in wanted.values())
    assert all(len(words) <= 64 for words in wanted.values())
    plain = descriptions(made)
    assert all(words.startswith("AI Breast Triage ") for words in plain.values())
    assert (wanted.keys() == plain.keys()) == (level is ROUTINE), "other words, another series"


def test_a_long_title_gives_way_to_the_level() -> None:
    model = replace(DEMONSTRATION, title="A Very Long Title Of A Model That Triages Mammograms")
    made = ranking(marked(NOT_ASSESSED, model))
    for words in descriptions(replace(made, has_level_in_lists=True)).values():
        assert words.startswith("AI NOT ASSESSED (demonstration) A ")
        assert words.endswith(" - AI generated")
        assert len(words) <= 64


def test_a_level_that_leaves_no_room_for_the_title_cuts_nothing_else() -> None:
    made = ranking(with_result(EXAM, model=DEMONSTRATION, triage=triage_at(NOT_ASSESSED)))
    made = replace(made, has_level_in_lists=True)
    found = {str(d.SeriesDescription) for d in report_set(made, ["segmentation"])}
    assert "AI NOT ASSESSED (demonstration) R MLO Segmentation" in found
    assert all(len(words) <= 64 for words in found)


def test_the_series_of_another_model_is_not_called_urgent() -> None:
    other = with_result(detected(EXAM), model=MODEL)
    made = replace(together(other, triaged(EXAM, URGENT)), has_level_in_lists=True)
    reports = report_set(made, ["measurement-report"])
    begins = [str(tree.SeriesDescription).split(" Report")[0] for tree in reports]
    assert begins == ["AI Breast Area", "AI URGENT (research) Breast Triage"]
