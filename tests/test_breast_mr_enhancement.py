"""models/breast-mr-enhancement: what its recipe writes, and what each of its rules does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from mr_studies import written
from numpy.typing import NDArray

from node.config import bundled_models_dir
from node.imaging.breast_region import BreastLabel
from node.manifest import CARD, Model, load_model
from node.offline import analyse_folder
from node.study import Laterality
from node.training.breast_mr_enhancement.graph import (
    NEAR_MM,
    PARTS,
    PERCENT_ENHANCED,
    build_enhancement,
)
from node.training.breast_mr_enhancement.measured_bodies import (
    LONG_PHASES,
    MeasuredBody,
    lesion_of,
)
from node.training.breast_mr_enhancement.measuring import MeasuredBreast, breasts_compared
from node.training.breast_mr_enhancement.package import ENHANCEMENT_PACKAGE, write_enhancement
from node.training.breast_mr_enhancement.tables import (
    BEGIN,
    END,
    measured_tables,
    of_network,
    write_tables,
)
from node.trial.breast_mr.body import USUAL, Body
from node.trial.breast_mr.study import StudyPlan

Floats = NDArray[np.float32]
SIZE = (24, 32, 48)
"""Of small volumes: right half and left half, skin in the first row, chest wall in the last ten."""
BEFORE = 100.0
LESION = np.s_[8:16, 8:16, 30:38]
"""In the left half, of 8 mm."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(ENHANCEMENT_PACKAGE, bundled_models_dir())


@cache
def session() -> onnxruntime.InferenceSession:
    network = build_enhancement(SIZE).SerializeToString()
    return onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])


