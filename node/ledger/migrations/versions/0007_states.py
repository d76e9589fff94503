"""The words that a state may be are checked; one meaning a word."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEEDS_ALL_STOPPED = True
"""Stop all nodes for this upgrade: it rewrites rows and then locks nearly every table, in which a
node that runs would be in its way, and those of the former release do not know the new words."""

_RENAMED = (
    ("instance", "rejected", "withdrawn"),
    ("study_version", "rejected", "withdrawn"),
    ("study_version", "not analysed", "excluded"),
)
# A node of the former release that was frozen meanwhile may write the former words once more.
_ALLOWED = {
    "node": {"role": "all, listener, worker"},
    "study": {
        "state": "receiving, closed",
        "held_because": "identity, pixels, destination, report, unknown",
    },
    "instance": {"state": "current, withdrawn, own, rejected"},
    "study_version": {
        "state": "queued, running, finished, cancelled, out of scope, excluded, withdrawn, "
        "rejected, not analysed"
    },
    "analysis": {"mode": "shadow, deliver"},
    "dispatch": {"state": "queued, running, finished, dead, cancelled"},
    "delivery": {"state": "queued, sent, confirmed, refused, replaced"},
}


def upgrade() -> None:
    """Rename the words, then let the database check them."""
    for name, former, word in _RENAMED:
        table = sa.table(name, sa.column("state"))
        op.execute(table.update().where(table.c.state == former).values(state=word))
    for name, columns in _ALLOWED.items():
        with op.batch_alter_table(name) as batch:
            for column, words in columns.items():
                allowed = ", ".join(f"'{word}'" for word in words.split(", "))
                batch.create_check_constraint(
                    op.f(f"ck_{name}_{column}"), sa.text(f"{column} IN ({allowed})")
                )
