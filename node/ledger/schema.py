"""The ledger's tables, one schema for SQLite and PostgreSQL. Times are epoch seconds, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from node.ledger.states import (
    CommitmentState,
    DeliveryState,
    DispatchState,
    HeldBecause,
    InstanceState,
    MessageKind,
    Mode,
    NoticeEvent,
    NoticeState,
    Role,
    Stage,
    StudyState,
    VersionState,
    WebRole,
)
from node.result import Priority

FORMER: Mapping[type[StrEnum], Mapping[str, StrEnum]] = {
    InstanceState: {"rejected": InstanceState.WITHDRAWN},
    VersionState: {
        "rejected": VersionState.WITHDRAWN,
        "not analysed": VersionState.EXCLUDED,
    },
}
"""Words of the former release. Migration 0007 replaced them while all nodes were stopped; one that
was frozen meanwhile may write them when it wakes up, and they are read as what they mean."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _text(name: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable, primary_key=primary_key)


def _whole(
    name: str, *, default: str | None = None, nullable: bool = False, primary_key: bool = False
) -> sa.Column[int]:
    return sa.Column(
        name, sa.Integer, nullable=nullable, primary_key=primary_key, server_default=default
    )


class _Word(sa.types.TypeDecorator[StrEnum]):
    """A text that is one of an enumeration's, in Python a member of it."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words
        self._found = {str(word): word for word in words} | dict(FORMER.get(words, {}))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(self.words(value))

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> StrEnum | None:
        # By a dictionary: a list reads thousands of them, and an enumeration takes its time.
        return None if value is None else self._found.get(value) or self.words(value)


_LEVELS: Mapping[Any, Priority] = {str(level): level for level in Priority}


class _Level(sa.types.TypeDecorator[Priority]):
    """A triage level in words, in Python a Priority."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Priority | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(Priority(value))

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> Priority | None:
        return _LEVELS.get(value)


def is_one_of(column: str, words: type[StrEnum]) -> str:
    """Return the SQL of the CHECK of a column that holds such words."""
    allowed = ", ".join(f"'{word}'" for word in (*words, *FORMER.get(words, {})))
    return f"{column} IN ({allowed})"


def _word(
    name: str, words: type[StrEnum], *, nullable: bool = False, default: StrEnum | None = None
) -> sa.Column[StrEnum]:
    check = sa.CheckConstraint(is_one_of(name, words), name=name)
    server = None if default is None else str(default)
    return sa.Column(name, _Word(words), check, nullable=nullable, server_default=server)


def _level() -> sa.Column[Priority]:
    """Return the column of a triage level; there is none if no model gives one."""
    allowed = ", ".join(f"'{level}'" for level in Priority)
    check = sa.CheckConstraint(f"level IN ({allowed})", name="level")
    return sa.Column("level", _Level(), check, nullable=True)


def _is_demonstration() -> sa.Column[bool]:
    """Return the column that says whether the level beside it is a demonstration's."""
    return sa.Column("is_demonstration", sa.Boolean, nullable=False, server_default=sa.false())


def _time(name: str, *, nullable: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=nullable)


installation = sa.Table(
    "installation",
    metadata,
    _text("id", primary_key=True),
    _time("created_at", nullable=False),
    _text("moved_to", nullable=True),  # where all of it is now: no node runs on this one
    _time("moved_at"),
    _text("moving", nullable=True),  # JSON: how far a copy into this ledger is that is not whole
    _time("backed_up_at"),  # when the last backup that is whole began
    _text("backed_up_to", nullable=True),
    _time("backup_until"),  # while a backup copies, no file of the store goes; it renews this
    _text("backup_to", nullable=True),  # where the one that copies now puts it
)

node = sa.Table(
    "node",
    metadata,
    _text("id", primary_key=True),  # a new one at each start
    _text("place", nullable=True),  # its state folder: only one process at a time has it
    _word("role", Role, nullable=True),
    _time("started_at", nullable=False),
    _time("beat_at", nullable=False),
    _time("stopped_at"),
    _text("ill", nullable=True),  # JSON: {part: [since when, what is wrong]}, of those that are
)

association = sa.Table(
    "association",
    metadata,
    _text("id", primary_key=True),
    _text("node_id"),
    _text("peer"),
    _time("opened_at", nullable=False),
    _time("closed_at"),
    sa.Index(None, "closed_at"),
)

