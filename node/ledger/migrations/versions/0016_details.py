"""What a domain judges a study by, kept with each of its instances."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, which nodes of the former release leave empty."""
    op.add_column("instance", sa.Column("details", sa.Text))
