"""Which domains there are, and that each knows what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import factories
import pytest
from factories import L_CC
from mr_desk import breast, knee
from mr_models import uptake_model
from radiographs import radiograph

from node.config import bundled_models_dir
from node.domains.domain import Domain
from node.domains.scope import why_out_of_scope
from node.domains.table import (
    DOMAINS,
    JUDGED_BY_DETAILS,
    domain_of,
    is_in_scope,
    is_study_in_scope,
    needs_details,
    shown_by,
)
from node.manifest import DomainName, Manifest, load_model
from node.study import Laterality, Shown, Site

AREA = load_model("breast-area", bundled_models_dir()).manifest


def test_every_domain_that_a_manifest_may_name_is_there() -> None:
    assert DOMAINS.keys() == set(get_args(DomainName))
    assert domain_of(AREA) is DOMAINS["mammography"]


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS.keys())
def test_a_domain_leaves_what_is_not_its_own_as_it_is(domain: Domain) -> None:
    report = Shown("SR", "1.2.840.10008.5.1.4.1.1.88.33", "BREAST")
    assert domain.read(radiograph(), report) == report


def test_a_mammogram_shows_a_side_and_a_radiograph_none() -> None:
    (mammogram,) = factories.exam(views=[L_CC])
    assert shown_by(mammogram).view == L_CC
    assert shown_by(mammogram).site == Site("BREAST", Laterality.LEFT)
    assert shown_by(radiograph()).site == Site("CHEST", None)
    assert shown_by(radiograph()).is_standard


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ([Shown("MR", "1")], "no model reads MR"),
        ([Shown("US", "1"), Shown("CT", "1"), Shown("CT", "2")], "no model reads CT, US"),
        ([Shown("MG", "1", "HAND"), Shown("SR", "1")], "no model reads MG of HAND, SR"),
        ([Shown("MG", "1", "85562004")], "no model reads MG of another body part"),
        ([Shown("MG", "1", "DOE, JANE (HAND)")], "no model reads MG of another body part"),
        ([Shown("", "1")], "no model reads it"),
        ([], "no model reads it"),
    ],
)
def test_why_a_study_is_out_of_scope_is_said_in_words(shown: list[Shown], words: str) -> None:
    assert why_out_of_scope(shown, [AREA]) == words


@pytest.fixture
def of_breasts(tmp_path: Path) -> Manifest:
    return uptake_model(tmp_path / "models").manifest


def test_a_study_that_is_judged_as_a_whole_says_what_it_was_judged_by(
    of_breasts: Manifest, tmp_path: Path
) -> None:
    of_prostate = of_breasts.model_copy(update={"domain": "plain"})
    of_prostate = of_prostate.model_copy(
        update={"input": of_breasts.input.model_copy(update={"body_parts": ("PROSTATE",)})}
    )
    knee_shown = [shown_by(one) for one in knee()]
    why = "MR of KNEE: Body Part Examined"
    for others, words in (
        ([], f"no model reads {why}"),
        ([Shown("US", "1"), Shown("SR", "2")], f"no model reads SR, US, {why}"),
        ([Shown("MG", "1", "HAND")], f"no model reads MG of HAND, {why}"),
    ):
        shown = [*knee_shown, *others]
        assert why_out_of_scope(shown, [AREA, of_breasts, of_prostate, of_breasts]) == words
        assert not is_study_in_scope(shown, of_breasts)
    assert why_out_of_scope(knee_shown, [of_prostate]) == "no model reads MR of KNEE"
    assert why_out_of_scope(knee_shown, [AREA]) == "no model reads MR"


def test_a_study_is_in_scope_as_a_whole_or_not_at_all(of_breasts: Manifest) -> None:
    of_breast = [shown_by(one) for one in breast()]
    assert is_study_in_scope(of_breast, of_breasts)
    assert is_study_in_scope([*of_breast, Shown("MG", "1", "HAND")], of_breasts)
    assert not is_study_in_scope([Shown("MG", "1", "BREAST")], of_breasts)
    assert not is_study_in_scope([], of_breasts)
    by_coil = of_breast[0]
    assert all(is_in_scope(one, of_breasts) for one in [by_coil, *map(shown_by, knee())])


def test_details_are_asked_for_where_a_model_judges_by_them(of_breasts: Manifest) -> None:
    assert DOMAINS.keys() >= JUDGED_BY_DETAILS
    mr, mammogram = Shown("MR", "1"), Shown("MG", "1")
    assert needs_details([mammogram, mr], [AREA, of_breasts])
    assert not needs_details([mammogram], [AREA, of_breasts])
    assert not needs_details([mr], [AREA])
    assert not needs_details([], [of_breasts])


@pytest.mark.parametrize("name", DOMAINS)
def test_only_a_domain_that_is_judged_by_details_reads_any(name: DomainName) -> None:
    """Else its studies would be judged without them: they are not asked for."""
    headers = [factories.exam(views=[L_CC])[0], radiograph(), breast()[0]]
    bare = [Shown(one.Modality, one.SOPClassUID) for one in headers]
    read = [DOMAINS[name].read(*pair) for pair in zip(headers, bare, strict=True)]
    assert any(one.details for one in read) == (name in JUDGED_BY_DETAILS)
