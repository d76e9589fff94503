"""What benchmarks/captures.py says of what it has measured."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from outputs.drafts import draft

from benchmarks.captures import AS_RECORDED, DEFAULT, Captured, compressed, of
from node.config import CompressedBy
from node.outputs import capture
from node.outputs.report_set import to_bytes

WAYS: tuple[CompressedBy, ...] = get_args(CompressedBy)
SMALL, LARGE = Captured(5, 5_900_000, 0.5), Captured(5, 6_100_000, 0.5)
LARGE_EACH: dict[str, Captured] = {AS_RECORDED: Captured(5, 40_000_000)} | {
    way: LARGE for way in WAYS
}
FOUND = LARGE_EACH | {DEFAULT[0]: SMALL}


def test_the_way_that_is_proposed_first_is_judged_and_each_is_shown_beside_the_limit() -> None:
    section = of([FOUND])
    assert [target.verdict for target in section.targets] == ["yes"]
    (table,) = section.figures
    small = {row[0]: row[3] for row in table.rows}
    assert small == {way: "yes" if way == DEFAULT[0] else "no" for way in FOUND}
    assert table.rows[-1][-1] == "100", "ms of CPU a page"
    assert [one.verdict for one in of([LARGE_EACH]).targets] == ["NO"]


def test_the_bytes_are_those_that_would_be_sent(tmp_path: Path) -> None:
    pages = []
    for number, one in enumerate(capture.build(draft())):
        pages.append(tmp_path / f"{number}.dcm")
        pages[-1].write_bytes(to_bytes(one))
    found = compressed(pages, DEFAULT[0])
    assert found.pages == len(pages)
    assert 0 < found.bytes < sum(page.stat().st_size for page in pages) / 4
