"""The model card: whether it states what was measured."""

from __future__ import annotations

import re
from pathlib import Path

from node.errors import NodeError
from node.manifest import CARD, OPEN_QUESTION, Model

_INTERVAL = re.compile(
    r"\d ?%? to [-+]?\d"
    # as papers write it: 0.91 (95% CI 0.87-0.94), 0.91 [0.87, 0.94]
    r"|[\[(][^\])\d]*(?:95 ?% ?(?:CI|confidence interval)[:, ]*)?"
    r"[-+]?\d*\.?\d+ ?%?(?:-|\N{EN DASH}| - | \N{EN DASH} |, ?)[-+]?\d*\.?\d+ ?%? ?[\])]"
)
_CASES = re.compile(r"\bn ?= ?\d", re.IGNORECASE)


def card_in_words(model: Model) -> str:
    """Require a section "Measured" that holds a figure with an interval or a number of cases.

    Of a product both, as whoever decides about it must weigh the one by the other.
    """
    path = model.folder / CARD
    section = _measured(path)
    has_interval, has_cases = bool(_INTERVAL.search(section)), bool(_CASES.search(section))
    if not (has_interval or has_cases):
        raise NodeError(
            f'{path}: "Measured" states no figure with its interval ("0.91 (0.87 to 0.94)") '
            'or number of cases ("n = 322")'
        )
    if model.manifest.status == "product" and not (has_interval and has_cases):
        lacking = "number of cases" if has_interval else "figure with its interval"
        raise NodeError(
            f'{path}: "Measured" of status = "product" states no {lacking}: a product needs '
            'figures, such as "AUC 0.91 (0.87 to 0.94), n = 322", or another status'
        )
    return f"{CARD} states what was measured"


def _measured(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise NodeError(
            f"{path}: there is no model card; write what it measures and is not"
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if OPEN_QUESTION in line:
            question = line.partition(OPEN_QUESTION)[2].strip(" :*-")
            raise NodeError(f"{path}:{number}: an open question: {question}")
    section = re.search(r"(?ms)^#+ *Measured\b(.*?)(?=^# |^## |\Z)", text)
    if section is None:
        raise NodeError(f'{path}: no section "Measured"; state what was measured, on what data')
    return section[1]
