"""What the machine is to blame for is counted apart from what the study is."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.add_column(
        "study_version", sa.Column("troubles", sa.Integer(), server_default="0", nullable=False)
    )
