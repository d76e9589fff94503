"""Which models a study is for, and what they wait for, judged of all that has come of it.

What a domain judges by the details of each object is judged anew only when something has come or
changed: a study of thousands of slices is not read each second.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from node.domains.domain import Awaited
from node.domains.scope import why_out_of_scope
from node.domains.table import DOMAINS, is_study_in_scope, needs_details
from node.ledger import Arrival, Settling
from node.manifest import Manifest
from node.study import Shown


@dataclass(frozen=True, slots=True)
class StudyScope:
    """What is known of a study that is being received, or held."""

    names: frozenset[str]
    """Of the models that it is for."""
    awaited: Awaited
    why_not: str = ""
    """If it is for none."""


class StudyScopes:
    """The scope of each study that is looked at again and again."""

    def __init__(self, settling: Settling, manifests: Sequence[Manifest]) -> None:
        """Make one for these models."""
        self._settling = settling
        self._manifests = tuple(manifests)
        self._known: dict[str, tuple[tuple[float, int], StudyScope]] = {}
        """Of studies that are judged by details, with what they were judged at."""

    def of(self, arrival: Arrival) -> StudyScope:
        """Return the scope of a study as it is now."""
        if not needs_details(arrival.shown, self._manifests):
            return _judged(arrival.shown, self._manifests)
        at = (arrival.last_at, arrival.revision)
        known = self._known.get(arrival.study_uid)
        if known is None or known[0] != at:
            shown = self._settling.shown_in_detail(arrival.study_uid)
            known = self._known[arrival.study_uid] = at, _judged(shown, self._manifests)
        return known[1]

    def forget_all_but(self, study_uids: Collection[str]) -> None:
        """Keep in mind these alone: the others are closed, or were released, or have gone."""
        known = self._known.copy()  # sweeps of two threads may be at it
        self._known = {uid: one for uid, one in known.items() if uid in study_uids}


def awaited_by(manifests: Sequence[Manifest], shown: Sequence[Shown]) -> Awaited:
    """Return what the models that a study is in scope of wait for, domain by domain."""
    found = []
    for name, domain in DOMAINS.items():
        if wanted := [manifest.input for manifest in manifests if manifest.domain == name]:
            found.append(domain.awaited(shown, wanted))
    says_more = any(one.in_words for one in found)
    return Awaited(
        what=" and ".join(dict.fromkeys(one.what for one in found if one.what)),
        there=tuple(part for one in found for part in one.there),
        missing=tuple(part for one in found for part in one.missing),
        in_words=", ".join(filter(None, map(words_of_awaited, found))) if says_more else "",
        is_uncounted=any(one.is_uncounted for one in found),
        is_relative=any(one.is_relative for one in found),
        comes_in_parts=any(one.comes_in_parts for one in found),
    )


def words_of_awaited(awaited: Awaited) -> str:
    """Return what is missing, or what there is where that says more; "" if there is nothing to."""
    if awaited.in_words or not awaited.missing:
        return awaited.in_words
    names = ", ".join(awaited.missing)
    is_nothing_there = len(awaited.missing) > 1 and not awaited.there
    return f"none of {names}" if is_nothing_there else f"{names} missing"


def _judged(shown: Sequence[Shown], manifests: Sequence[Manifest]) -> StudyScope:
    meant = [manifest for manifest in manifests if is_study_in_scope(shown, manifest)]
    return StudyScope(
        names=frozenset(manifest.name for manifest in meant),
        awaited=awaited_by(meant, shown),
        why_not="" if meant else why_out_of_scope(shown, manifests),
    )
