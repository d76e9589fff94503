"""What couriers and folders are given to deliver."""

from __future__ import annotations

import hashlib

import factories
import pytest

from node.ledger import BuiltReport
from node.outputs.report_set import to_bytes
from node.store import Store


@pytest.fixture
def reports(store: Store) -> list[BuiltReport]:
    """Three objects of one study in the store, as a report set is recorded."""
    made = []
    for dataset in factories.exam()[:3]:
        content = to_bytes(dataset)
        path = store.write_report(content, dataset.StudyInstanceUID, dataset.SOPInstanceUID)
        digest = hashlib.sha256(content).hexdigest()
        uid, sop_class = str(dataset.SOPInstanceUID), str(dataset.SOPClassUID)
        made.append(BuiltReport(uid, "capture", sop_class, path, digest))
    return made
