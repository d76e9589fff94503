"""Checks of what lies in the ledger: what waits for a person, or for nobody. Only read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import groupby

from node.config import Config
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import ConfigError
from node.ledger import COMES_BACK, Excluded, HeldBecause, HeldStudy, Outstanding, Stranded
from node.numbers_in_words import counted_studies
from node.overview.figures import FORGOTTEN_S, Backlog, backlogs
from node.site import existing_ledger

_NAMED = 3
"""Of many studies so many are named; `ai-node studies` lists all."""
_WHAT_RELEASES = {
    HeldBecause.IDENTITY: "Correct it in the archive and send all its images again; "
    "that releases it (docs/corrections.md).",
    HeldBecause.DESTINATION: "Correct it there or here and send its images again; "
    "that releases it (docs/corrections.md).",
    HeldBecause.MISSING: f"{COMES_BACK[0].upper()}{COMES_BACK[1:]} (docs/asked-back.md).",
}


def check_work(config: Config) -> Iterator[Verdict]:
    """Say what is held, given up, or made for nobody, and what a person types next."""
    try:
        ledger = existing_ledger(config)
    except ConfigError:  # no node has run yet, or the check of the database has told
        return
    with contextlib.closing(ledger):
        outstanding = Outstanding(ledger)
        lacking = backlogs(ledger)
        verdicts = [
            *_on_held(outstanding.held()),
            *_on_backlogs(lacking, [*(peer.name for peer in config.peers), *config.receivers]),
            *_on_stranded(outstanding.stranded(FORGOTTEN_S)),
            *_on_excluded(outstanding.excluded()),
        ]
    yield from verdicts
    if all(verdict.state != "failed" for verdict in verdicts):
        waiting = sum(one.studies for one in lacking if not one.is_list)
        words = "nothing is held, given up, or without a destination"
        yield ok("work", f"{words}; on their way: the results of {counted_studies(waiting)}")


def _destinations(config: Config) -> list[str]:
    return [one.name for one in (*config.peers, *config.destinations)]


def _on_held(held: Sequence[HeldStudy]) -> Iterator[Verdict]:
    for because, found in groupby(sorted(held, key=lambda one: one.because), lambda o: o.because):
        studies = list(found)
        which = _named([f"{one.study_uid} ({one.reason})" for one in studies])
        by_hand = f"Look at it; then: ai-node release {studies[0].study_uid}"
        remedy = _WHAT_RELEASES.get(because, by_hand)
        yield failed(
            "work", f"{counted_studies(len(studies))} held, nothing is sent of: {which}", remedy
        )


def _on_backlogs(found: Sequence[Backlog], names: Sequence[str]) -> Iterator[Verdict]:
    for one in found:
        if one.destination not in names:
            count = one.studies + one.given_up
            words = f'{_what(one)} of {counted_studies(count)} are for "{one.destination}"'
            kind = "destination" if one.is_list else "peer"
            retry = ", then: ai-node retry" if one.given_up else "; they are sent then"
            remedy = (
                f'If a {kind} was renamed, call it "{one.destination}" again and restart the '
                f"node{retry}. If it is gone, let one that takes its place have that name."
            )
            yield failed("work", f"{words}, and no {kind} is called that any more", remedy)
        elif one.given_up:
            words = (
                f"sending {_what(one)} of {counted_studies(one.given_up)} to {one.destination} is"
            )
            why = one.why_given_up or "no reason is known"
            remedy = "Mend that; then: ai-node retry"
            yield failed("work", f"{words} given up: {why}", remedy)


def _what(one: Backlog) -> str:
    return "the triage levels" if one.is_list else "the results"


def _on_stranded(stranded: Sequence[Stranded]) -> Iterator[Verdict]:
    reasons = dict.fromkeys(one.reason for one in stranded)
    for reason in reasons:
        which = [one.study_uid for one in stranded if one.reason == reason]
        words = (
            f"nobody gets the results of {counted_studies(len(which))}: {reason}: {_named(which)}"
        )
        remedy = (
            "See that the peer that sent them is called so in the configuration and has "
            'receives = "default", or results_to with the name of one that receives; restart the '
            "node; then: ai-node retry"
        )
        yield failed("work", words, remedy)


def _on_excluded(found: Sequence[Excluded]) -> Iterator[Verdict]:
    for one in found:
        if not one.is_newcomer:
            yield ok(
                "work", f"{counted_studies(one.excluded)} of {one.sender} excluded, not analysed"
            )
            continue
        words = (
            f"every study of {one.sender} so far ({one.excluded}) is excluded: it is kept and not "
            f"analysed, and nothing comes back; {one.study_uid}: {one.reasons[0]}"
        )
        remedy = (
            f"If it is to be analysed all the same: ai-node release {one.study_uid}. "
            "[intake] in the configuration says which studies are excluded."
        )
        yield warning("work", words, remedy)


def _named(which: Sequence[str]) -> str:
    more = f" and {len(which) - _NAMED} more (ai-node studies)" if len(which) > _NAMED else ""
    return ", ".join(which[:_NAMED]) + more
