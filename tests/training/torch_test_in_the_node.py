"""A network that was trained, exported and packed says in the node what it says in torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import Labelled, silent

from node.evaluation.cases import CaseAbout
from node.evaluation.evaluating import EvaluationSettings, evaluate_model
from node.evaluation.labels import LabelRow, LabelTable, read_labels
from node.inference.inputs import prepared_image
from node.manifest import HeatMapOutput, InputTensor, ManifestCode, ManifestUnit, PartOfStudy
from node.study import Laterality, View
from node.training.examples import Example, reading_manifest
from node.training.export import CELLS_TENSOR, SCORE_TENSOR, export_network
from node.training.features import frozen_features
from node.training.learning import NetworkLessons, train_network
from node.training.measuring import breasts_of
from node.training.networks import Combining, LearningNetwork, ScoringNetwork, begun_network
from node.training.packing import OUTPUT, ExportedNetwork, write_trained_package
from node.training.recipe import Recipe
from node.training.units import units_of
from node.trial import phantom
from training.planted import Planted, planted

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("warm_inference"),
]

ROLES: dict[PartOfStudy, tuple[str, ...]] = {
    "image": (),
    "breast": ("CC", "MLO"),
    "exam": ("R CC", "L CC", "R MLO", "L MLO"),
}
SIDE_PX = 128
"""Of what networks get: Inception V3 needs 75 pixels or more."""
R_CC, L_CC, L_MLO = (
    View(Laterality(side), projection)
    for side, projection in (("R", "CC"), ("L", "CC"), ("L", "MLO"))
)

Lines = frozenset[int]
"""Of the table: which images a score is of."""


def recipe_of(trunk: str, about: PartOfStudy) -> Recipe:
    resize = {"op": "resize", "height": SIDE_PX, "width": SIDE_PX, "fit": "stretch"}
    return Recipe.model_validate(
        {
            "name": "small",
            "title": "Small",
            "about": about,
            "pixels": [
                {"op": "grey", "values": "voi", "scale": "range of voi"},
                {"op": "mirror", "chest_wall": "left"},
                {**resize, "filter": "bilinear", "antialias": True},
            ],
            "network": {"trunk": trunk, "frozen": "all"},
            "augmentation": {"rotation_degrees": 0, "scale": 0, "grey": 0},
            "schedule": {"head_epochs": 6, "head_rate": 0.05, "warm_up_epochs": 1},
        }
    )


def learnt(recipe: Recipe, work: Path) -> LearningNetwork:
    """Return a network that has learnt a little of planted spots."""
    small = planted(16)
    room = ((0, 0), (0, 0), (0, SIDE_PX - 96), (0, SIDE_PX - 64))
    images = Planted(small.examples, np.pad(small.tensors, room))
    network = begun_network(recipe, 1)
    features = frozen_features(network, images.tensors, recipe.augmentation, 0, work)
    units = units_of(images.examples, recipe.about)
    lessons = NetworkLessons(recipe, images.examples, features, units, range(4))
    losses = list[float]()
    trained = train_network(lessons, network, work, lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < losses[0]
    return trained.load(begun_network(recipe, 1), 0)


class Outspoken(ScoringNetwork):
    """A network whose logits of the given images are 0 and vary by 2: it says different things."""

    def __init__(self, network: LearningNetwork, given: Given):
        super().__init__()
        self.network = network
        self.mean, self.slope = 0.0, 1.0
        logits = logits_of(self, given)
        self.mean, self.slope = logits.mean().item(), 2 / logits.std().item()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.slope * (self.network(images) - self.mean)

    def scored_and_shown(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, cells = self.network.scored_and_shown(images)
        return self.slope * (logits - self.mean), cells


@dataclass(frozen=True)
class Given:
    """Exams of generated DICOM, and what the node makes of each image."""

    table: LabelTable
    tensors: tuple[np.ndarray, ...]
    """(1, 128, 128) each, float32, in the order of the table."""
    images: tuple[Example, ...]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("images")
    labelled = Labelled(folder)
    paths = [
        *labelled.add("W1", has_lesion=True, views=phantom.EXAM),
        *labelled.add("W2", has_lesion=False, views=(R_CC, L_CC, L_MLO)),
    ]
    table = read_labels(labelled.write(), folder)
    manifest = reading_manifest(recipe_of("efficientnet-lite0", "image"))
    tensors, images = [], []
    for row, path in zip(table.rows, paths, strict=True):
        assert row.side is not None
        view = View(row.side, row.projection)
        tensors.append(prepared_image(path, view, manifest)[1].tensor[0])
        images.append(example_of(row, view))
    return Given(table, tuple(tensors), tuple(images))


def example_of(row: LabelRow, view: View) -> Example:
    exam = 1 if row.patient == "W1" else 2
    return Example(
        row, exam, row.patient, view.laterality, view.projection, "0" * 64, float(row.label)
    )


def exported_examples(given: Given, about: PartOfStudy) -> list[list[np.ndarray]]:
    """Return what the network reads at once, in the order of its roles; zeros for a missing one."""
    if about == "image":
        return [[one] for one in given.tensors]
    found = defaultdict[str, dict[str, np.ndarray]](dict)
    for image, tensor in zip(given.images, given.tensors, strict=True):
        is_exam = about == "exam"
        key = str(image.exam) if is_exam else f"{image.exam} {image.side}"
        role = f"{image.side} {image.projection}" if is_exam else image.projection
        found[key][role] = tensor
    blank = np.zeros_like(given.tensors[0])
    return [[roles.get(role, blank) for role in ROLES[about]] for roles in found.values()]


def said_in_the_node(
    network: ScoringNetwork, recipe: Recipe, given: Given, work: Path
) -> dict[CaseAbout, dict[Lines, float]]:
    """Return the scores, 0..1, of a package of a network, by what they are about."""
    about, path = recipe.about, work / "exported.onnx"
    examples = exported_examples(given, about)
    is_image = about == "image"
    exported = export_network(network, ROLES[about], examples, path, has_cells=is_image)
    heat_map = None
    if exported.cells is not None:
        height, width = exported.cells
        concept = ManifestCode(value="AI-SCORE", scheme="99AINODE", meaning="AI score")
        heat_map = HeatMapOutput(tensor=CELLS_TENSOR, height=height, width=width, concept=concept)
    unit = (
        ManifestUnit(of="image")
        if is_image
        else ManifestUnit(of=about, roles=ROLES[about], missing="blank")
    )
    model = write_trained_package(
        work / "models" / recipe.name,
        recipe,
        ExportedNetwork(
            path.read_bytes(),
            SCORE_TENSOR,
            unit=unit,
            inputs=tuple(
                InputTensor(tensor=tensor, roles=(role,))
                for role, tensor in exported.inputs.items()
            ),
            heat_map=heat_map,
        ),
        [],
    )
    document = evaluate_model(model, EvaluationSettings(given.table, work / "out"), silent)
    found = defaultdict[CaseAbout, dict[Lines, float]](dict)
    for case in document.cases:
        if case.said:
            found[case.about][frozenset(case.lines)] = case.said[OUTPUT][0] / 100
    return found


def score(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def logits_of(network: ScoringNetwork, given: Given) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(np.stack(given.tensors)))[:, :1]


@pytest.mark.parametrize(
    ("trunk", "about"),
    [
        ("efficientnet-lite0", "image"),
        ("efficientnet-lite0", "breast"),
        ("efficientnet-lite0", "exam"),
        ("inception-v3", "breast"),
        ("inception-v3", "image"),
    ],
)
def test_the_node_says_what_torch_says(
    trunk: str, about: PartOfStudy, given: Given, tmp_path: Path
) -> None:
    recipe = recipe_of(trunk, about)
    network = Outspoken(learnt(recipe, tmp_path), given).eval()
    logits = logits_of(network, given)

    said = said_in_the_node(network, recipe, given, tmp_path)

    units = units_of(given.images, about)
    breasts = [breast for unit in units for breast in unit.breasts]
    order = [image for breast in breasts for image in breast]
    combining = Combining(
        [place for place, breast in enumerate(breasts) for _ in breast],
        [given.images[image].projection for image in order],
        [place for place, unit in enumerate(units) for _ in unit.breasts],
    )
    expected = {
        frozenset(given.images[image].row.line for image in unit.images): score(logit)
        for unit, logit in zip(units, combining(logits[order])[:, 0].tolist(), strict=True)
    }
    assert len(expected) == {"image": 7, "breast": 4, "exam": 2}[about]
    assert said[CaseAbout(about)] == pytest.approx(expected, abs=1e-4)
    assert np.ptp([*expected.values()]) > 0.05, "the network tells images apart"


@pytest.mark.parametrize("about", ["image", "breast"])
def test_a_breast_is_measured_as_the_node_combines_it(
    about: PartOfStudy, given: Given, tmp_path: Path
) -> None:
    recipe = recipe_of("efficientnet-lite0", about)
    network = Outspoken(learnt(recipe, tmp_path), given).eval()
    logits = logits_of(network, given)[:, 0].tolist()
    folds = [0] * len(logits)

    said = said_in_the_node(network, recipe, given, tmp_path)[CaseAbout.BREAST]

    of_scores = breasts_of(given.images, [score(logit) for logit in logits], folds)
    of_logits = breasts_of(given.images, logits, folds)
    mean_of_scores = [breast.score for breast in of_scores]
    score_of_mean = [score(breast.score) for breast in of_logits]
    assert np.abs(np.subtract(mean_of_scores, score_of_mean)).max() > 0.01
    expected = mean_of_scores if about == "image" else score_of_mean
    lines = defaultdict[tuple[int, str], set[int]](set)
    for image in given.images:
        lines[image.breast].add(image.row.line)
    by_lines = dict(zip(map(frozenset, lines.values()), expected, strict=True))
    assert said == pytest.approx(by_lines, abs=1e-4)
    assert [replace(one, score=0) for one in of_scores] == [
        replace(one, score=0) for one in of_logits
    ]
