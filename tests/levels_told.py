"""A triage level as it is told."""

from __future__ import annotations

from node.deliver.messages.level_message import LevelMessage, Reached, thread_of
from node.ledger import MessageKind
from node.result import PERCENT, Code, Measurement, ModelIdentity, Priority
from node.study import Whose

SCORE = Measurement(Code("111047", "DCM", "Probability of cancer"), 87.3, PERCENT, is_score=True)
WHOSE = Whose("P-1", "HOSPITAL", "Doe^Jane^Ann^Dr^MD", "19500101", "A-1")
LEVEL = LevelMessage(
    kind=MessageKind.LEVEL,
    study_uid="1.2.826.1",
    version=1,
    whose=WHOSE,
    thread=thread_of("1.2.826.1", WHOSE),
    level=Priority.URGENT,
    before=Priority.ROUTINE,
    why="the score reaches the operating point",
    about="L breast malignancy",
    score=SCORE,
    point=Reached("screening", 0.35, "35 %", "Operating point screening, measured on: few."),
    model=ModelIdentity("breast-triage", "Breast Triage", "1.2.0", "Test", "2.25.1", "0" * 64),
    last_image_at=1795953600.0,
    made_at=1795953610.0,
)
