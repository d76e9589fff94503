"""The database's clock: the only one that several nodes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles


class now(sa.sql.functions.FunctionElement[float]):  # noqa: N801 - reads like the SQL it makes
    """The database's clock, epoch seconds."""

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def utc(epoch_s: float) -> datetime:
    """Return the ledger's time as a datetime, to the second: what objects can carry."""
    return datetime.fromtimestamp(int(epoch_s), UTC)
