"""What benchmarks/throughput.py says of what it has measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.throughput import Work, as_received
from benchmarks.throughput_section import BARE, MOST_MB, NODE, of

LOOP = Work(100, 100, 100, 0, 500)
AS_IT_SHOULD = Work(100, 120, 140, 400, 600)
SLOW = Work(100, 150, 140, 400, 600)
GREEDY = Work(100, 120, 140, MOST_MB + 1, 600)


def verdicts(node: list[Work]) -> list[str]:
    section = of({(1, NODE): node, (1, BARE): [LOOP] * len(node)}, len(node))
    return [target.verdict for target in section.targets]


def test_rate_and_memory_are_judged_and_of_the_rounds_the_median_counts() -> None:
    assert verdicts([AS_IT_SHOULD] * 3) == ["yes", "yes"]
    assert verdicts([AS_IT_SHOULD, AS_IT_SHOULD, SLOW]) == ["yes", "yes"]
    assert verdicts([AS_IT_SHOULD, SLOW, SLOW]) == ["NO", "yes"]
    assert verdicts([AS_IT_SHOULD, AS_IT_SHOULD, GREEDY]) == ["yes", "NO"]


def test_beside_the_rate_stands_the_cpu_and_how_long_each_queue_was() -> None:
    one, several = [Work(30, 36, 42, 400, 600)], [AS_IT_SHOULD]
    worked = {(1, NODE): one, (1, BARE): [LOOP], (2, NODE): several, (2, BARE): [LOOP]}
    section = of(worked, 1)
    assert "(30 with one process and 100 with 2 processes)" in section.words
    assert section.targets[1].measured == "0.83 x; the loop's CPU is 0.71 x the node's"


def test_each_round_begins_at_the_state_in_which_all_was_received(tmp_path: Path) -> None:
    received = tmp_path / "received"
    received.mkdir()
    (received / "image.dcm").write_bytes(b"image")
    (received / "ledger.db").write_bytes(b"queued")
    for _ in range(2):
        as_received(tmp_path)
        state = tmp_path / "state"
        assert {path.name for path in state.iterdir()} == {"image.dcm", "ledger.db"}
        assert (state / "ledger.db").read_bytes() == b"queued"
        assert (state / "image.dcm").samefile(received / "image.dcm")
        (state / "ledger.db").write_bytes(b"done")
        (state / "report.dcm").write_bytes(b"report")
