"""A package that a trained network becomes: it runs, and its card says what was measured."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
from labelled import Labelled, silent

from node.errors import ConfigError
from node.evaluation.cases import CaseAbout
from node.evaluation.evaluating import EvaluationDocument, EvaluationSettings, evaluate_model
from node.evaluation.labels import LabelTable, read_labels
from node.evaluation.report import summary, write_evaluation
from node.imaging.digests import pixel_digest
from node.manifest import InputTensor, ManifestUnit, Model
from node.packages.card import card_in_words
from node.packages.checking import check_package
from node.training.choosing import Chosen, choose_points, platt, said_breasts
from node.training.measuring import ScoredBreast, cross_validation
from node.training.packing import (
    OUTPUT,
    CardFacts,
    ExportedNetwork,
    Tried,
    amiss_in_card,
    amiss_in_cross_validation,
    asked_thresholds,
    finish_package,
    manifest_text,
    refuse_learnt,
    this_file_rows,
    write_trained_package,
)
from node.training.recipe import Recipe, read_recipe

pytestmark = pytest.mark.usefixtures("warm_inference")

FREE, ILL = 22, 6
"""Women without and with a lesion; a lesion is on the right."""
DIGEST = "ab" * 32


def network(takes: str, of: str, **words: object) -> ExportedNetwork:
    """Return a network whose score rises with the brightest of an image."""
    made = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]> small ({takes}) => (float[1,1] score) {{
            axes = Constant<value_ints = [2, 3]>()
            bright = ReduceMax<keepdims = 0>({of}, axes)
            half = Constant<value_float = 0.75>()
            over = Sub(bright, half)
            steep = Constant<value_float = 9.0>()
            logit = Mul(over, steep)
            score = Sigmoid(logit)
        }}"""
    )
    content = made.SerializeToString()
    return ExportedNetwork(content, "score", **words)  # type: ignore[arg-type]


RECIPE = Recipe.model_validate(
    {
        "name": "brightest",
        "title": "Brightest",
        "pixels": [
            {"op": "grey", "values": "voi", "scale": "range of voi"},
            {"op": "mirror", "chest_wall": "left"},
            {
                "op": "resize",
                "height": 96,
                "width": 64,
                "fit": "stretch",
                "filter": "bilinear",
                "antialias": True,
            },
        ],
        "labels": {"matched": [{"column": "machine"}]},
    }
)
NETWORK = network("float[1,1,96,64] image", "image")


@dataclass(frozen=True)
class Road:
    """All that came of one way from images to a package."""

    model: Model
    table: LabelTable
    chosen: Chosen
    facts: CardFacts
    out: Path


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    base = tmp_path_factory.mktemp("packing")
    images = Labelled(base / "images")
    for number in range(FREE + ILL):
        images.add(f"W{number}", has_lesion=number >= FREE)
    for row in [*images.rows]:  # as it is in screening sets: of the ill the affected breast alone
        if int(row["patient"][1:]) >= FREE and row["side"] == "L":
            images.rows.remove(row)
    table = read_labels(images.write(), images.folder)
    draft = write_trained_package(base / "draft" / RECIPE.name, RECIPE, NETWORK, [DIGEST])
    first = evaluated(draft, table, base / "first")
    breasts = said_breasts(first.cases, OUTPUT, frozenset({"1"}), by_image=True)
    data = "28 generated women."
    chosen = choose_points(breasts, RECIPE.levels.specificities, platt(breasts, data), data)
    model = write_trained_package(base / "models" / RECIPE.name, RECIPE, NETWORK, [DIGEST], chosen)
    document = evaluated(model, table, base / "second", chosen)
    scored = [
        ScoredBreast(
            b.woman,
            b.exam,
            b.side,
            b.exam % 2,
            b.is_positive,
            b.images[0].percent / 100,
            {"machine": "1"},
        )
        for b in breasts
    ]
    cross = cross_validation(scored, RECIPE.labels.matched)
    facts = CardFacts(
        data="Generated exams.",
        licence="Apache-2.0.",
        train="ai-node train recipe.toml images --labels labels.csv",
        evaluate="ai-node evaluate brightest images --labels labels.csv",
        took="It took no time.",
        cross_validation=cross,
        this_file=document,
        chosen=chosen,
        tried=(Tried("brightest", "folds 1, 2", "0.7 (0.6 to 0.8)", "-"),),
    )
    finish_package(model, RECIPE, facts)
    return Road(model, table, chosen, facts, base / "second")


def evaluated(
    model: Model, table: LabelTable, out: Path, chosen: Chosen | None = None
) -> EvaluationDocument:
    thresholds = tuple(point.threshold for point in chosen.points) if chosen else ()
    return evaluate_model(model, EvaluationSettings(table, out, thresholds=thresholds), silent)


