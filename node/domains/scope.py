"""Why no model answers a study, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from node.dicom.body_part import body_part_in_words
from node.manifest import Manifest
from node.study import Shown


def why_out_of_scope(shown: Collection[Shown], manifests: Iterable[Manifest]) -> str:
    """Return why a study that shows this is in no model's scope: "no model reads MR".

    The body part is said where another one would be read.
    """
    read = {manifest.input.modality for manifest in manifests}
    kinds = sorted({_kind(one, one.modality in read) for one in shown if one.modality})
    return f"no model reads {', '.join(kinds) or 'it'}"


def _kind(shown: Shown, says_body_part: bool) -> str:
    if not says_body_part:
        return shown.modality
    if not shown.body_part:
        return f"{shown.modality} that does not say its body part"
    return f"{shown.modality} of {body_part_in_words(shown.body_part)}"
