"""Results -> cases: what was said of each image, breast and exam, beside what is true of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from node.evaluation.collection import LabelledImage
from node.evaluation.running import AnsweredExam
from node.manifest import (
    BoxesOutput,
    Manifest,
    MapOutput,
    MaskOutput,
    NumberOutput,
    Output,
    SolidsOutput,
    view_called,
)
from node.result import Evaluation, Priority, Result
from node.study import Laterality

SEVERAL = "several"
"""In a column in which images of one breast or exam differ."""
NOT_SAID = "not said"
NO_LEVEL = "no level"
"""Of an exam that the model is not meant for, or of which no file could be taken."""
LEFT_ASIDE = "left aside by the model, as its manifest says"
OUT_OF_SCOPE = "out of scope of the model"
AGE = re.compile(r"0*(\d{1,3})(?:\.\d+)?\s*Y?", re.IGNORECASE)
BANDS = ((40, "0 to 39"), (50, "40 to 49"), (60, "50 to 59"), (70, "60 to 69"))
"""Of the column `age`, in years, and "70 and above"."""

NumbersSaid = tuple[float, ...]
"""Of a score one, of classes one each."""


class CaseAbout(StrEnum):
    """What a case is."""

    IMAGE = "image"
    BREAST = "breast"
    EXAM = "exam"


_NAMED = {
    CaseAbout.IMAGE: "single images",
    CaseAbout.BREAST: "a breast",
    CaseAbout.EXAM: "an exam of these images",
}


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """An image, a breast or an exam: what is true, and what was said."""

    about: CaseAbout
    name: str
    """Which one, by the line of the table or the number of the exam: "exam 3 L"."""
    patient: str
    lines: tuple[int, ...]
    labels: tuple[str, ...]
    """Of its images; the highest counts."""
    columns: Mapping[str, str]
    said: Mapping[str, NumbersSaid]
    """The numbers of each output that was assessed, exactly as the result has them."""
    why_not: str = ""
    """Why it was not assessed, or not all outputs of it were; "" if all were."""
    level: str = ""
    """The triage level of an exam, if the model triages."""

    @property
    def is_left_aside(self) -> bool:
        """Whether nobody wanted it assessed."""
        return self.why_not == LEFT_ASIDE and not self.said


def outputs_of(manifest: Manifest) -> dict[str, Output]:
    """Return the outputs that say something labels can be compared with, by name."""
    return {
        one.name: one
        for one in reversed(manifest.outputs)  # of two sides of one thing the first
        if not isinstance(one, MapOutput | NumberOutput | SolidsOutput)
        and not (isinstance(one, MaskOutput) and one.regions == "largest")
    }


def cases_of(answered: AnsweredExam, manifest: Manifest) -> Iterator[LabelledCase]:
    """Yield the cases of an exam: its images, and of mammograms its breasts and the exam itself.

    Of breast MRI there is the exam alone.
    """
    exam = answered.exam
    reader = _Reader(answered, manifest)
    if manifest.domain == "breast_mr":
        yield reader.case(CaseAbout.EXAM, f"exam {exam.number}", exam.images)
        return
    for image in exam.images:
        yield reader.case(CaseAbout.IMAGE, f"line {image.row.line}", [image])
    if manifest.domain != "mammography":
        return
    for side in (Laterality.RIGHT, Laterality.LEFT):
        if images := [image for image in exam.images if image.side == side]:
            yield reader.case(CaseAbout.BREAST, f"exam {exam.number} {side}", images)
    yield reader.case(CaseAbout.EXAM, f"exam {exam.number}", exam.images)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Finds what was said of some of an exam's images."""

    answered: AnsweredExam
    manifest: Manifest

    def case(self, about: CaseAbout, name: str, images: Sequence[LabelledImage]) -> LabelledCase:
        said = self._said(about, images)
        rows = [image.row for image in images]
        return LabelledCase(
            about=about,
            name=name,
            patient=rows[0].patient,
            lines=tuple(row.line for row in rows),
            labels=tuple(row.label for row in rows),
            columns=_columns(images),
            said=said,
            why_not=self._why_not(about, images) if self._is_wanting(about, images, said) else "",
            level=self._level() if about == CaseAbout.EXAM else "",
        )

    def _level(self) -> str:
        """Return the level that the exam has in a ward, "" if the model does not triage."""
        result = self.answered.result
        if self.manifest.triage is None:
            return ""
        if not self.answered.is_in_scope:
            return NO_LEVEL
        if self.answered.exam.why_held:
            return str(Priority.NOT_ASSESSED)
        if result is None or result.triage is None:
            return NO_LEVEL
        return str(result.triage.level)

    def _said(
        self, about: CaseAbout, images: Sequence[LabelledImage]
    ) -> dict[str, tuple[float, ...]]:
        result = self.answered.result
        if result is None:
            return {}
        uids = {self.answered.sop_uids.get(image.row.line, "") for image in images}
        said = {}
        for name, output in outputs_of(self.manifest).items():
            if isinstance(output, BoxesOutput | MaskOutput):
                is_whole = not self._unseen(about, images)
                numbers = _highest_mark(result, name, uids & {*result.analysed}) if is_whole else ()
            else:
                of_it = (e for e in result.evaluations if (e.output, e.about) == (name, about))
                numbers = _numbers(of_it, about, images[0].side, uids)
            if numbers:
                said[name] = numbers
        return said

    def _is_wanting(
        self, about: CaseAbout, images: Sequence[LabelledImage], said: Mapping[str, NumbersSaid]
    ) -> bool:
        """Whether nothing was said, or not of what looks for marks, for a view is missing."""
        return not said or bool(
            {*outputs_of(self.manifest)} - {*said} and self._unseen(about, images)
        )

    def _why_not(self, about: CaseAbout, images: Sequence[LabelledImage]) -> str:
        """Return why nothing was said, of several images each reason once."""
        reasons = list(dict.fromkeys(map(self._why_no_image, images)))
        if reasons == [LEFT_ASIDE]:
            return LEFT_ASIDE
        told = [reason for reason in reasons if reason not in ("", LEFT_ASIDE)]
        if unseen := self._unseen(about, images):
            told = told or [f"not there: {', '.join(unseen)}"]
        return "; ".join(told) or f"the model says nothing of {_NAMED[about]}"

    def _unseen(self, about: CaseAbout, images: Sequence[LabelledImage]) -> list[str]:
        """Return the views without which nobody knows that nothing is marked, of what marks."""
        marks = any(isinstance(one, BoxesOutput | MaskOutput) for one in self.manifest.outputs)
        if about == CaseAbout.IMAGE or not marks:
            return []
        seen = {(i.side, i.projection) for i in images if not self._why_no_image(i)}
        wanted = self.manifest.input
        return [
            str(view)
            for view in map(view_called, wanted.expected_views)
            if view.projection in wanted.projections
            and (view.laterality, view.projection) not in seen
            and (about == CaseAbout.EXAM or view.laterality == images[0].side)
        ]

    def _why_no_image(self, image: LabelledImage) -> str:
        """Return why an image was not analysed, "" if it was."""
        result, line = self.answered.result, image.row.line
        if line in self.answered.refused or result is None:
            return self.answered.refused.get(line, "not given to the model")
        if image.study is not None:
            reasons = dict.fromkeys(refusal.reason for refusal in result.refused)
            return "" if result.analysed else "; ".join(reasons) or OUT_OF_SCOPE
        sop_uid = self.answered.sop_uids[line]
        if sop_uid in result.analysed:
            return ""
        refusals = {refusal.sop_uid: refusal.reason for refusal in result.refused}
        is_passed_over = image.projection in self.manifest.input.passed_over
        return refusals.get(sop_uid, LEFT_ASIDE if is_passed_over else OUT_OF_SCOPE)


