"""What the web page, the metrics and the figures of models need to be quick."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

NEEDS_ALL_STOPPED = True
"""Stop all nodes for this upgrade: a study that one of the former release received would never
stand in the reading list, for it does not say when its last image came."""

_LEVELS = "'routine', 'not assessed', 'soon', 'urgent'"
_UNREAD = sa.text("read_at IS NULL")


def upgrade() -> None:
    """Add the columns, and fill in what rows of the former release say."""
    op.add_column("node", sa.Column("ill", sa.Text))
    with op.batch_alter_table("node") as batch:
        batch.drop_constraint(op.f("ck_node_role"), type_="check")
        batch.create_check_constraint(
            op.f("ck_node_role"), sa.text("role IN ('all', 'listener', 'worker', 'web')")
        )
    for name in (
        *("accession_number", "patient_id", "patient_name", "study_date"),
        *("study_description", "read_by"),
    ):
        op.add_column("study", sa.Column(name, sa.Text))
    # With a default, for SQLite adds no column without; every row says it.
    op.add_column(
        "study", sa.Column("last_image_at", sa.Double, nullable=False, server_default="0")
    )
    op.execute("UPDATE study SET last_image_at = last_at")
    op.add_column("study", sa.Column("read_at", sa.Double))
    _say_whose_levels()
    for columns in (
        *(["accession_number"], ["patient_id"], ["last_image_at"]),
        ["sender", "last_image_at"],
    ):
        op.create_index(op.f(f"ix_study_{'_'.join(columns)}"), "study", columns)
    op.create_index(
        "ix_study_open",
        "study",
        ["level", "last_image_at", "study_uid"],
        sqlite_where=_UNREAD,
        postgresql_where=_UNREAD,
    )
    for name, table, columns, condition in (
        ("ix_study_held", "study", ["study_uid"], "held_reason IS NOT NULL"),
        (
            *("ix_study_version_stranded", "study_version", ["state", "error"]),
            "state = 'finished' AND error IS NOT NULL",
        ),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    if op.get_bind().dialect.name == "postgresql":
        # Nearly all versions are finished, and many have an error, but none of these is finished:
        # taken for independent, the two would be expected together in most, and no index be used.
        both = "state, error FROM study_version"
        op.execute(f"CREATE STATISTICS study_version_stranded (mcv) ON {both}")
    for name, kind in (
        *(("brief", sa.Text), ("score", sa.Double), ("analysed", sa.Integer)),
        *(("refusals", sa.Text), ("finished_at", sa.Double)),
    ):
        op.add_column("analysis", sa.Column(name, kind))
    op.execute(
        "ALTER TABLE analysis ADD COLUMN level TEXT"
        f" CONSTRAINT ck_analysis_level CHECK (level IN ({_LEVELS}))"
    )
    columns = ["model", "mode", "finished_at", "level", "score", "analysed"]
    op.create_index("ix_analysis_figures", "analysis", columns)
    op.create_table(
        "peer",
        sa.Column("name", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Double)
            for name in ("seen_at", "object_at", "sent_at", "failed_at", "rejected_at")
        ),
        sa.Column("failure", sa.Text),
        sa.Column("rejection", sa.Text),
    )
    op.create_table(
        "web_user",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.CheckConstraint("role IN ('reader', 'operator')", name=op.f("ck_web_user_role")),
    )
    op.create_table(
        "web_session",
        sa.Column("token_sha256", sa.Text, primary_key=True),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("ends_at", sa.Double, nullable=False),
    )
    op.create_index(op.f("ix_web_session_user_name"), "web_session", ["user_name"])


def _say_whose_levels() -> None:
    """Add to each level whether a demonstration gave it, as far as the results say so."""
    for table in ("study", "study_version"):
        no = sa.false()
        op.add_column(
            table, sa.Column("is_demonstration", sa.Boolean, nullable=False, server_default=no)
        )
    analysis, version = (
        sa.table(name, *map(sa.column, columns))
        for name, columns in (
            ("analysis", ("study_uid", "number", "mode", "result")),
            ("study_version", ("study_uid", "number", "level", "is_demonstration")),
        )
    )
    study = sa.table("study", *map(sa.column, ("study_uid", "level", "is_demonstration")))
    other = version.alias()
    newest = sa.select(sa.func.max(other.c.number)).where(
        other.c.study_uid == version.c.study_uid, other.c.level.is_not(None)
    )
    by_one = sa.exists().where(
        analysis.c.study_uid == version.c.study_uid,
        analysis.c.number == version.c.number,
        analysis.c.mode == "deliver",
        analysis.c.result.like('%"is_demonstration":true%'),
    )
    op.execute(
        version.update()
        .where(version.c.level.is_not(None), by_one)
        .values(is_demonstration=sa.true())
    )
    has_one = sa.exists().where(
        version.c.study_uid == study.c.study_uid,
        version.c.number == newest.correlate(version).scalar_subquery(),
        version.c.is_demonstration == sa.true(),
    )
    op.execute(
        study.update().where(study.c.level.is_not(None), has_one).values(is_demonstration=sa.true())
    )
    op.create_index(
        "ix_study_demonstration",
        "study",
        ["study_uid"],
        sqlite_where=sa.text("is_demonstration = 1"),
        postgresql_where=sa.text("is_demonstration"),
    )
