"""Studies with whole files in store and ledger, and what keeps both small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ledgers import KIND, OUT_OF_SCOPE, Desk, is_mammogram
from pydicom import Dataset, uid
from small_images import mammogram

from node.config import RetentionSettings
from node.flow.retention import Retention
from node.flow.unlinking import Unlinker
from node.ledger import BuiltReport, Finished, Job, Ledger, Retaining, Unlinking, schema
from node.receive.header_changes import header_digest
from node.store import Store

DAY_S = 86_400.0
ALL = RetentionSettings(
    images_days=30,
    results_days=90,
    out_of_scope_days=3,
    excluded_days=10,
    neighbours_days=7,
    unreadable_days=20,
)


class Site:
    """A store and a ledger with whole files, and what keeps them small."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.settings = ALL
        self.retention = self.on(desk.ledger, desk.store)

    def on(self, ledger: Ledger, store: Store) -> Retention:
        """Return what sweeps on a node of its own."""
        return retention_on(ledger, store, lambda: self.settings)

    def keep(self, study: str, number: int = 1, **changes: Any) -> Path:
        """Receive an object with pixels; return its file."""
        sop_uid = f"{study}.{number}"
        dataset = small_object(study, sop_uid, **changes)
        assert self.desk.keep(dataset) == "new"
        return self.desk.store.path(self.desk.row(schema.instance, sop_uid)["path"])

    def apart(self, study: str, closing: Any = OUT_OF_SCOPE, **changes: Any) -> Path:
        """Receive and close a study that is not analysed."""
        path = self.keep(study, **changes)
        self.desk.close(closing, study=study)
        return path

    def done(self, study: str, **changes: Any) -> tuple[Path, Path]:
        """Take a study as far as it goes; return the file of its image, and that of its result."""
        image = self.keep(study, **changes)
        job = self.desk.close(study=study)
        self.desk.begin(job)
        content = b"a result"
        path = self.desk.store.write_report(content, study, f"{study}.77")
        built = BuiltReport(f"{study}.77", KIND, "1.2.3", path, "digest", len(content))
        to = {"pacs": frozenset({KIND})}
        assert self.desk.processing.finish_version(
            job, Finished((), (built,), to, 3600), self.desk.enqueue
        )
        self.desk.deliver(Job("deliver", study, 1, 1, "pacs"))
        self.desk.delete(schema.study_to_tell)
        return image, self.desk.store.path(path)

    def files(self) -> list[Path]:
        trees = [self.desk.store.path(tree) for tree in ("received", "reports")]
        return sorted(path for tree in trees for path in tree.rglob("*"))


def small_object(study: str, sop_uid: str, **changes: Any) -> Dataset:
    """Return a mammogram of a few pixels."""
    dataset = mammogram(np.arange(64, dtype=np.uint16).reshape(8, 8), **changes)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.0"
    dataset.SOPInstanceUID = sop_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(sop_uid)
    return dataset


def retention_on(
    ledger: Ledger, store: Store, settings: Callable[[], RetentionSettings] = lambda: ALL
) -> Retention:
    """Return what sweeps as a node that reads mammograms does."""
    unlinker = Unlinker(Unlinking(ledger), store)
    return Retention(Retaining(ledger), unlinker, store, settings, is_mammogram, header_digest)
