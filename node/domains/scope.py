"""Why no model answers a study, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from node.dicom.body_part import body_part_in_words
from node.domains.table import domain_of, is_in_scope
from node.manifest import Manifest
from node.study import Shown


def why_out_of_scope(shown: Collection[Shown], manifests: Iterable[Manifest]) -> str:
    """Return why a study that shows this is in no model's scope: "no model reads MR".

    The body part is said where another one would be read; and what a domain judged it by, where
    that takes the whole study: "no model reads SR, MR of KNEE: Body Part Examined".
    """
    manifests = tuple(manifests)
    read = {manifest.input.modality for manifest in manifests}
    whole = _of_whole_studies(shown, manifests)
    kinds = sorted(
        {
            _kind(one, one.modality in read)
            for one in shown
            if one.modality and one.modality not in whole
        }
    )
    reasons = dict.fromkeys(reason for modality in sorted(whole) for reason in whole[modality])
    return f"no model reads {', '.join((*kinds, *reasons)) or 'it'}"


def _of_whole_studies(
    shown: Collection[Shown], manifests: Iterable[Manifest]
) -> dict[str, list[str]]:
    """Return by modality why models do not read what is in their scope object by object."""
    found: dict[str, list[str]] = {}
    for manifest in manifests:
        if any(is_in_scope(one, manifest) for one in shown):
            why = domain_of(manifest).why_not_in_scope(shown, manifest.input)
            if why:
                found.setdefault(manifest.input.modality, []).append(why)
    return found


def _kind(shown: Shown, says_body_part: bool) -> str:
    if not says_body_part:
        return shown.modality
    if not shown.body_part:
        return f"{shown.modality} that does not say its body part"
    return f"{shown.modality} of {body_part_in_words(shown.body_part)}"
