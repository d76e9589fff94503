"""What models said of images before."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from node import score_json
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import insert_into
from node.result import UnitScore


@dataclass(frozen=True, slots=True)
class KeptScores:
    """Scores, each under the digests of its image and of what judged it."""

    ledger: Ledger

    def find_score(self, instance_digest: str, model_digest: str) -> UnitScore | None:
        """Return what a model said of an image before."""
        with self.ledger.reading() as db:
            text = db.execute(
                sa.select(schema.image_score.c.score)
                .where(schema.image_score.c.instance_digest == instance_digest)
                .where(schema.image_score.c.model_digest == model_digest)
            ).scalar_one_or_none()
        return None if text is None else score_json.loaded(text)

    def record_score(self, instance_digest: str, model_digest: str, score: UnitScore) -> None:
        """Keep what a model said of an image."""
        with self.ledger.writing() as db:
            db.execute(
                insert_into(db, schema.image_score)
                .values(
                    instance_digest=instance_digest,
                    model_digest=model_digest,
                    score=score_json.dumped(score).decode(),
                    made_at=now(),
                )
                .on_conflict_do_nothing()
            )
