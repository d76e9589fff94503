"""Which domains there are, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset

from node.dicom.body_part import body_part
from node.dicom.untrusted import term, text
from node.domains import plain
from node.domains.domain import Domain
from node.domains.mammography import domain as mammography
from node.manifest import DomainName, Manifest
from node.study import Shown

DOMAINS: Mapping[DomainName, Domain] = {
    "mammography": mammography,
    "plain": plain,
}
"""By their names in a manifest."""


def domain_of(manifest: Manifest) -> Domain:
    """Return the domain of a model."""
    return DOMAINS[manifest.domain]


def shown_by(header: Dataset) -> Shown:
    """Return what an object shows: what all objects say, and what each domain reads of its own."""
    modality, sop_class = term(header, "Modality"), text(header, "SOPClassUID")
    shown = Shown(modality, sop_class, body_part(header))
    for domain in DOMAINS.values():
        shown = domain.read(header, shown)
    return shown


def is_in_scope(shown: Shown, manifest: Manifest) -> bool:
    """Whether a study with such an object gets an answer of this model."""
    return domain_of(manifest).is_in_scope(shown, manifest.input)
