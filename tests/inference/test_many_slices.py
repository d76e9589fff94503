"""A study of thousands of slices: all phases of it at once would not fit, one after another do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mr_many import saved_slices
from mr_models import uptake_model

from node.analysis.selection import select
from node.config import InferenceSettings
from node.dicom.header import read_header
from node.domains.description import describe
from node.inference import Inference

pytestmark = pytest.mark.slow

PHASES, SLICES, SIDE = 20, 200, 512
MEMORY_MB = 2048
"""Half of what `[inference] memory_mb` is by default; all phases as float32 are twice as much."""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[Path]]:
    """Return 2 GB of files, which do not stay."""
    folder = tmp_path / "study"
    yield saved_slices(folder, "many", phases=PHASES, slices=SLICES, side=SIDE)
    shutil.rmtree(folder)


def test_4000_slices_of_512_x_512_are_read_within_the_memory_limit(
    files: list[Path], tmp_path: Path
) -> None:
    assert len(files) == 4000
    assert PHASES * SLICES * SIDE * SIDE * 4 > MEMORY_MB * 2**20  # else it proves nothing
    roles = ("pre", *(f"post {number}" for number in range(1, PHASES)))
    model = uptake_model(tmp_path, roles=roles)
    headers = {
        header.SOPInstanceUID: (header, path) for path in files for header in [read_header(path)]
    }
    instances = [describe(header, path, path.name) for header, path in headers.values()]
    selection = select(instances, {uid: header for uid, (header, _) in headers.items()}, model)
    (unit,) = selection.units
    assert [len(volume) for volume in unit.volumes.values()] == [SLICES] * PHASES
    with Inference(InferenceSettings(memory_mb=MEMORY_MB), (model,)) as inference:
        (output,) = inference.score(unit, model).outputs
    assert 50 < output.measurements[0].value < 100  # it takes up contrast
