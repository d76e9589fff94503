"""The triage level of a study, and of each of its versions."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ALLOWED = "'routine', 'not assessed', 'soon', 'urgent'"


def upgrade() -> None:
    """Expand only; in SQL, for with a CHECK of its own a column needs no new table in SQLite."""
    for table in ("study", "study_version"):
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN level TEXT"
            f" CONSTRAINT ck_{table}_level CHECK (level IN ({_ALLOWED}))"
        )
