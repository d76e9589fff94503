"""${message}."""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand only: nodes of the former release may still be running, or set NEEDS_ALL_STOPPED."""
    ${upgrades if upgrades else "pass"}