def test_the_package_is_whole(road: Road) -> None:
    findings = list(check_package(road.model))
    assert [one for one in findings if not one.is_ok] == []
    assert card_in_words(road.model)
    names = {path.name for path in road.model.folder.iterdir()}
    assert names == {
        *("manifest.toml", "model.onnx", "README.md", "recipe.toml", "training-images.txt"),
        *("reference", "roc.png", "calibration.png"),
    }
    assert read_recipe(road.model.folder / "recipe.toml") == RECIPE
    manifest = road.model.manifest
    assert (manifest.status, manifest.intended_use) == ("demonstration", "triage")
    assert road.model.identity.is_demonstration


def test_the_node_counts_what_was_chosen(road: Road) -> None:
    (question,) = road.facts.this_file.questions
    exams, breasts = question.about[CaseAbout.EXAM], question.about[CaseAbout.BREAST]
    stated = [at for at in exams.thresholds if at.stated is not None]
    assert stated
    for point, exam, of_breasts in zip(road.chosen.points, stated, breasts.thresholds, strict=True):
        assert exam.threshold == of_breasts.threshold == point.threshold
        assert exam.true_negatives == point.true_negatives
        assert exam.true_negatives + exam.false_positives == point.negatives == FREE
        assert exam.specificity == point.specificity
        assert of_breasts.true_positives == point.true_positives
        assert of_breasts.true_positives + of_breasts.false_negatives == point.positives == ILL
        assert of_breasts.sensitivity == point.sensitivity
    urgent = road.chosen.points[0]
    levels = [case.level for case in road.facts.this_file.cases if case.about == CaseAbout.EXAM]
    assert levels[:FREE].count("urgent") == urgent.negatives - urgent.true_negatives
    assert levels[FREE:].count("urgent") == urgent.true_positives


def test_the_card_says_what_evaluate_prints(road: Road, tmp_path: Path) -> None:
    again = evaluated(road.model, road.table, tmp_path / "again", road.chosen)
    assert list(amiss_in_card(road.model, again)) == []
    assert list(amiss_in_cross_validation(road.model, road.facts.cross_validation)) == []
    write_evaluation(again, tmp_path / "again")
    printed = (tmp_path / "again" / "evaluation.md").read_text("utf-8")
    printed += "\n".join(summary(again))
    for what, value, *_ in this_file_rows(again):
        assert value in printed, what
    options = asked_thresholds(road.chosen).split()[1::2]
    assert [float(one) for one in options] == [one.threshold for one in road.chosen.points]
    card = (road.model.folder / "README.md").read_text("utf-8")
    assert card.index("## What it is not") < card.index("## What it is\n") < card.index("## Meas")
    assert "AUC, exam" not in card


def test_another_figure_is_told(road: Road) -> None:
    other = replace(
        road.facts.this_file,
        questions=(
            replace(
                (question := road.facts.this_file.questions[0]),
                about={k: v for k, v in question.about.items() if k != CaseAbout.IMAGE},
            ),
        ),
    )
    (problem,) = amiss_in_card(road.model, other)
    assert '"This file", AUC, image: the card says ' in problem
    assert problem.endswith("and it is nothing")
    with pytest.raises(ConfigError, match="says nothing of its score"):
        this_file_rows(replace(other, questions=()))


def test_images_that_were_learnt_from_are_left_out(road: Road, tmp_path: Path) -> None:
    first = road.table.rows[0]
    learnt = [pixel_digest(first.path), DIGEST, DIGEST]
    model = write_trained_package(tmp_path / RECIPE.name, RECIPE, NETWORK, learnt)
    lines = (model.folder / "training-images.txt").read_text("utf-8").splitlines()
    assert lines[0].startswith("# 2 images that brightest 0.1.0 has learnt from")
    assert lines[1:] == sorted({*learnt})
    given = evaluated(model, road.table, tmp_path / "out").given
    assert (given.trained_on, given.patients_left_out) == (1, 1)
    with pytest.raises(ConfigError, match="1 of 1 images that are to be measured"):
        refuse_learnt(learnt, [DIGEST])
    refuse_learnt(learnt, ["0" * 64])


def test_a_network_of_a_breast_has_two_inputs(tmp_path: Path) -> None:
    both = network(
        "float[1,1,96,64] cc, float[1,1,96,64] mlo",
        "cc",
        unit=ManifestUnit(of="breast", roles=("CC", "MLO")),
        inputs=(InputTensor(tensor="cc", roles=("CC",)), InputTensor(tensor="mlo", roles=("MLO",))),
    )
    model = write_trained_package(tmp_path / RECIPE.name, RECIPE, both, [])
    manifest = model.manifest
    assert manifest.unit.roles == ("CC", "MLO")
    assert manifest.intended_use == "detection", "no level before a threshold was chosen"
    (output,) = tomllib.loads(manifest_text(RECIPE, both, None))["outputs"]
    assert output["combine"] == {"exam": "highest"}


def test_a_package_lies_in_a_folder_of_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='expected a folder named "brightest"'):
        write_trained_package(tmp_path / "other", RECIPE, NETWORK, [])