def region() -> Floats:
    labels = np.full(SIZE, BreastLabel.RIGHT_BREAST, np.float32)
    labels[:, :, SIZE[2] // 2 :] = BreastLabel.LEFT_BREAST
    labels[:, 0] = BreastLabel.SKIN
    labels[:, -10:] = BreastLabel.CHEST_WALL
    return labels


def phase() -> Floats:
    return np.full(SIZE, BEFORE, np.float32)


def answered(
    early: Floats, late: Floats | None = None, before: Floats | None = None
) -> tuple[Mapping[str, NDArray[np.bool_]], tuple[float, float]]:
    """Return what is marked, by part, and the ratios of the right and of the left breast."""
    volumes = {
        "pre": phase() if before is None else before,
        "early": early,
        "late": early if late is None else late,
        "region": region(),
    }
    given = {name: one[np.newaxis, np.newaxis] for name, one in volumes.items()}
    masks, ratios, every = session().run(["masks", "ratios", "every"], given)
    right, left = map(float, ratios[0])
    marked = dict(zip(PARTS, masks[0] > 0.5, strict=True))
    above = (early - volumes["pre"]) / volumes["pre"] >= PERCENT_ENHANCED / 100
    of_sides = [above & (volumes["region"] == side) for side in (1, 2)]
    if volumes["pre"].min() >= BEFORE / 2:  # elsewhere there is a least that is divided by
        np.testing.assert_allclose(every[0], [one.sum() / 1000 for one in of_sides], atol=1e-6)
    return marked, (right, left)


def lesion(percent: float, at: tuple[slice, ...] = LESION) -> Floats:
    made = phase()
    made[at] = BEFORE * (1 + percent / 100)
    return made


def voxels(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def test_the_recipe_writes_the_bytes_of_the_package(model: Model, tmp_path: Path) -> None:
    write_enhancement(tmp_path)
    for name in ("model.onnx", "manifest.toml"):
        assert (tmp_path / name).read_bytes() == (model.folder / name).read_bytes(), name
    assert len(model.read_weights()) < 20_000


def test_what_rises_by_the_threshold_counts_and_what_rises_less_does_not() -> None:
    marked, _ = answered(lesion(PERCENT_ENHANCED + 1))
    expected = np.zeros(SIZE, np.bool_)
    expected[LESION] = True
    assert (marked["enhancing"] == expected).all()
    marked, _ = answered(lesion(PERCENT_ENHANCED - 1))
    assert not any(mask.any() for mask in marked.values())


def test_a_voxel_that_is_lesion_in_a_small_part_only_does_not_count() -> None:
    """Where fat is dark a fifth of a lesion doubles the signal; the whole would be six times."""
    early = lesion(500)
    early[8:16, 8:16, 38] = BEFORE * 2
    assert early[10, 10, 38] / BEFORE - 1 > PERCENT_ENHANCED / 100
    marked, _ = answered(early)
    assert not marked["enhancing"][:, :, 38].any()
    assert marked["enhancing"][LESION].all()
    far = lesion(500)
    far[8:16, 8:16, 38 + NEAR_MM + 1 : 46] = BEFORE * 2
    marked, _ = answered(far)
    assert marked["enhancing"][10, 10, 38 + NEAR_MM + 1 : 46].all(), "it is what it is by itself"


def test_a_voxel_that_is_half_bright_fat_counts_with_the_lesion_it_is_next_to() -> None:
    """250 in a lesion and 700 in fat: a little more than half of it rises by 43 %."""
    before, early = np.full(SIZE, 700.0, np.float32), np.full(SIZE, 700.0, np.float32)
    before[LESION], early[LESION] = 250, 600
    edge = np.s_[8:16, 8:16, 38]
    before[edge], early[edge] = 452, 645
    assert PERCENT_ENHANCED / 100 > 645 / 452 - 1
    marked, _ = answered(early, before=before)
    assert marked["enhancing"][edge].all() and voxels(marked["enhancing"]) == 8 * 8 * 9


def test_what_enhances_evenly_and_less_than_the_threshold_does_not_count_beside_a_lesion() -> None:
    early = lesion(PERCENT_ENHANCED + 10)
    beside = np.s_[4:20, 4:20, 38:46]
    early[beside] = BEFORE * (1 + (PERCENT_ENHANCED - 10) / 100)
    marked, _ = answered(early)
    assert marked["enhancing"][LESION].all()
    assert not marked["enhancing"][11:13, 11:13, 38:].any()


def test_noise_where_there_is_next_to_no_signal_is_no_enhancement() -> None:
    before = phase()
    before[LESION] = 2
    early = before.copy()
    early[LESION] = 8
    assert not answered(early, before=before)[0]["enhancing"].any()


def test_what_is_thin_is_told_apart_and_of_what_hangs_on_a_lesion_a_voxel_is_kept() -> None:
    early = lesion(150)
    early[11:13, 11:13, 2:20] = BEFORE * 2.5
    marked, _ = answered(early)
    assert voxels(marked["thin"]) == 2 * 2 * 18
    assert voxels(marked["enhancing"]) == 8**3
    hanging = lesion(150)
    hanging[11:13, 11:13, 24:30] = BEFORE * 2.5
    marked, _ = answered(hanging)
    assert voxels(marked["enhancing"]) == 8**3 + 2 * 2 * 1
    assert voxels(marked["thin"]) == 2 * 2 * 5


def test_skin_and_chest_wall_are_told_apart() -> None:
    early = lesion(500, np.s_[8:16, 0:8, 30:38])
    early[8:16, 24:32, 5:13] = BEFORE * 6
    marked, _ = answered(early)
    assert voxels(marked["skin"]) == 8 * 8 and marked["skin"][:, 0].any()
    assert voxels(marked["enhancing"]) == 8 * 8 * 7
    assert voxels(marked["chest wall"]) == 8**3


def test_single_voxels_of_the_chest_wall_do_not_count() -> None:
    early = phase()
    early[4:20:4, 25:31:3, 4:44:4] = BEFORE * 2.5
    marked, _ = answered(early)
    assert not marked["chest wall"].any()


@pytest.mark.parametrize(
    ("late", "name"),
    [(1.11, "persistent"), (1.09, "plateau"), (0.91, "plateau"), (0.89, "washout")],
)
def test_delayed_phases_are_those_of_bi_rads(late: float, name: str) -> None:
    early = lesion(200)
    after = early.copy()
    after[LESION] *= late
    marked, _ = answered(early, after)
    for part in ("persistent", "plateau", "washout"):
        assert voxels(marked[part]) == (8**3 if part == name else 0)


def test_the_ratio_of_a_breast_is_that_of_mean_signals() -> None:
    early, late = lesion(200), lesion(100)
    early[8:16, 8:16, 6:14] = BEFORE * 2
    late[8:16, 8:16, 6:14] = BEFORE * 1.5
    late[8:16, 8:16, 6:10] = BEFORE
    _, (right, left) = answered(early, late)
    assert left == pytest.approx(2)
    assert right == pytest.approx(4), "where nothing is left late it is no infinity"


def test_of_nothing_there_is_no_ratio() -> None:
    _, (right, left) = answered(lesion(100))
    assert math.isnan(right) and left == pytest.approx(1)
    _, (right, left) = answered(lesion(100), phase())
    assert math.isnan(left), "all contrast agent has gone"


def test_tables_say_of_each_row_whether_it_holds(tmp_path: Path) -> None:
    of = MeasuredBody("size", "usual", StudyPlan())
    rows = [
        MeasuredBreast(of, Laterality.LEFT, 4.0, 4.1),
        MeasuredBreast(of, Laterality.RIGHT, 4.0, 4.2),
        MeasuredBreast(of, Laterality.LEFT, 1.0, 0.92),
        MeasuredBreast(of, Laterality.RIGHT, 0.0, 0.3, thin_ml=1.2),
        MeasuredBreast(of, Laterality.LEFT, 3.0, None, why_not="moved"),
    ]
    said = measured_tables(rows)
    assert "| 2 ml and more, within 3 % | n = 2 | 1 | +2.5 to +5.0 % |" in said
    assert "| 0.5 to 2 ml, within 10 % | n = 1 | 1 | -8.0 to -8.0 % |" in said
    assert "| size | usual | 2.0 | R | 4.00 | 4.20 | +5.0 % | **does not hold** |" in said
    assert "| size | usual | 2.0 | L | 3.00 | not analysed |  |  |" in said
    assert "| size: usual | R | 0.30 | 1.2 |" in said
    card = tmp_path / CARD
    card.write_text(f"# A\n\n{BEGIN}\nformer\n{END}\n\nrest\n", "utf-8")
    write_tables(card, rows, "0123456789abcdef")
    assert "SHA-256 begins with 0123456789ab." in card.read_text("utf-8")
    assert "former" not in card.read_text("utf-8") and said in card.read_text("utf-8")
    assert card.read_text("utf-8").endswith(f"{END}\n\nrest\n")


def test_what_the_card_prints_was_measured_with_the_network_of_the_package(model: Model) -> None:
    card = (model.folder / CARD).read_text("utf-8")
    assert of_network(model.manifest.weights.sha256) in card


@pytest.mark.slow
def test_volumes_are_within_their_limits_through_files(model: Model, tmp_path: Path) -> None:
    body = replace(
        USUAL,
        lesions=(lesion_of(1.0, (-70.0, -38.0, -8.0)), lesion_of(5.0, (72.0, -40.0, 8.0))),
    )
    right, left = measured(body, model, tmp_path)
    assert right.holds and left.holds, (right.error, left.error)
    assert right.ratio is not None and left.ratio is not None
    assert left.ratio > 1.2, "it washes out"


@pytest.mark.slow
def test_without_lesion_nothing_is_found_and_there_is_no_ratio(
    model: Model, tmp_path: Path
) -> None:
    for row in measured(replace(USUAL, lesions=()), model, tmp_path):
        assert row.found_ml is not None and row.found_ml < 0.05
        assert row.thin_ml > 0.3, "its vessels"
        assert row.ratio is None


@pytest.mark.slow
def test_who_moved_too_far_is_not_analysed(model: Model, tmp_path: Path) -> None:
    rows = measured(replace(USUAL, motion_mm=(0.0, -2.8, 1.2)), model, tmp_path)
    assert all(row.found_ml is None and "2 mm" in row.why_not for row in rows)


def measured(body: Body, model: Model, folder: Path) -> list[MeasuredBreast]:
    plan = StudyPlan(body=body, shape=(85, 125, 170), schedule=LONG_PHASES, beside=False)
    paths = written(plan, folder / "study")
    kinds = ("measurement-report",)
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None, kinds).studies
    if study.result is not None and study.result.solids:
        said = [one for one in study.result.statements if "is not given" in one]
        none = [
            one for one in breasts_compared(MeasuredBody("", "", plan), study) if one.ratio is None
        ]
        assert len(said) == len(none)
    return list(breasts_compared(MeasuredBody("", "", plan), study))
