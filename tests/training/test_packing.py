"""A package that a trained network becomes: it runs, and its card says what was measured."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
from labelled import Labelled, silent

from node.errors import ConfigError
from node.evaluation.cases import CaseAbout
from node.evaluation.evaluating import EvaluationDocument, EvaluationSettings, evaluate_model
from node.evaluation.labels import LabelTable, read_labels
from node.evaluation.measures import Measured
from node.evaluation.report import summary, write_evaluation
from node.imaging.digests import pixel_digest
from node.manifest import InputTensor, ManifestUnit, Model
from node.packages.card import card_in_words
from node.packages.checking import check_package
from node.training.choosing import Chosen, choose_points, platt, said_parts
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
    table_in,
    this_file_rows,
    write_trained_package,
)
from node.training.recipe import Recipe, read_recipe

pytestmark = pytest.mark.usefixtures("warm_inference")

FREE, ILL = 22, 6
"""Women without and with a lesion; a lesion is on the right."""
DIGEST = "ab" * 32


def network(takes: str, of: str, **words: object) -> ExportedNetwork:
    """Return a network whose score rises with the brightest of an image, or of four together."""
    before = ""
    if of == "together":
        before = "together = Max(r_cc, l_cc, r_mlo, l_mlo)"
    made = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]> small ({takes}) => (float[1,1] score) {{
            {before}
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
        "about": "image",
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
OF_BREASTS = RECIPE.model_copy(update={"about": "breast"})
OF_EXAMS = RECIPE.model_copy(update={"about": "exam"})
NETWORK_OF_EXAMS = network(
    ", ".join(f"float[1,1,96,64] {role}" for role in ("r_cc", "l_cc", "r_mlo", "l_mlo")),
    "together",
    unit=ManifestUnit(of="exam", roles=OF_EXAMS.roles, missing="blank", repeated="last"),
    inputs=tuple(
        InputTensor(tensor=role.lower().replace(" ", "_"), roles=(role,)) for role in OF_EXAMS.roles
    ),
)


@dataclass(frozen=True)
class Road:
    """All that came of one way from images to a package."""

    model: Model
    table: LabelTable
    chosen: Chosen
    facts: CardFacts
    out: Path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    images = Labelled(tmp_path_factory.mktemp("images"))
    for number in range(FREE + ILL):
        images.add(f"W{number}", has_lesion=number >= FREE)
    return images


@pytest.fixture(scope="module")
def road(images: Labelled, tmp_path_factory: pytest.TempPathFactory) -> Road:
    rows = [  # as it is in screening sets: of the ill the affected breast alone
        row for row in images.rows if int(row["patient"][1:]) < FREE or row["side"] == "R"
    ]
    return packed(tmp_path_factory.mktemp("packing"), images, rows, RECIPE, NETWORK)


@pytest.fixture(scope="module")
def road_of_exams(images: Labelled, tmp_path_factory: pytest.TempPathFactory) -> Road:
    base = tmp_path_factory.mktemp("packing-exams")
    return packed(base, images, images.rows, OF_EXAMS, NETWORK_OF_EXAMS)


def packed(
    base: Path,
    images: Labelled,
    rows: Sequence[dict[str, str]],
    recipe: Recipe,
    network: ExportedNetwork,
) -> Road:
    """Go the way from some of the images to a package."""
    table = read_labels(images.write(f"{recipe.about}.csv", rows), images.folder)
    draft = write_trained_package(base / "draft" / recipe.name, recipe, network, [DIGEST])
    first = evaluated(draft, table, base / "first")
    parts = said_parts(first.cases, OUTPUT, frozenset({"1"}), recipe.about)
    data = "28 generated women."
    chosen = choose_points(parts, recipe.levels.specificities, platt(parts, data), data)
    model = write_trained_package(base / "models" / recipe.name, recipe, network, [DIGEST], chosen)
    document = evaluated(model, table, base / "second", chosen)
    scored = [
        ScoredBreast(
            part.woman,
            part.exam,
            "".join(sorted(part.sides)),
            part.exam % 2,
            part.is_positive,
            part.images[0].percent / 100,
            {"machine": "1"},
        )
        for part in parts
    ]
    cross = cross_validation(scored, recipe.labels.matched)
    cross = replace(cross, within={"site": {"North\nwing | 2": cross.plain}})
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
    finish_package(model, recipe, facts)
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
    for what, value, *_ in this_file_rows(again, "image"):
        assert value in printed, what
    options = asked_thresholds(road.chosen).split()[1::2]
    assert [float(one) for one in options] == [one.threshold for one in road.chosen.points]
    card = (road.model.folder / "README.md").read_text("utf-8")
    assert card.index("## What it is not") < card.index("## What it is\n") < card.index("## Meas")
    assert "AUC, exam" not in card


def test_what_a_network_of_exams_says_is_counted_by_exams(
    road_of_exams: Road, tmp_path: Path
) -> None:
    chosen, document = road_of_exams.chosen, road_of_exams.facts.this_file
    (question,) = document.questions
    exams = question.about[CaseAbout.EXAM]
    assert (exams.counts.positives, exams.counts.negatives) == (ILL, FREE)
    assert chosen.calibration is not None
    assert chosen.points
    stated = [at for at in exams.thresholds if at.stated is not None]
    for point, at in zip(chosen.points, stated, strict=True):
        assert (point.negatives, point.positives) == (FREE, ILL)
        assert (at.true_negatives, at.true_positives) == (
            point.true_negatives,
            point.true_positives,
        )
        assert (at.specificity, at.sensitivity) == (point.specificity, point.sensitivity)
    rows = {what: cells for what, *cells in this_file_rows(document, "exam")}
    urgent = stated[0]
    assert [*rows] == [
        "AUC, exam",
        *(f"specificity, exam, {at.name}" for at in stated),
        *(f"sensitivity, exam, {at.name}" for at in stated),
        "Brier score, exam",
    ]
    assert rows["AUC, exam"][1] == f"{ILL} positive, {FREE} negative"
    assert rows[f"sensitivity, exam, {urgent.name}"][1] == f"{urgent.true_positives} of {ILL}"
    assert rows["Brier score, exam"][1] == f"{FREE + ILL} exams"
    again = evaluated(road_of_exams.model, road_of_exams.table, tmp_path / "again", chosen)
    assert list(amiss_in_card(road_of_exams.model, again)) == []


def test_the_card_of_a_network_of_exams_speaks_of_exams(road_of_exams: Road) -> None:
    card = (road_of_exams.model.folder / "README.md").read_text("utf-8")
    words = " ".join(card.split())
    assert "gives each exam one score, of its images at once (R CC, L CC, R MLO and L MLO)" in words
    assert "it knows which breasts are there" in words
    assert "| per exam | AUC (95 %) |" in card
    assert f"{ILL} affected exams" in words
    assert "Sensitivity is of affected exams." in words
    for other in ("higher breast", "affected breast", "per breast", "nor the other", "AUC, breast"):
        assert other not in words.replace("| brightest | folds 1, 2 | breast |", "")


def test_what_divides_cells_is_taken_out_of_them(road: Road) -> None:
    rows = table_in(road.model.folder / "README.md", "Cross-validation")
    assert rows["within site North wing / 2"] == rows["AUC within folds, averaged"]


def test_of_what_a_network_says_nothing_there_is_no_row(road: Road) -> None:
    question = road.facts.this_file.questions[0]
    silent_of_images = dict(question.about)
    silent_of_images[CaseAbout.IMAGE] = replace(
        question.about[CaseAbout.IMAGE], auc=Measured(None, None)
    )
    document = replace(road.facts.this_file, questions=(replace(question, about=silent_of_images),))
    for about in ("image", "breast"):
        rows = [what for what, *_ in this_file_rows(document, about)]
        assert "AUC, image" not in rows
        assert rows[0] == "AUC, breast"


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
        this_file_rows(replace(other, questions=()), "image")


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
    model = write_trained_package(tmp_path / RECIPE.name, OF_BREASTS, both, [])
    manifest = model.manifest
    assert manifest.unit.roles == ("CC", "MLO")
    assert manifest.intended_use == "detection", "no level before a threshold was chosen"
    (output,) = tomllib.loads(manifest_text(OF_BREASTS, both, None))["outputs"]
    assert output["combine"] == {"exam": "highest"}


def test_a_package_lies_in_a_folder_of_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='expected a folder named "brightest"'):
        write_trained_package(tmp_path / "other", RECIPE, NETWORK, [])
