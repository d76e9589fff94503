"""What is removed, what stays of it, and what was fixed when a version was closed."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

NEEDS_ALL_STOPPED = True
"""Stop all nodes for this upgrade: one of the former release would look for files that are removed,
and analyse without them."""

_HELD = "held_because IN ('identity', 'pixels', 'destination', 'report', 'missing', 'unknown')"

_ADDED: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "installation": (
        ("moved_to", sa.Text),
        ("moved_at", sa.Double),
        ("moving", sa.Text),
        ("backed_up_at", sa.Double),
        ("backed_up_to", sa.Text),
        ("backup_until", sa.Double),
        ("backup_to", sa.Text),
    ),
    "study": (
        ("kept_at", sa.Double),
        ("kept_by", sa.Text),
        ("kept_why", sa.Text),
        ("images_removed_at", sa.Double),
        ("neighbours_removed_at", sa.Double),
        ("results_removed_at", sa.Double),
        ("recalled_at", sa.Double),
    ),
    "instance": (
        ("size_bytes", sa.BigInteger),
        ("removed_at", sa.Double),
        ("pixels_digest", sa.Text),
        ("header_digest", sa.Text),
    ),
    "former_instance": (("removed_at", sa.Double), ("header_digest", sa.Text)),
    "study_version": (("directions", sa.Text),),
    "analysis": (("package_digest", sa.Text), ("levels_from", sa.Text)),
    "report": (
        ("size_bytes", sa.BigInteger),
        ("removed_at", sa.Double),
        ("series_uid", sa.Text),
        ("made_by", sa.Text),
    ),
}
_INDEXED = (
    ("image_score", "made_at"),
    ("damaged_object", "came_at"),
    ("rejection", "study_uid"),
    ("commitment", "asked_at"),
)
_INDEXES = {
    "ix_study_with_images": (["last_at", "study_uid"], "images_removed_at IS NULL"),
    "ix_study_with_results": (["last_at", "study_uid"], "results_removed_at IS NULL"),
    "ix_study_removed": (["last_at", "study_uid"], "images_removed_at IS NOT NULL"),
    "ix_study_kept": (["study_uid"], "kept_at IS NOT NULL"),
}


def upgrade() -> None:
    """Add columns and tables; nothing is removed yet."""
    for table, columns in _ADDED.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind))
    op.add_column(
        "image_score", sa.Column("made_at", sa.Double, nullable=False, server_default="0")
    )
    for table, column in _INDEXED:
        op.create_index(f"ix_{table}_{column}", table, [column])
    with op.batch_alter_table("study") as batch:
        batch.drop_constraint(op.f("ck_study_held_because"), type_="check")
        batch.create_check_constraint(op.f("ck_study_held_because"), sa.text(_HELD))
    for name, (indexed, where) in _INDEXES.items():
        is_wanted = sa.text(where)
        op.create_index(name, "study", indexed, sqlite_where=is_wanted, postgresql_where=is_wanted)
    is_promised = sa.text("committed_at IS NOT NULL")
    op.create_index(
        "ix_instance_committed",
        "instance",
        ["study_uid", "size_bytes"],
        sqlite_where=is_promised,
        postgresql_where=is_promised,
    )
    _add_tables()


def _add_tables() -> None:
    op.create_table(
        "unlinking",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("study_uid", sa.Text, nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
    )
    op.create_index("ix_unlinking_study_uid", "unlinking", ["study_uid"])
    op.create_table(
        "asked_back",
        sa.Column("study_uid", sa.Text, primary_key=True),
        sa.Column("peer", sa.Text),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("next_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_asked_back_next_at", "asked_back", ["next_at"])
    op.create_table(
        "package",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("first_at", sa.Double, nullable=False),
    )
    op.create_table(
        "remembered_study",
        sa.Column("study_uid", sa.Text, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("forgotten_at", sa.Double, nullable=False),
    )
