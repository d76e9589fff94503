"""A report knows its kind, and goes where that is wanted."""

import sqlalchemy as sa
from alembic import op

from node.ledger.schema import KIND_BY_SOP_CLASS

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only."""
    op.add_column("report", sa.Column("kind", sa.Text(), nullable=True))
    report = sa.table("report", sa.column("kind"), sa.column("sop_class"))
    op.execute(report.update().values(kind=sa.case(KIND_BY_SOP_CLASS, value=report.c.sop_class)))
