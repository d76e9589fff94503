"""An index: with which associations a study came, however many objects each brought."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.create_index(
        "ix_instance_study_uid_association_id", "instance", ["study_uid", "association_id"]
    )
