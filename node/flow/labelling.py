"""What people know a study by, looked up for studies that a release before 0013 has received.

Some at a time, from one stored object each: that costs the same however many there are, goes on
where it was after a restart, and ends by itself.
"""

from __future__ import annotations

import logging

from node.dicom.header import read_header
from node.dicom.study_labels import study_labels_of
from node.errors import Unreadable
from node.ledger import Filing
from node.store import Store
from node.study import StudyLabels

log = logging.getLogger(__name__)

LABEL_EVERY_S = 10
AT_ONCE = 100


def label_former(filing: Filing, store: Store) -> None:
    """Look up the labels of the next studies that have none."""
    for study_uid, path in filing.unlabelled(AT_ONCE).items():
        labels = StudyLabels()
        try:
            if path is not None:
                labels = study_labels_of(read_header(store.path(path)))
        except (OSError, Unreadable) as error:  # its image is missing: that is said elsewhere
            log.debug("Study %s stays without labels: %s", study_uid, type(error).__name__)
        filing.label(study_uid, labels)
