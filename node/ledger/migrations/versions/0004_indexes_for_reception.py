"""Indexes: what one object costs at reception does not grow with its study."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UNCLAIMED = sa.text("warmed_at IS NULL AND version IS NULL AND state = 'current'")


def upgrade() -> None:
    """Expand only."""
    op.create_index(
        "ix_instance_study_uid_state_identity", "instance", ["study_uid", "state", "identity"]
    )
    op.create_index(
        "ix_instance_unclaimed",
        "instance",
        ["modality", "received_at"],
        sqlite_where=_UNCLAIMED,
        postgresql_where=_UNCLAIMED,
    )
