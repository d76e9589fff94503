"""`ai-node train` as a whole, on a small generated collection laid out as TCIA does."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled import silent

from node.errors import ConfigError
from node.evaluation.evaluating import EvaluationSettings, evaluate_model
from node.evaluation.labels import LabelTable
from node.packages.checking import check_package
from node.training.collections.table import labelled_images
from node.training.packing import amiss_in_card, amiss_in_cross_validation
from node.training.recipe import Recipe, read_recipe
from node.training.running import (
    TrainedPackage,
    TrainingSettings,
    measure_recipe,
    train_package,
)
from training.recipes import recipe_of
from training.tcia import Planted, write_collection

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("warm_inference"),
]

WOMEN = 60
RECIPE = recipe_of(
    size=(160, 96),
    name="planted",
    title="Planted",
    network={"frozen": "block 2"},
    schedule={"head_epochs": 30, "epochs": 4},
    folds={"count": 3},
)


def settings_of(collection: Path, folder: Path, recipe: Recipe = RECIPE) -> TrainingSettings:
    return TrainingSettings(
        recipe=recipe,
        table=labelled_images(collection, None, "cbis-ddsm"),
        out=folder / "packages",
        work=folder / "work",
        train="ai-node train recipe.toml tcia --collection cbis-ddsm",
        evaluate="ai-node evaluate planted tcia --collection cbis-ddsm",
        processes=2,
    )


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "tcia"
    write_collection(folder, Planted(women=WOMEN))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("road")


@pytest.fixture(scope="module")
def trained(collection: Path, base: Path) -> TrainedPackage:
    return train_package(settings_of(collection, base), silent)


def test_a_planted_lesion_is_found_in_women_who_were_never_seen(trained: TrainedPackage) -> None:
    plain = trained.cross_validation.plain
    assert (plain.positives, plain.negatives, plain.women) == (WOMEN, WOMEN, WOMEN)
    assert plain.auc.value is not None
    assert plain.auc.value > 0.90


def test_the_package_is_whole_and_says_what_evaluate_says(
    trained: TrainedPackage, collection: Path, tmp_path: Path
) -> None:
    model = trained.model
    assert [one for one in check_package(model) if not one.is_ok] == []
    assert read_recipe(model.folder / "recipe.toml") == RECIPE
    assert trained.parity < 1e-4
    asked = EvaluationSettings(
        table=labelled_images(collection, None, "cbis-ddsm"),
        out_dir=tmp_path,
        thresholds=tuple(point.threshold for point in trained.chosen.points),
    )
    document = evaluate_model(model, asked, silent)
    assert list(amiss_in_card(model, document)) == []
    assert list(amiss_in_cross_validation(model, trained.cross_validation)) == []
    assert document.given.patients_left_out > WOMEN // 2
    card = (model.folder / "README.md").read_text("utf-8")
    assert str(collection) not in card
    assert "what it is not" in card.lower()


OF_EXAMS = recipe_of(
    name="planted-exams",
    title="Planted exams",
    about="exam",
    network={"frozen": "all"},
    schedule={"head_epochs": 6, "epochs": 0, "rate_of_head": 1e-3, "batch": 8},
    folds={"count": 2},
)


def test_a_network_of_exams_is_measured_and_described_by_exams(
    collection: Path, tmp_path: Path
) -> None:
    trained = train_package(settings_of(collection, tmp_path, OF_EXAMS), silent)
    model, plain = trained.model, trained.cross_validation.plain
    rows = labelled_images(collection, None, "cbis-ddsm").rows
    ill = {row.patient for row in rows if row.label == "1"}
    assert (plain.positives, plain.negatives) == (len(ill), WOMEN - len(ill))
    assert [one for one in check_package(model) if not one.is_ok] == []
    assert trained.chosen.calibration is None or trained.chosen.calibration.prevalence is not None
    assert not trained.chosen.why_no_points.startswith("0 exams")
    card = (model.folder / "README.md").read_text("utf-8")
    assert f"{len(ill)} of {WOMEN} exams are positive." in card
    words = " ".join(card.split())
    for said in (
        "gives each exam one score, of its images at once (R CC, L CC, R MLO and L MLO)",
        "frozen up to its end: a head alone learnt the labels.",
        "| per exam | AUC (95 %) |",
        "| AUC, exam | ",
        "| Brier score, exam | ",
        "| Planted exams | all folds | exam | ",
    ):
        assert said in words
    for other in ("higher breast", "per breast", "AUC, image", "AUC, breast", "affected breasts"):
        assert other not in words


def test_a_card_that_says_something_else_is_not_packed(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings_of(collection, tmp_path, OF_EXAMS)
    monkeypatch.setattr("node.training.running.amiss_in_card", lambda *_: ["AUC: another one"])
    with pytest.raises(ConfigError, match=r"so there is no package; .*\nAUC: another one"):
        train_package(asked, silent)
    assert not (asked.out / OF_EXAMS.name).exists()


def test_from_shuffled_labels_nothing_is_learnt(collection: Path, base: Path) -> None:
    found = []
    for seed in range(3):
        asked = settings_of(collection, base)
        table = shuffled(asked.table, seed)
        measured = measure_recipe(replace(asked, table=table), (0, 1, 2), silent)
        found.append(measured.plain.auc.value)
    assert None not in found
    assert 0.40 <= np.mean(np.array(found, float)) <= 0.60, found


def shuffled(table: LabelTable, seed: int) -> LabelTable:
    """Return the same images, the labels of breasts dealt out to others of the same fold's size."""
    breasts = sorted({(row.patient, str(row.side)) for row in table.rows})
    label = {(row.patient, str(row.side)): row.label for row in table.rows}
    others = np.random.default_rng(seed).permutation([label[one] for one in breasts])
    dealt = dict(zip(breasts, others.tolist(), strict=True))
    rows = tuple(replace(row, label=dealt[row.patient, str(row.side)]) for row in table.rows)
    return replace(table, rows=rows)


