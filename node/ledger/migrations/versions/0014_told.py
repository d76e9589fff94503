"""The order of work, messages to reading lists, and alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NEEDS_ALL_STOPPED = True
"""Stop all nodes for this upgrade: one of the former release knows no jobs "message", and would
take them from a lane that then stands still; nor does it have lists told of what it changes."""

_LEVELS = "level IN ('routine', 'not assessed', 'soon', 'urgent')"
_DISPATCH = "state IN ('queued', 'running', 'finished', 'dead', 'cancelled')"


def upgrade() -> None:
    """Add columns and tables; rows of the former release are as reports that came when they did."""
    op.execute(
        "ALTER TABLE study_version ADD COLUMN stage TEXT NOT NULL DEFAULT 'report'"
        " CONSTRAINT ck_study_version_stage CHECK (stage IN ('triage', 'report'))"
    )
    op.add_column("study_version", sa.Column("level_by", sa.Text))
    for table in ("study_version", "dispatch"):
        op.add_column(table, sa.Column("due_at", sa.Double))
    op.add_column("dispatch", _is_unreached())
    op.create_index(
        "ix_dispatch_unreached",
        "dispatch",
        ["destination", "next_at"],
        sqlite_where=sa.text("is_unreached = 1"),
        postgresql_where=sa.text("is_unreached"),
    )
    op.create_table(
        "study_to_tell",
        sa.Column("study_uid", sa.Text, primary_key=True),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("is_looked_at", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    _add_messages()
    _add_alarms()
    _add_exam_scores()
    op.create_table(
        "score_reference",
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("model", "model_version", "sender")
        ),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("frozen_at", sa.Double, nullable=False),
    )


def _is_unreached() -> sa.Column[bool]:
    return sa.Column("is_unreached", sa.Boolean, nullable=False, server_default=sa.false())


def _check(table: str, column: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{column}"))


def _add_messages() -> None:
    op.create_table(
        "message",
        sa.Column("control_id", sa.Text, primary_key=True),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("study_uid", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("level", sa.Text),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("owner", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("due_at", sa.Double),
        sa.Column("next_at", sa.Double),
        sa.Column("deadline_at", sa.Double, nullable=False),
        _is_unreached(),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("tried_at", sa.Double),
        sa.Column("acknowledged_at", sa.Double),
        _check("message", "kind", "kind IN ('level', 'withdrawn', 'wrong')"),
        _check("message", "level", _LEVELS),
        _check("message", "state", _DISPATCH),
        sa.UniqueConstraint(
            "destination",
            "study_uid",
            "sequence",
            name=op.f("uq_message_destination_study_uid_sequence"),
        ),
    )
    for column in ("state", "study_uid"):
        op.create_index(op.f(f"ix_message_{column}"), "message", [column])


def _add_alarms() -> None:
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer, primary_key=True),
        *(
            sa.Column(name, kind, nullable=False)
            for name, kind in (
                *(("rule", sa.Text), ("subject", sa.Text), ("urgency", sa.Integer)),
                *(("words", sa.Text), ("what_to_do", sa.Text), ("study_uids", sa.Text)),
            )
        ),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("since", "began_at", "seen_at")),
        sa.Column("reminded_at", sa.Double),
        sa.Column("ended_at", sa.Double),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "uq_alarm_open",
        "alarm",
        ["rule", "subject"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index(op.f("ix_alarm_ended_at"), "alarm", ["ended_at"])
    op.create_table(
        "alarm_notice",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("alarm_id", sa.Integer, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("next_at", sa.Double, nullable=False),
        sa.Column("sent_at", sa.Double),
        _check("alarm_notice", "event", "event IN ('begun', 'reminder', 'ended')"),
        _check("alarm_notice", "state", "state IN ('queued', 'sent', 'given up')"),
    )
    op.create_index(op.f("ix_alarm_notice_state_next_at"), "alarm_notice", ["state", "next_at"])
    op.create_index(op.f("ix_alarm_notice_alarm_id"), "alarm_notice", ["alarm_id"])


def _add_exam_scores() -> None:
    op.create_table(
        "exam_score",
        *(
            sa.Column(name, sa.Text, primary_key=True)
            for name in ("model", "model_version", "study_uid")
        ),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("level", sa.Text),
        sa.Column("has_refusals", sa.Boolean, nullable=False),
        sa.Column("first_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double, nullable=False),
        _check("exam_score", "level", _LEVELS),
    )
    for columns in (["model", "model_version", "sender", "first_at"], ["model", "finished_at"]):
        op.create_index(op.f(f"ix_exam_score_{'_'.join(columns)}"), "exam_score", columns)