def _highest_mark(result: Result, output: str, sop_uids: Set[str]) -> NumbersSaid:
    """Return the highest number of what an output marked on images, 0 where it is nothing."""
    if not sop_uids:
        return ()
    numbers = (
        (finding.score or finding.measurements[0]).value
        for finding in result.findings
        if finding.region.sop_uid in sop_uids and finding.output == output
    )
    return (max(numbers, default=0.0),)


def _numbers(
    evaluations: Iterable[Evaluation], about: CaseAbout, side: Laterality | None, sop_uids: Set[str]
) -> NumbersSaid:
    """Return what was said of an image, a breast or the exam, of all that was said of such."""
    for evaluation in evaluations:
        is_of_it = {
            CaseAbout.IMAGE: sop_uids == {*evaluation.sop_uids},
            CaseAbout.BREAST: evaluation.laterality == side,
            CaseAbout.EXAM: True,
        }
        if is_of_it[about]:
            return tuple(measurement.value for measurement in evaluation.measurements)
    return ()


def _columns(images: Sequence[LabelledImage]) -> dict[str, str]:
    """Return what the table, or the objects, say of all of these images."""
    of_each = [
        {
            **image.row.columns,
            "side": str(image.side or ""),
            "view": image.projection,
        }
        for image in images
    ]
    columns = {}
    for name in of_each[0]:
        values = {_grouped(name, one[name]) for one in of_each}
        columns[name] = values.pop() if len(values) == 1 else SEVERAL
    return columns


def _grouped(name: str, value: str) -> str:
    """Return the group that a value stands for: of ages a band of ten years."""
    found = AGE.fullmatch(value) if name == "age" else None
    if found:
        age = int(found[1])
        return next((band for limit, band in BANDS if age < limit), "70 and above")
    return value or NOT_SAID
