"""What a node would say of an exam of the demonstration, and its results at the PACS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from node.dimse import Address, send
from node.ledger import DeliveryState, Mode
from node.outputs.report_set import to_bytes
from node.overview import DeliveryOverview, ModelOverview, Standing, StudyOverview
from node.result import Result
from node.trial.exams import Exam
from node.trial.pacs import AE_TITLE, Pacs


def overview_of(exam: Exam, result: Result, datasets: Sequence[Dataset]) -> StudyOverview:
    model = ModelOverview(
        result.model.name, "1.0.0", Mode.DELIVER, result, "outcome", "not assessed"
    )
    now = time.time()
    return StudyOverview(
        study_uid=exam.study_uid,
        sender="modality",
        state=Standing.DONE,
        version=1,
        reason="4/4 views",
        images=exam.images,
        views=tuple(exam.names.values()),
        models=(model,),
        deliveries=tuple(
            DeliveryOverview(
                "pacs", str(d.SOPInstanceUID), DeliveryState.SENT, None, now, None, None
            )
            for d in datasets
        ),
        history=((now, "received <4> images"),),
        last_at=now - 5,
        closed_at=now - 4,
        done_at=now,
        error=None,
        held_because=None,
    )


def deliver(datasets: Sequence[Dataset], folder: Path, pacs: Pacs) -> None:
    folder.mkdir(parents=True)
    paths = []
    for number, dataset in enumerate(datasets):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(to_bytes(dataset))
    outcomes = send(paths, Address(AE_TITLE, "127.0.0.1", pacs.port), "TEST")
    assert {outcome.state for outcome in outcomes} == {DeliveryState.SENT}
