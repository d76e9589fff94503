"""Requests for storage commitment that peers make, and which objects they were told we keep."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.add_column("instance", sa.Column("committed_at", sa.Double(), nullable=True))
    op.create_table(
        "commitment_request",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("peer", "transaction_uid", name="pk_commitment_request"),
        sa.CheckConstraint(
            "state IN ('waiting', 'reported', 'given up')",
            name=op.f("ck_commitment_request_state"),
        ),
    )
    op.create_index(
        "ix_commitment_request_state_next_at", "commitment_request", ["state", "next_at"]
    )
