"""Of a series of many phases that cannot be followed, the reason is one remark."""

from __future__ import annotations

from pathlib import Path

from mr_solid_models import enhancing_model
from mr_studies import phases_in, small_plan, written

from node.imaging.voxels import require_comparable
from node.inference.following import with_percents
from node.inference.inputs import prepared_phases
from node.inference.on_volumes import on_volumes
from node.inference.solid_messages import LONGEST_REMARK
from node.inference.solids import score_solids
from node.manifest import SolidsOutput
from node.result import OutputScore


def test_forty_phases_that_cannot_be_followed_are_one_remark(tmp_path: Path) -> None:
    manifest = enhancing_model(tmp_path / "model", mm=4.0, size=(50, 70, 100)).manifest
    phases = phases_in(written(small_plan(shape=(20, 40, 48)), tmp_path))
    slices = {"pre": phases["pre"], "early": phases["post 2"]}
    prepared = prepared_phases(slices, manifest)
    on = on_volumes(slices, require_comparable(slices).stacks, prepared)
    (output, *others) = manifest.outputs
    assert isinstance(output, SolidsOutput) and prepared.region is not None
    both = (prepared.region.labels == 1) | (prepared.region.labels == 2)
    values = both[None].repeat(2, axis=0).astype("float32")
    scores = [score_solids(values, output, on), *(OutputScore() for _ in others)]
    cut = {f"post {number}": phases["post 1"][:-3] for number in range(3, 43)}
    after = {"post 1": phases["post 1"], **cut}
    followed, remarks = with_percents(scores, manifest, on, phases["pre"], after)
    assert [name for name, _ in followed[0].solids[0].percents] == ["post 1"]
    (said,) = remarks
    assert said.startswith("not in the curve: ") and said.endswith("; and 37 phases more")
    assert len(said) <= LONGEST_REMARK
