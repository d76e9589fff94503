"""What the rules examine, and how they call what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.config import Config, FolderSettings, HL7Settings
from node.dimse.addresses import place as address
from node.http.signed_post import host_and_port
from node.ledger import Ledger, schema
from node.manifest import Model
from node.numbers_in_words import counted_studies

MOST_STUDIES = 5
"""That are named in an alarm; of more it says how many there are."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A node, as its rules see it."""

    ledger: Ledger
    config: Config
    models: Mapping[str, Model]
    """Those that it runs; none in a process that only shows the page."""
    place: str
    """The machine and the state folder, as other nodes read it."""

    def can_judge(self, rule: str) -> bool:
        """Return whether it is for this process to say that there is nothing by a rule.

        One that only shows the page has no models, and does not know which of them triage.
        """
        has_models = bool(self.models) or all(one.mode == "off" for one in self.config.models)
        return rule != "no-triage" or has_models

    def destination(self, name: str) -> str:
        """Return a destination's name, and where it is: what a person looks for."""
        for peer in self.config.peers:
            if peer.name == name:
                return f"{name} ({peer.ae_title} at {address(peer.host, peer.port)})"
        for one in self.config.destinations:
            if one.name != name:
                continue
            if isinstance(one, FolderSettings):
                return f"{name} ({one.path})"
            if isinstance(one, HL7Settings):
                return f"{name} ({address(one.host, one.port)})"
            return f"{name} ({host_and_port(one.url)})"
        return f"{name} (not in the configuration any more)"


def first_few(study_uids: Sequence[str]) -> tuple[str, ...]:
    """Return the studies that an alarm names."""
    return tuple(study_uids[:MOST_STUDIES])


def of_which(study_uids: Sequence[str], count: int) -> str:
    """Return ", of which 5 are named", "" if all are."""
    named = len(first_few(study_uids))
    return f" ({named} of {counted_studies(count)} are named)" if named < count else ""


def is_newest(version: sa.FromClause = schema.study_version) -> sa.ColumnElement[bool]:
    """Return that a row, with study_uid and number, is of the newest version of a study."""
    study = schema.study
    return (version.c.study_uid == study.c.study_uid) & (version.c.number == study.c.version)
