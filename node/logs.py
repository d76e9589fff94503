"""What the log looks like, and what may not be in it: no patient data at INFO or above."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def start_logging(*, is_verbose: bool = False) -> None:
    """Log to standard error, where systemd and containers collect it."""
    logging.basicConfig(
        stream=sys.stderr, format=_FORMAT, level=logging.DEBUG if is_verbose else logging.INFO
    )
    # Warnings of pydicom quote what is in the data set.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    # These quote data set values, or repeat at length what we log ourselves.
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("apscheduler", "dbos", "highdicom", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
