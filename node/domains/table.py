"""Which domains there are, and what they say together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pydicom import Dataset

from node.dicom.body_part import body_part
from node.dicom.untrusted import term, text
from node.domains import plain
from node.domains.breast_mr import domain as breast_mr
from node.domains.domain import Domain
from node.domains.mammography import domain as mammography
from node.manifest import DomainName, Manifest
from node.study import Shown

DOMAINS: Mapping[DomainName, Domain] = {
    "mammography": mammography,
    "plain": plain,
    "breast_mr": breast_mr,
}
"""By their names in a manifest."""


def domain_of(manifest: Manifest) -> Domain:
    """Return the domain of a model."""
    return DOMAINS[manifest.domain]


JUDGED_BY_DETAILS: frozenset[DomainName] = frozenset({"breast_mr"})
"""Those that judge a study by `Shown.details`, of all its objects together."""


def shown_by(header: Dataset) -> Shown:
    """Return what an object shows: what all objects say, and what each domain reads of its own."""
    modality, sop_class = term(header, "Modality"), text(header, "SOPClassUID")
    shown = Shown(modality, sop_class, body_part(header))
    for domain in DOMAINS.values():
        shown = domain.read(header, shown)
    return shown


def is_in_scope(shown: Shown, manifest: Manifest) -> bool:
    """Whether a study with such an object may get an answer of this model."""
    return domain_of(manifest).is_in_scope(shown, manifest.input)


def is_study_in_scope(shown: Collection[Shown], manifest: Manifest) -> bool:
    """Whether a study that shows this, and nothing else, gets an answer of this model."""
    return any(is_in_scope(one, manifest) for one in shown) and not domain_of(
        manifest
    ).why_not_in_scope(shown, manifest.input)


def needs_details(shown: Collection[Shown], manifests: Iterable[Manifest]) -> bool:
    """Whether `Shown.details` are to be asked for, before one of these models is asked of it.

    They are of each object by itself: a study of thousands has thousands.
    """
    return any(
        manifest.domain in JUDGED_BY_DETAILS and is_in_scope(one, manifest)
        for manifest in manifests
        for one in shown
    )


def told_of(shown: Collection[Shown]) -> tuple[str, ...]:
    """Return what the domains take a study for that shows this, and why, line by line."""
    return tuple(line for domain in DOMAINS.values() for line in domain.told(shown))