def test_letters_that_a_machine_writes_beside_the_breast_teach_nothing(tmp_path: Path) -> None:
    write_collection(tmp_path / "tcia", Planted(women=WOMEN, lesions="border"))
    measured = measure_recipe(settings_of(tmp_path / "tcia", tmp_path), (0, 1, 2), silent)
    assert measured.plain.auc.value is not None
    assert measured.plain.auc.value < 0.60


@pytest.mark.parametrize("duplicate", ["exact", "jpeg"])
def test_a_film_under_another_womans_name_is_found_before_anything_is_learnt(
    tmp_path: Path, duplicate: str
) -> None:
    planted = Planted(women=6, duplicate=duplicate)  # type: ignore[arg-type]
    write_collection(tmp_path / "tcia", planted)
    with pytest.raises(ConfigError, match=r"yet of P_\d+, not of P_\d+"):
        train_package(settings_of(tmp_path / "tcia", tmp_path), silent)
    assert not (tmp_path / "work" / "networks").exists()


def test_a_run_that_was_killed_ends_with_the_same_network(
    trained: TrainedPackage, collection: Path, tmp_path: Path
) -> None:
    for found in ("features/*/done", "networks/*/last.pt", "networks/*/epoch-002.pt"):
        kill_once_there_is(found, collection, tmp_path)
    again = train_package(settings_of(collection, tmp_path), silent)
    digests = [
        hashlib.sha256(one.model.weights_path.read_bytes()).hexdigest() for one in (trained, again)
    ]
    assert digests[0] == digests[1]


def kill_once_there_is(pattern: str, collection: Path, folder: Path) -> None:
    """Begin a training in a process of its own, and kill it as soon as a file is there."""
    here = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    command = [sys.executable, __file__, str(collection), str(folder)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        while not list((folder / "work").glob(pattern)):
            assert process.poll() is None, "it came to its end"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_one_score_for_an_exam_is_refused_where_the_other_breast_is_missing(
    collection: Path, tmp_path: Path
) -> None:
    asked = settings_of(collection, tmp_path, RECIPE.model_copy(update={"about": "exam"}))
    rows = [row for row in asked.table.rows if row.label == "1" or row.patient != "P_00001"]
    rows = [row for row in rows if not (row.patient == "P_00002" and str(row.side) == "L")]
    with pytest.raises(ConfigError, match="have one breast alone"):
        train_package(replace(asked, table=replace(asked.table, rows=tuple(rows))), silent)


def test_a_second_training_in_a_work_folder_is_refused(collection: Path, base: Path) -> None:
    from node.training.running import work_folder

    asked = settings_of(collection, base)
    with work_folder(asked.work), pytest.raises(ConfigError, match="another training works there"):
        train_package(asked, silent)


def test_a_package_that_was_not_trained_is_not_written_over(
    collection: Path, tmp_path: Path
) -> None:
    asked = settings_of(collection, tmp_path)
    package = asked.out / RECIPE.name
    package.mkdir(parents=True)
    (package / "manifest.toml").write_text("", "utf-8")
    with pytest.raises(ConfigError, match="`ai-node train` has not made"):
        train_package(asked, silent)


def main(arguments: Sequence[str]) -> None:
    collection, folder = map(Path, arguments)
    train_package(settings_of(collection, folder), silent)


if __name__ == "__main__":
    main(sys.argv[1:])
