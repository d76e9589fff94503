"""Which model packages nodes have run with, and which of them unfinished work still needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import insert_into
from node.ledger.states import VersionState


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """A version of a model package, by what tells it apart."""

    name: str
    version: str
    digest: str
    """`Model.package_digest`."""


@dataclass(frozen=True, slots=True)
class KnownPackages:
    """The packages that nodes on this ledger have run with."""

    ledger: Ledger

    def otherwise(self, packages: Collection[PackageVersion]) -> dict[PackageVersion, str]:
        """Return of which of these another digest is known, and which."""
        with self.ledger.reading() as db:
            return _otherwise(db, packages)

    def record(self, packages: Collection[PackageVersion]) -> dict[PackageVersion, str]:
        """Record packages a node is to run with; return those known otherwise, and record none."""
        table = schema.package
        with self.ledger.writing() as db:
            if found := _otherwise(db, packages):
                return found
            for one in sorted(packages, key=lambda one: (one.name, one.version)):
                values = {"name": one.name, "version": one.version, "digest": one.digest}
                new = insert_into(db, table).values(**values, first_at=now())
                db.execute(new.on_conflict_do_nothing())
            return _otherwise(db, packages)  # another node may have been faster

    def needed(self) -> frozenset[str]:
        """Return the digests of the packages that versions wait to be analysed with, or are."""
        version, analysis = schema.study_version, schema.analysis
        is_its = (analysis.c.study_uid == version.c.study_uid) & (
            analysis.c.number == version.c.number
        )
        is_open = version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING))
        query = sa.select(analysis.c.package_digest).join_from(version, analysis, is_its)
        with self.ledger.reading() as db:
            found = db.execute(query.where(is_open).distinct()).scalars()
            return frozenset(digest for digest in found if digest)


def _otherwise(
    db: sa.Connection, packages: Collection[PackageVersion]
) -> dict[PackageVersion, str]:
    table = schema.package
    found = {}
    for one in packages:
        query = sa.select(table.c.digest).where(
            table.c.name == one.name, table.c.version == one.version
        )
        known = db.execute(query).scalar_one_or_none()
        if known is not None and known != one.digest:
            found[one] = known
    return found
