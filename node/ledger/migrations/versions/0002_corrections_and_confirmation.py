"""Corrected and rejected instances, held studies, several nodes, confirmed delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = {
    "node": (
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=True),
    ),
    "study": (
        sa.Column("held_because", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision_reason", sa.Text(), nullable=True),
        sa.Column("is_by_hand", sa.Boolean(), server_default=sa.false(), nullable=False),
    ),
    "instance": (
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("intake", sa.Text(), nullable=True),
        sa.Column("warmed_at", sa.Double(), nullable=True),
    ),
    "study_version": (sa.Column("revision", sa.Integer(), server_default="0", nullable=False),),
    "dispatch": (sa.Column("asks", sa.Integer(), server_default="0", nullable=False),),
    "delivery": (
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("confirmed_at", sa.Double(), nullable=True),
        sa.Column("transaction_uid", sa.Text(), nullable=True),
    ),
}


def upgrade() -> None:
    """Expand only."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.add_column(table, column)
    op.create_index("ix_delivery_transaction_uid", "delivery", ["transaction_uid"])
    op.create_table(
        "former_instance",
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("replaced_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sop_uid", "digest", name="pk_former_instance"),
    )
    op.create_table(
        "rejection",
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("note_sop_uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_uid", "study_uid", name="pk_rejection"),
    )
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("answered_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_commitment"),
    )
    # Until now a study, not its instances, had an identity, and holding was a state.
    op.execute(
        "UPDATE instance SET identity = (SELECT study.identity FROM study"
        " WHERE study.study_uid = instance.study_uid) WHERE state = 'current'"
    )
    op.execute(
        "UPDATE study SET state = 'receiving', held_because = 'unknown' WHERE state = 'held'"
    )
