"""Which body part an instance shows, so that scope does not follow from its modality alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.add_column("instance", sa.Column("body_part", sa.Text(), nullable=True))
