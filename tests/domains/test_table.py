"""Which domains there are, and that each knows what is its own."""

from __future__ import annotations

from typing import get_args

import factories
import pytest
from factories import L_CC
from radiographs import radiograph

from node.config import bundled_models_dir
from node.domains.domain import Domain
from node.domains.scope import why_out_of_scope
from node.domains.table import DOMAINS, domain_of, shown_by
from node.manifest import DomainName, load_model
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
        ([Shown("MG", "1", "85562004")], "no model reads MG of 85562004"),
        ([Shown("MG", "1", "DOE, JANE (HAND)")], "no model reads MG of another body part"),
        ([Shown("", "1")], "no model reads it"),
        ([], "no model reads it"),
    ],
)
def test_why_a_study_is_out_of_scope_is_said_in_words(shown: list[Shown], words: str) -> None:
    assert why_out_of_scope(shown, [AREA]) == words
