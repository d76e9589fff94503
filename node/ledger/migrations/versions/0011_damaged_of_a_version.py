"""How many objects of a study had been refused as damaged when a version of it was closed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.add_column(
        "study_version", sa.Column("damaged", sa.Integer(), server_default="0", nullable=False)
    )
