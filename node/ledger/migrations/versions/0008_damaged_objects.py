"""Which objects were refused as damaged, so that their studies can say so."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.create_table(
        "damaged_object",
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=True),
        sa.Column("association_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("came_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("object_key", name="pk_damaged_object"),
    )
    op.create_index("ix_damaged_object_study_uid", "damaged_object", ["study_uid"])
    op.create_index("ix_damaged_object_association_id", "damaged_object", ["association_id"])
