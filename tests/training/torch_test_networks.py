"""Trunks, heads, and what is written as ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from node.inference.onnx import Graph
from node.onnx_file import opset_of
from node.training.export import export_network
from node.training.networks import Combining, Head, LearningNetwork, OfRoles, begun_network
from node.training.recipe import Pool
from node.training.trunks import begun_trunk, weights_path
from training.planted import planted, small_recipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(600)]

POOLS: tuple[Pool, ...] = ("log-sum-exp", "attention", "mean")


def knowing(trunk: str = "efficientnet-lite0", pool: str = "log-sum-exp") -> LearningNetwork:
    """Return a network whose head says something."""
    network = begun_network(
        small_recipe(network={"trunk": trunk, "frozen": "all", "pool": pool}, labels={}), 1
    )
    torch.manual_seed(7)
    torch.nn.init.normal_(network.head.judge.weight, std=0.1)
    network.eval()
    return network


def wide(count: int) -> np.ndarray:
    """Return images that are large enough for Inception V3."""
    tensors = planted(count).tensors.astype(np.float32)
    return np.pad(tensors, ((0, 0), (0, 0), (0, 32), (0, 64)))


# --- trunks -----------------------------------------------------------------------------------


def test_inception_v3_sees_what_the_published_network_sees() -> None:
    # Only here is the program of that file run, to compare with; training reads its tensors alone.
    trunk = begun_trunk("inception-v3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = torch.jit.load(str(weights_path("inception-v3")))
    image = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1

    with torch.inference_mode():
        seen = trunk(image, trunk.stages).mean((2, 3))
        assert torch.allclose(seen, published(image), atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "inception-v3"])
def test_each_stage_has_the_channels_it_says(name: str) -> None:
    trunk, x = begun_trunk(name), torch.zeros(1, 3, 128, 96)

    for stage in trunk.stages:
        x = trunk.step(stage, x)
        assert x.shape[1] == trunk.channels[stage]

    assert {id(p) for stage in trunk.stages for part in trunk.parts(stage) for p in
            part.parameters()} == {id(p) for n, p in trunk.named_parameters()}  # fmt: skip


def test_statistics_of_batch_normalisation_stay_whatever_is_learnt() -> None:
    trunk = begun_trunk("efficientnet-lite0")
    before = {name: value.clone() for name, value in trunk.named_buffers()}
    learning = trunk.learning(("block 6", "top"))

    trunk.train()
    trunk(torch.rand(2, 3, 64, 64), trunk.stages).sum().backward()

    assert all(torch.equal(value, before[name]) for name, value in trunk.named_buffers())
    assert not any(module.training for module in trunk.modules())
    with_gradient = [p for p in trunk.parameters() if p.grad is not None]
    assert {id(p) for p in with_gradient} == {id(p) for p in learning}


# --- heads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
def test_a_head_begins_undecided_and_shows_each_cell(pool: Pool) -> None:
    head = Head(8, 2, pool).eval()
    features = torch.rand(3, 8, 5, 4)

    assert torch.equal(head(features), torch.zeros(3, 2))
    assert head.cells(features).shape == (3, 1, 5, 4)


def test_log_sum_exp_is_between_mean_and_highest() -> None:
    head = Head(1, 1, "log-sum-exp").eval()
    torch.nn.init.ones_(head.judge.weight)
    cells = torch.tensor([0.0, 1.0, 4.0, 0.5]).reshape(1, 1, 2, 2)

    assert cells.mean() < head(cells).item() < cells.max()
    assert head(torch.full((1, 1, 2, 2), 3.0)).item() == pytest.approx(3)


def test_a_breast_is_the_mean_of_its_projections_and_an_exam_its_highest_breast() -> None:
    views = ["CC", "CC", "MLO", "MLO"]
    logits = torch.tensor([[1.0], [3.0], [6.0], [-9.0]])

    breasts = Combining([0, 0, 0, 1], views, [0, 1])(logits)
    exam = Combining([0, 0, 0, 1], views, [0, 0])(logits)

    assert torch.allclose(breasts, torch.tensor([[4.0], [-9.0]]))
    assert exam.item() == pytest.approx(4.0, abs=1e-4)


def test_a_study_of_many_slices_does_not_begin_as_ill_and_one_that_stands_out_counts() -> None:
    slices, studies, views = range(40), [0] * 32 + [1] * 8, [""] * 40
    combining = Combining(slices, views, studies, averaged=True)
    logits = torch.zeros(40, 1)

    nothing_is_known = combining(logits)
    logits[3] = 12
    one_stands_out = combining(logits)

    assert torch.allclose(nothing_is_known, torch.zeros(2, 1), atol=1e-6)
    assert one_stands_out[0].item() == pytest.approx(12 - np.log(32), abs=0.01)
    assert one_stands_out[1].item() == pytest.approx(0, abs=1e-6)


def test_a_network_of_roles_says_what_its_images_come_to() -> None:
    network, images = knowing(), torch.from_numpy(wide(2))
    blank = torch.zeros_like(images[:1])
    with torch.inference_mode():
        cc, mlo, other_cc, other_mlo = network(images)[:, 0]
        breast = OfRoles(network, ["CC", "MLO"])
        assert breast(images[0:1], images[1:2]).item() == pytest.approx((cc + mlo).item() / 2)
        assert breast(images[0:1], blank).item() == pytest.approx(cc.item())
        exam = OfRoles(network, ["R CC", "L CC", "R MLO", "L MLO"])
        found = exam(images[0:1], images[2:3], images[1:2], images[3:4])
        both = torch.stack([(cc + mlo) / 2, (other_cc + other_mlo) / 2])
        assert found.item() == pytest.approx(torch.logsumexp(both, 0).item(), abs=1e-4)
        assert exam(images[0:1], blank, blank, blank).item() == pytest.approx(cc.item(), abs=1e-4)


# --- ONNX -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trunk", ["efficientnet-lite0", "inception-v3"])
def test_an_exported_network_answers_as_in_torch(trunk: str, tmp_path: Path) -> None:
    network, images = knowing(trunk, "attention"), wide(2)

    exported = export_network(
        network,
        (),
        [[image] for image in images],
        tmp_path / "model.onnx",
        has_cells=True,
    )

    assert exported.parity < 1e-5
    graph = Graph(tmp_path / "model.onnx")
    answers = graph.answers({"image": images[:1]})
    with torch.inference_mode():
        logit = network(torch.from_numpy(images[:1]))[0, 0].item()
    expected = 1 / (1 + np.exp(-logit))
    assert answers["score"].shape == (1, 1)
    assert answers["score"].item() == pytest.approx(expected, abs=1e-4)
    assert answers["cells"].shape[2:] == exported.cells
    assert opset_of((tmp_path / "model.onnx").read_bytes()) == 18
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_sizes_that_are_odd_somewhere_are_padded_as_in_torch(tmp_path: Path) -> None:
    images = wide(2)[:, :, :80, :48]  # 5 rows and 3 columns before block 5, which halves them
    exported = export_network(knowing(), (), [[one] for one in images], tmp_path / "model.onnx")
    assert exported.parity < 1e-5


def test_a_network_of_a_breast_has_an_input_for_each_role(tmp_path: Path) -> None:
    images = wide(2)
    blank = np.zeros_like(images[0])

    exported = export_network(
        knowing(),
        ("CC", "MLO"),
        [[images[0], images[1]], [images[2], blank]],
        tmp_path / "model.onnx",
    )

    assert exported.inputs == {"CC": "cc", "MLO": "mlo"}
    assert [one.name for one in Graph(tmp_path / "model.onnx").inputs] == ["cc", "mlo"]
    assert exported.parity < 1e-5