peer = sa.Table(
    "peer",  # when each was last heard of, and what last went wrong with it
    metadata,
    _text("name", primary_key=True),
    _time("seen_at"),  # it came with an association
    _time("object_at"),  # an object that it sent was kept
    _time("sent_at"),  # it accepted an object of ours
    _time("failed_at"),  # it refused something of ours, or could not be reached
    _text("failure", nullable=True),
    _time("rejected_at"),  # something that it sent was not taken
    _text("rejection", nullable=True),
)

study = sa.Table(
    "study",
    metadata,
    _text("study_uid", primary_key=True),
    _text("sender"),  # the peer whose settings say where results go
    _word("state", StudyState),
    _text("held_reason", nullable=True),  # if there is one: nothing is analysed or sent
    _word("held_because", HeldBecause, nullable=True),
    _text("identity"),  # digests of identity.IDENTIFYING, "-" if not said
    _whole("version", default="0"),  # the newest one
    _whole("revision", default="0"),  # one more whenever what was known of its images changes
    _text("revision_reason", nullable=True),
    sa.Column("is_by_hand", sa.Boolean, nullable=False, server_default=sa.false()),  # not excluded
    _level(),  # of the newest version that is finished, or higher: found by the next, or held
    _is_demonstration(),
    _time("first_at", nullable=False),  # of the version now being received
    _time("last_at", nullable=False),
    # What people know it by, of the object that came last and said it; "" if none does. Empty in
    # the rows of releases before 0013.
    _text("accession_number", nullable=True),
    _text("patient_id", nullable=True),
    _text("patient_name", nullable=True),
    _text("study_date", nullable=True),  # as sent: "20261128"
    _text("study_description", nullable=True),
    # Unlike last_at not moved by a release. The default is SQLite's, to add it; each row says it.
    sa.Column("last_image_at", sa.Double, nullable=False, server_default="0"),
    _time("read_at"),  # when somebody said that it has been read; nothing may come after it
    _text("read_by", nullable=True),
    # What a person lets nobody remove (`ai-node hold`): since when, who, and why.
    _time("kept_at"),
    _text("kept_by", nullable=True),
    _text("kept_why", nullable=True),
    # Since when nothing of it is left to remove; what comes later begins anew. Which files there
    # are, only the rows of the objects say.
    _time("images_removed_at"),
    _time("neighbours_removed_at"),  # what no model reads of a study that is done
    _time("results_removed_at"),
    _time("recalled_at"),  # when its rows were last made again of what was remembered of it
    sa.Index(None, "state"),
    sa.Index(None, "accession_number"),
    sa.Index(None, "patient_id"),
    sa.Index(None, "last_image_at"),
    sa.Index(None, "sender", "last_image_at"),
    sa.Index(  # what somebody should read, of each level the one first that has waited longest
        "ix_study_open",
        "level",
        "last_image_at",
        "study_uid",
        sqlite_where=sa.text("read_at IS NULL"),
        postgresql_where=sa.text("read_at IS NULL"),
    ),
    sa.Index(
        "ix_study_demonstration",
        "study_uid",
        sqlite_where=sa.text("is_demonstration = 1"),
        postgresql_where=sa.text("is_demonstration"),
    ),
    sa.Index(  # whose images may be removed, the oldest first
        "ix_study_with_images",
        "last_at",
        "study_uid",
        sqlite_where=sa.text("images_removed_at IS NULL"),
        postgresql_where=sa.text("images_removed_at IS NULL"),
    ),
    sa.Index(
        "ix_study_with_results",
        "last_at",
        "study_uid",
        sqlite_where=sa.text("results_removed_at IS NULL"),
        postgresql_where=sa.text("results_removed_at IS NULL"),
    ),
    sa.Index(  # what may be forgotten
        "ix_study_removed",
        "last_at",
        "study_uid",
        sqlite_where=sa.text("images_removed_at IS NOT NULL"),
        postgresql_where=sa.text("images_removed_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_study_kept",
        "study_uid",
        sqlite_where=sa.text("kept_at IS NOT NULL"),
        postgresql_where=sa.text("kept_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_study_held",
        "study_uid",
        sqlite_where=sa.text("held_reason IS NOT NULL"),
        postgresql_where=sa.text("held_reason IS NOT NULL"),
    ),
)

_UNCLAIMED = sa.text(f"warmed_at IS NULL AND version IS NULL AND state = '{InstanceState.CURRENT}'")

instance = sa.Table(
    "instance",
    metadata,
    _text("sop_uid", primary_key=True),
    _text("study_uid"),
    _text("series_uid"),
    _text("sop_class"),
    _text("transfer_syntax"),
    _text("modality"),
    _text("body_part", nullable=True),  # "BREAST", "" if not said; of earlier releases not known
    _text("view", nullable=True),  # "R MLO"
    sa.Column("is_standard", sa.Boolean, nullable=False),  # whether it stands for its view
    _text("details", nullable=True),  # what a domain judges a study by; of before 0016 not known
    _text("path"),
    _text("digest"),
    _text("identity", nullable=True),  # as study.identity, but of this object alone
    sa.Column("intake", sa.Text, key="why_excluded"),  # and so, if all are, its study
    _time("warmed_at"),  # when somebody began to score it as it arrived
    _word("state", InstanceState),
    _whole("version", nullable=True),  # of the study; empty until the closing transaction
    _text("association_id"),
    _time("received_at", nullable=False),
    _time(
        "committed_at"
    ),  # when a peer was first to be told that we keep it: it may delete its own
    sa.Column("size_bytes", sa.BigInteger, nullable=True),  # not known of releases before 0015
    # Of an object whose file is removed, to tell what comes again from it.
    _time("removed_at"),
    _text("pixels_digest", nullable=True),  # imaging.digests.encoded_digest
    _text("header_digest", nullable=True),  # receive.header_changes: of all that may matter
    sa.Index(None, "study_uid"),
    sa.Index(  # what a peer may have deleted, for we promised to keep it
        "ix_instance_committed",
        "study_uid",
        "size_bytes",
        sqlite_where=sa.text("committed_at IS NOT NULL"),
        postgresql_where=sa.text("committed_at IS NOT NULL"),
    ),
    sa.Index(None, "study_uid", "association_id"),  # which it came with, each looked at once
    sa.Index(None, "study_uid", "state", "identity"),  # who is spoken of, however many say so
    sa.Index(  # what may be scored as it arrives, and nothing else
        "ix_instance_unclaimed",
        "modality",
        "received_at",
        sqlite_where=_UNCLAIMED,
        postgresql_where=_UNCLAIMED,
    ),
)

former_instance = sa.Table(
    "former_instance",  # as it was before it came again with a corrected header
    metadata,
    _text("sop_uid", primary_key=True),
    _text("digest", primary_key=True),
    _text("path"),
    _time("received_at", nullable=False),
    _time("replaced_at", nullable=False),
    _time("removed_at"),
    _text("header_digest", nullable=True),
)

damaged_object = sa.Table(
    "damaged_object",  # what was refused as damaged, until it comes whole
    metadata,
    _text("object_key", primary_key=True),  # its SOP Instance UID, else a digest
    _text("study_uid", nullable=True),  # none: of the studies of its association
    _text("association_id"),
    _text("reason"),
    _time("came_at", nullable=False),
    sa.Index(None, "study_uid"),
    sa.Index(None, "association_id"),
    sa.Index(None, "came_at"),
)

rejection = sa.Table(
    "rejection",  # what an IOCM rejection note says must not be used
    metadata,
    _text("sop_uid", primary_key=True),
    _text("study_uid", primary_key=True),  # a note speaks for its own study only
    _text("note_sop_uid"),
    _text("reason"),
    sa.Index(None, "study_uid"),
)

_STRANDED = sa.text(f"state = '{VersionState.FINISHED}' AND error IS NOT NULL")

study_version = sa.Table(
    "study_version",
    metadata,
    _text("study_uid", primary_key=True),
    _whole("number", primary_key=True),
    _text("reason"),
    _word("state", VersionState),
    _whole("revision", default="0"),  # of the study, when it was closed
    _whole("damaged", default="0"),  # how many of its objects had been refused as damaged then
    _whole("attempt", default="1"),  # which attempt's commit counts
    _whole("crashes", default="0"),  # how often the node that ran it died
    _whole("failures", default="0"),  # how often it failed: its inference process died, or we did
    _whole("troubles", default="0"),  # how often the machine failed: counts against nobody
    _text("owner", nullable=True),  # the node that runs it
    _text("error", nullable=True),
    # JSON: {destination: [kinds]}, as when it was closed; empty: of a release before 0015, or it
    # is not analysed.
    _text("directions", nullable=True),
    _word("stage", Stage, default=Stage.REPORT),
    _text("level_by", nullable=True),  # the model whose level it is
    _time("due_at"),  # its place in the queue: ledger.order; empty: of a release before 0014
    _level(),
    _is_demonstration(),
    _time("closed_at", nullable=False),
    _time("last_image_at", nullable=False),
    _time("decided_at"),  # the time its objects carry
    _time("finished_at"),
    sa.Index(None, "state"),
    sa.Index(  # whose results are there, and go nowhere; SQLite takes it only if it says both
        "ix_study_version_stranded",
        "state",
        "error",
        sqlite_where=_STRANDED,
        postgresql_where=_STRANDED,
    ),
)

analysis = sa.Table(
    "analysis",
    metadata,
    _text("study_uid", primary_key=True),
    _whole("number", primary_key=True),
    _text("model", primary_key=True),
    _text("model_version"),
    _text("weights_sha256"),
    _text("package_digest", nullable=True),  # of a release before 0015: not known
    _text("levels_from", nullable=True),  # JSON: [urgent, soon], the operating points, if chosen
    _word("mode", Mode),
    _text("result", nullable=True),  # JSON of result.Result
    _text("priority", nullable=True),  # not used: a level stands in the result
    # What lists and figures need of the result, which may be long; empty until there is one, and
    # in the rows of releases before 0013.
    _text("brief", nullable=True),  # in a few words
    _level(),  # which this model gives, whoever may rank
    sa.Column("score", sa.Double, nullable=True),  # 0..1, the one that decides the level, or sole
    _whole("analysed", nullable=True),  # images
    _text("refusals", nullable=True),  # JSON: {reason: how many images}
    _time("finished_at"),
    sa.Index(  # all that is counted, for a row lies behind its result
        "ix_analysis_figures", "model", "mode", "finished_at", "level", "score", "analysed"
    ),
)

image_score = sa.Table(
    "image_score",
    metadata,
    _text("instance_digest", primary_key=True),  # pipeline.image_digest_of: the image, no patient
    _text("model_digest", primary_key=True),  # model, provider, our own code
    _text("score"),  # JSON of result.UnitScore
    sa.Column("made_at", sa.Double, nullable=False, server_default="0"),
    sa.Index(None, "made_at"),
)

report = sa.Table(
    "report",
    metadata,
    _text("sop_uid", primary_key=True),
    _text("study_uid"),
    _whole("number"),
    _whole("position"),  # the order in which the set is sent
    _text("kind", nullable=True),  # kinds.KINDS; empty if a release before 0005 wrote the row
    _text("sop_class"),
    _text("path"),
    _text("digest"),
    sa.Column("size_bytes", sa.BigInteger, nullable=True),  # not known of releases before 0015
    _time("removed_at"),
    # What the next version names it by; empty if a release before 0015 built it.
    _text("series_uid", nullable=True),
    _text("made_by", nullable=True),  # JSON: [Manufacturer's Model Name of each model]
    sa.Index(None, "study_uid", "number"),
)

KIND_BY_SOP_CLASS = {
    "1.2.840.10008.5.1.4.1.1.7": "capture",
    "1.2.840.10008.5.1.4.1.1.88.33": "measurement-report",
    "1.2.840.10008.5.1.4.1.1.88.34": "measurement-report-3d",
    "1.2.840.10008.5.1.4.1.1.88.50": "mammography-cad",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.11.1": "presentation-state",
    "1.2.840.10008.5.1.4.1.1.88.59": "key-images",
    "1.2.840.10008.5.1.4.1.1.104.1": "encapsulated-pdf",
}
"""What reports are whose rows do not say it: in the releases that wrote those, each SOP class had
one kind. Nothing is ever added here."""

report_kind = sa.func.coalesce(
    report.c.kind, sa.case(KIND_BY_SOP_CLASS, value=report.c.sop_class)
).label("kind")
"""The kind of a report, whichever release wrote its row."""

dispatch = sa.Table(
    "dispatch",
    metadata,
    _text("study_uid", primary_key=True),
    _whole("number", primary_key=True),
    _text("destination", primary_key=True),
    _word("state", DispatchState),
    _whole("attempt", default="1"),
    _text("owner", nullable=True),
    _text("error", nullable=True),
    _time("next_at"),
    _time("deadline_at", nullable=False),
    _whole("asks", default="0"),  # requests for confirmation that came to nothing
    _time("due_at"),  # its place in its destination's lane, as study_version.due_at
    # Whether the last attempt failed for want of its destination: it is hurried once that is back.
    sa.Column("is_unreached", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(None, "state"),
    sa.Index(  # what waits for a destination that is away
        "ix_dispatch_unreached",
        "destination",
        "next_at",
        sqlite_where=sa.text("is_unreached = 1"),
        postgresql_where=sa.text("is_unreached"),
    ),
)

delivery = sa.Table(
    "delivery",
    metadata,
    _text("sop_uid", primary_key=True),
    _text("destination", primary_key=True),
    _text("study_uid"),
    _whole("number"),
    _word("state", DeliveryState),
    _text("error", nullable=True),
    _time("sent_at"),
    _text("confirmed_by", nullable=True),  # the word of a destination: commitment, find, folder
    _time("confirmed_at"),
    _text("transaction_uid", nullable=True),  # of the storage commitment last asked for
    sa.Index(None, "study_uid", "number", "destination"),
    sa.Index(None, "transaction_uid"),
)

study_to_tell = sa.Table(
    "study_to_tell",  # whose level, or whose being whose, may have changed since it was told
    metadata,
    _text("study_uid", primary_key=True),
    _time("asked_at", nullable=False),
    _time("next_at"),  # NULL: at once; else it could not be found out what to tell, or to whom
    # Since it was asked; it is put off for some lists only.
    sa.Column("is_looked_at", sa.Boolean, nullable=False, server_default=sa.false()),
)

message = sa.Table(
    "message",  # to a reading list of somebody else's, about a study's triage level
    metadata,
    _text("control_id", primary_key=True),  # MSH-10, webhook-id: the same at each attempt
    _text("destination"),
    _text("study_uid"),
    _whole("sequence"),  # 1, 2, ... of what this destination is told of this study
    _whole("number"),  # the version it speaks of
    _word("kind", MessageKind),
    _level(),
    _text("told"),  # JSON: what it says, and under whose identifiers
    sa.Column("content", sa.LargeBinary, nullable=False),  # the bytes that are sent
    _word("state", DispatchState),
    _whole("attempt", default="1"),
    _whole("failures", default="0"),  # attempts that failed, but for those that reached nobody
    _text("owner", nullable=True),
    _text("error", nullable=True),
    _time("due_at"),
    _time("next_at"),
    _time("deadline_at", nullable=False),
    sa.Column("is_unreached", sa.Boolean, nullable=False, server_default=sa.false()),
    _time("made_at", nullable=False),
    _time("tried_at"),  # from then on its receiver may know it
    _time("acknowledged_at"),
    sa.UniqueConstraint("destination", "study_uid", "sequence"),
    sa.Index(None, "state"),
    sa.Index(None, "study_uid"),
)

alarm = sa.Table(
    "alarm",  # what somebody is told of, from when it begins until it ends
    metadata,
    _whole("id", primary_key=True),
    _text("rule"),
    _text("subject"),  # what it is about: a destination, sender, study, part; "" if all
    _whole("urgency"),  # overview.health.Alarm
    _text("words"),
    _text("what_to_do"),
    _text("study_uids"),  # JSON: of the studies that it tells of, the first few
    _time("since", nullable=False),  # when what it tells of began
    _time("began_at", nullable=False),  # when that was noticed
    _time("seen_at", nullable=False),  # when it was last found to be so
    _time("reminded_at"),  # when it was last told again
    _time("ended_at"),
    sa.Index(  # each is raised once, whoever notices it
        "uq_alarm_open",
        "rule",
        "subject",
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
    sa.Index(None, "ended_at"),
)

alarm_notice = sa.Table(
    "alarm_notice",  # what a channel is to tell, until it has taken it
    metadata,
    _text("id", primary_key=True),  # the same at each attempt
    _whole("alarm_id"),
    _text("channel"),
    _word("event", NoticeEvent),
    _word("state", NoticeState),
    _whole("attempts", default="0"),
    _text("error", nullable=True),
    _time("made_at", nullable=False),
    _time("next_at", nullable=False),  # not before; while one tries, when another may
    _time("sent_at"),
    sa.Index(None, "state", "next_at"),
    sa.Index(None, "alarm_id"),
)

exam_score = sa.Table(
    "exam_score",  # what a delivering model said of an exam, by its newest version: docs/shift.md
    metadata,
    _text("model", primary_key=True),
    _text("model_version", primary_key=True),  # and from which operating point on it is urgent
    _text("study_uid", primary_key=True),
    _text("sender"),
    _whole("number"),  # the version that was read last
    sa.Column("score", sa.Double, nullable=True),
    _level(),
    sa.Column("has_refusals", sa.Boolean, nullable=False),
    _time("first_at", nullable=False),  # when the first version was finished: its place
    _time("finished_at", nullable=False),  # when that version was
    sa.Index(None, "model", "model_version", "sender", "first_at"),
    sa.Index(None, "model", "finished_at"),
)

score_reference = sa.Table(
    "score_reference",  # what a model said of a sender's first exams, frozen
    metadata,
    _text("model", primary_key=True),
    _text("model_version", primary_key=True),
    _text("sender", primary_key=True),
    _text("content"),  # JSON of overview.likeness.ScoreReference
    _time("frozen_at", nullable=False),
)

WORK: Mapping[sa.Table, type[VersionState] | type[DispatchState]] = {
    study_version: VersionState,
    dispatch: DispatchState,
}
"""The tables whose rows are jobs, and what their states are called."""

commitment = sa.Table(
    "commitment",  # our requests for storage commitment, written before they are sent
    metadata,
    _text("transaction_uid", primary_key=True),
    _text("study_uid"),
    _whole("number"),
    _text("destination"),
    _time("asked_at", nullable=False),
    _time("answered_at"),
    sa.Index(None, "asked_at"),
)

commitment_request = sa.Table(
    "commitment_request",  # a peer's, written before it is answered
    metadata,
    _text("peer", primary_key=True),
    _text("transaction_uid", primary_key=True),
    _text("objects"),  # JSON: [[SOP Class UID, SOP Instance UID], ...]
    _word("state", CommitmentState),
    _whole("attempt", default="0"),
    _text("owner", nullable=True),  # the node that reports just now
    _text("error", nullable=True),
    _time("asked_at", nullable=False),
    _time("next_at", nullable=False),
    _time("ended_at"),
    sa.Index(None, "state", "next_at"),
)

commitment_object = sa.Table(
    "commitment_object",  # what a request that waits asks about, by its UID
    metadata,
    _text("sop_uid", primary_key=True),
    _text("peer", primary_key=True),
    _text("transaction_uid", primary_key=True),
    sa.Index(None, "peer", "transaction_uid"),
)

web_user = sa.Table(
    "web_user",
    metadata,
    _text("name", primary_key=True),
    _word("role", WebRole),
    _text("password_hash"),  # Argon2id, in its own notation
    _time("changed_at", nullable=False),
)

web_session = sa.Table(
    "web_session",
    metadata,
    _text("token_sha256", primary_key=True),  # who reads the table cannot use it
    _text("user_name"),
    _time("began_at", nullable=False),
    _time("ends_at", nullable=False),
    sa.Index(None, "user_name"),
)

history = sa.Table(
    "history",
    metadata,
    _whole("id", primary_key=True),
    _time("at", nullable=False),
    _text("study_uid"),
    _text("event"),
    sa.Index(None, "study_uid"),
)

unlinking = sa.Table(
    "unlinking",  # files of the store that no row speaks of any more, until they are gone
    metadata,
    _text("path", primary_key=True),
    _text("study_uid"),
    _time("asked_at", nullable=False),
    sa.Index(None, "study_uid"),
)

asked_back = sa.Table(
    "asked_back",  # whose removed images are asked back from a peer, until all are here again
    metadata,
    _text("study_uid", primary_key=True),
    _text("peer", nullable=True),  # whom; empty: nobody can be asked
    _time("asked_at", nullable=False),  # when it was first needed, then when first asked for
    _time("next_at", nullable=False),  # not before; while one asks, when another may
    _whole("attempts", default="0"),
    _text("error", nullable=True),
    sa.Index(None, "next_at"),
)

package = sa.Table(
    "package",  # each version of a model package that a node has run with
    metadata,
    _text("name", primary_key=True),
    _text("version", primary_key=True),
    _text("digest"),  # of every file that makes a difference: running.kept_packages
    _time("first_at", nullable=False),
)

remembered_study = sa.Table(
    "remembered_study",  # what stays of a study whose rows are gone: ledger.remembering
    metadata,
    _text("study_uid", primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),  # JSON, compressed
    _time("forgotten_at", nullable=False),
)
