"""Packages of models that read phases: begun, looked at, checked, and what they get shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from mr_models import PIXELS, uptake_model
from mr_studies import phases_in, small_plan, written
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from test_package_beginning import QUESTION, begun, call, guessed, of_joined

from node.errors import NodeError
from node.imaging.stack import stack_of
from node.manifest import Model, NumberOutput, SolidsOutput
from node.manifest.inputs import OF_SLICES
from node.packages import mr_exams
from node.packages.checking import check_package
from node.packages.contact_sheet import MOST_SLICES, lying_of
from node.packages.exams import prepared_units
from node.packages.reference import compare_reference, write_reference
from node.trial.breast_mr.body import MOVED
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.raster import Orientation

ENHANCED_ONLY = (
    '    "1.2.840.10008.5.1.4.1.1.4",\n    "1.2.840.10008.5.1.4.1.1.4.1",\n'
    '    "1.2.840.10008.5.1.4.1.1.4.4",\n'
)
PHASES = """(float[1,2,32,48,96] phases) => (float[1,1] score) {{
    {body}
}}"""


def rewritten(model: Model, *changes: tuple[str, str]) -> Model:
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8")
    for present, other in changes:
        assert present in text, present
        text = text.replace(present, other)
    path.write_text(text, "utf-8")
    return Model(model.folder)


def findings(model: Model, files: Path | None = None) -> dict[str, tuple[bool, str]]:
    return {one.what: (one.is_ok, one.words) for one in check_package(model, files)}


# tensor


def test_each_phase_is_told_in_numbers_and_by_where_it_lies(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    written(small_plan(shape=(48, 80, 96), body=MOVED), tmp_path / "study")
    (tmp_path / "study" / "notes.txt").write_text("nothing")
    code, said = call("models", "tensor", model.folder, tmp_path / "study")
    assert code == 0, said
    (unit,), refused = prepared_units(model, sorted((tmp_path / "study").glob("*.dcm")))
    assert not refused
    pre, post = unit.phases
    values = pre.volume.tensor.astype(np.float64)
    p1, p50, p99 = np.percentile(values, (1, 50, 99))
    lines = said.splitlines()
    assert lines[:7] == [
        "Exam: pre",
        "  tensor      1 x 1 x 32 x 48 x 96 of float32",
        f"  numbers     0 to 1, mean {values.mean():.5g}, deviation {values.std():.5g}; "
        f"1 %: {p1:.5g}, 50 %: {p50:.5g}, 99 %: {p99:.5g}",
        "  volume      48 x 80 x 96 slices, rows and columns stored, 3.542 x 3.542 x 3.542 mm a "
        "voxel",
        "  stored      axial, rows to the back, columns to the left; stored values, no rescale "
        "given",
        "  place       its corners' voxels at (-188.0, -81.0, -62.0) and (192.0, 107.0, 62.0) mm, "
        "x, y and z (LPS)",
        "  one voxel   4 x 4 x 4 mm, axial, slices to the head, rows to the back, columns to the "
        "left",
    ]
    assert lines[7] == "Exam: post 1"
    (mm,) = post.displaced
    assert mm is not None
    assert lines[14] == f"  moved       {mm:.1f} mm against pre (more than 2 mm)"
    assert len(lines) == 15


def test_where_it_lies_is_told_of_the_body_not_of_the_files(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    for orientation, stored, seen in (
        (Orientation.SAGITTAL, "sagittal, rows to the feet, columns to the back", "axial, slices"),
        (Orientation.OBLIQUE, "axial turned by 8 degrees, rows", "axial turned by 8 degrees"),
    ):
        folder = tmp_path / orientation.name
        written(small_plan(orientation=orientation), folder)
        code, said = call("models", "tensor", model.folder, folder)
        assert code == 0, said
        assert f"  stored      {stored}" in said
        assert f" mm, {seen}" in said


def sheet(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as drawn:
        assert drawn.mode == "L"
        return np.asarray(drawn)


def test_the_contact_sheet_shows_every_slice_in_its_place_on_one_scale_of_grey(
    tmp_path: Path,
) -> None:
    model = uptake_model(
        tmp_path, pixels=PIXELS.replace("columns = 96", "columns = 144"), size=(32, 48, 144)
    )
    paths = written(small_plan(), tmp_path / "study")
    code, said = call("models", "tensor", model.folder, *paths, "--out", tmp_path / "s.png")
    assert code == 0, said
    last = " ".join(said.splitlines()[-1].split())
    assert last.endswith(
        "s.png: every slice; black is the lowest number of all phases of an exam, white the highest"
    )
    drawn = sheet(tmp_path / "s.png")
    (unit,), _ = prepared_units(model, paths)
    cell = 144 + 6 + 24, 48 + 6 + 24 + 14
    assert drawn.shape == (2 * 4 * cell[1], 8 * cell[0])
    for number, phase in enumerate(unit.phases):
        for index in (0, 11, 31):
            top = (number * 4 + index // 8) * cell[1] + 14 + 12
            left = index % 8 * cell[0] + 12
            found = drawn[top : top + 48, left : left + 144]
            expected = np.rint(phase.volume.tensor[0, 0, index] * 255)
            assert np.array_equal(found, expected), (phase.role, index)


def test_of_many_slices_every_nth_is_shown_and_that_is_said(tmp_path: Path) -> None:
    pixels = PIXELS.replace("slices = 32", "slices = 100").replace("[4, 4, 4]", "[1.5, 4, 4]")
    model = uptake_model(tmp_path, pixels=pixels, size=(100, 48, 96))
    paths = written(small_plan(), tmp_path / "study")
    code, said = call("models", "tensor", model.folder, *paths, "--out", tmp_path / "s.png")
    assert code == 0, said
    assert "every third slice; black" in " ".join(said.split())
    shown = -(-100 // 3)
    assert shown <= MOST_SLICES
    height = sheet(tmp_path / "s.png").shape[0] // 2
    assert height == -(-shown // 8) * (72 + 6 + 24 + 14)


def test_two_exams_are_drawn_below_each_other(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    one = written(small_plan(), tmp_path / "one", "one")
    two = written(small_plan(), tmp_path / "two", "two")
    for number, paths in enumerate(([tmp_path / "one"], [tmp_path])):
        out = tmp_path / f"{number}.png"
        code, said = call("models", "tensor", model.folder, *paths, "--out", out)
        assert code == 0, said
    assert len(one) == len(two)
    assert sheet(tmp_path / "1.png").shape[0] == 2 * sheet(tmp_path / "0.png").shape[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.MISSING_SLICE, "Exam: post 2: a slice is missing between"),
        (Fault.MISSING_PHASE, "Exam: this model does not read it without post 2"),
        (Fault.OTHER_GRID, "Exam: post 2 has another grid than pre"),
        (Fault.WRONG_RESCALE, "Exam: pre and post 2: signal on different scales"),
    ],
)
def test_why_the_network_gets_nothing_is_told(fault: Fault, words: str, tmp_path: Path) -> None:
    model = uptake_model(tmp_path, roles=("pre", "post 1", "post 2"))
    written(small_plan(fault=fault), tmp_path / "study")
    code, said = call("models", "tensor", model.folder, tmp_path / "study")
    assert code == 1
    assert f"not given to the network: {words}" in said
    assert "the network gets none of these files" in said


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    paths = written(small_plan(), tmp_path / "study")
    for number, path in enumerate(paths):
        one = dcmread(path)
        if one.TemporalPositionIdentifier == 2:
            values = np.random.default_rng(number).integers(0, 4000, one.pixel_array.shape)
            one.PixelData = values.astype("<u2").tobytes()
            one.save_as(path)
    code, said = call("models", "tensor", model.folder, tmp_path / "study")
    assert code == 0, said
    assert "  moved       against pre: cannot be measured, too little is alike" in said


def test_lying_is_said_of_any_grid(tmp_path: Path) -> None:
    paths = written(small_plan(orientation=Orientation.CORONAL), tmp_path)
    grid = stack_of([one.plane for one in phases_in(paths)["pre"]]).geometry
    assert lying_of(grid).startswith("coronal, slices to the ")
    turned = grid.to_patient_orientation("AFR")
    to = "slices to the front, rows to the feet, columns to the right"
    assert lying_of(turned) == f"coronal, {to}"


# check and reference


def test_a_package_of_volumes_passes_its_checks_on_a_generated_breast_mri(tmp_path: Path) -> None:
    found = findings(uptake_model(tmp_path))
    assert found["exam"][0], found
    assert found["exam"][1].startswith("a generated breast MRI of 48 objects: Exam AI uptake score")
    assert found["answers"] == (
        True,
        "repeatable, in range and different for 3 different inputs",
    )
    assert {what for what, (is_ok, _) in found.items() if not is_ok} == {"card"}


def test_one_for_enhanced_objects_is_tried_on_such(tmp_path: Path) -> None:
    only = '    "1.2.840.10008.5.1.4.1.1.4.1",\n'
    found = findings(rewritten(uptake_model(tmp_path), (ENHANCED_ONLY, only)))
    assert found["exam"][0], found
    assert "a generated breast MRI of 1 object: Exam" in found["exam"][1]


def test_every_class_that_a_manifest_may_name_is_generated() -> None:
    assert mr_exams._STYLES.keys() == OF_SLICES.keys()


def test_a_package_may_be_checked_on_a_given_exam_of_many_files(tmp_path: Path) -> None:
    written(small_plan(shape=(40, 32, 48)), tmp_path / "study")
    found = findings(uptake_model(tmp_path), tmp_path / "study")
    assert found["exam"][0], found
    assert found["exam"][1].startswith("120 given images: Exam AI uptake score")


def model_of(body: str) -> Callable[[Path], Model]:
    def opened(folder: Path) -> Model:
        model = uptake_model(folder)
        graph = PHASES.format(body=body)
        made = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> uptake {graph}')
        content = made.SerializeToString()
        former = model.manifest.weights.sha256
        model.weights_path.write_bytes(content)
        return rewritten(model, (former, hashlib.sha256(content).hexdigest()))

    return opened


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "score = ConstantOfShape<value = float[1] {0.3}>(two)",
            "is the same (0.3) for all of 4 images that differ clearly, exams with and without "
            "lesions, and black: the network does not look at its input",
        ),
        (
            "pre, post = Split<axis = 1, num_outputs = 2>(phases) "
            "mean = ReduceMean<keepdims = 0>(pre) axes = Constant<value_ints = [0, 1]>() "
            "score = Unsqueeze(mean, axes)",
            "the answers are the same whether 'post 1' is there or black",
        ),
    ],
)
def test_what_is_amiss_in_answers_is_told(body: str, words: str, tmp_path: Path) -> None:
    if "two" in body:
        body = f"two = Constant<value_ints = [1, 1]>() {body}"
    is_ok, said = findings(model_of(body)(tmp_path))["answers"]
    assert not is_ok
    assert words in said


def test_a_reference_of_volumes_is_written_and_compared(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    said = write_reference(model, threads=1)
    assert said.words == "studies: 1, inputs of the network: 1"
    text = said.path.read_text("utf-8")
    assert "rows" not in text, "the exam has one size"
    assert "1 compared, and the same" in compare_reference(model, threads=1)
    said.path.write_text(text.replace("value = 5", "value = 6"), "utf-8")
    with pytest.raises(NodeError, match="Exam AI uptake score Uptake score was 6"):
        compare_reference(model, threads=1)


# new


@pytest.mark.parametrize(
    ("shape", "roles", "join", "size"),
    [
        ("float[1,3,32,48,64]", ("pre", "post 1", "post 2"), "channels", (32, 48, 64)),
        ("float[4,1,32,48,64]", ("pre", "post 1", "post 2", "post 3"), "batch", (32, 48, 64)),
        ("float[1,1,32,48,64]", ("post 1",), None, (32, 48, 64)),
        ("float[N,2,D,H,W]", ("pre", "post 1"), "channels", (64, 128, 256)),
    ],
)
def test_five_axes_are_taken_for_phases_and_asked_about(
    shape: str, roles: tuple[str, ...], join: str | None, size: tuple[int, ...], tmp_path: Path
) -> None:
    text = begun(tmp_path, of_joined(shape))
    for question in ("Which phases does it read?", "Dynamic series of breast MRI?"):
        assert f"{QUESTION}: {question}" in text
    (tmp_path / "again").mkdir()
    manifest = guessed(tmp_path / "again", of_joined(shape))
    assert manifest.domain == "breast_mr"
    assert manifest.unit.roles == roles
    assert [(one.roles, one.join) for one in manifest.inputs] == [(roles, join)]
    assert manifest.image_shape == (1, *size)
    assert manifest.input.expected_phases == max(2, len(roles))


def test_an_input_for_each_phase_gets_one_role_each(tmp_path: Path) -> None:
    graph = """(float[1,1,8,16,16] a, float[1,1,8,16,16] b) => (float[1,1] score) {
        more = Sub(b, a)
        row = Constant<value_ints = [1, -1]>()
        all = Reshape(more, row)
        score = ReduceMean<axes = [1]>(all)
    }"""
    manifest = guessed(tmp_path, graph)
    assert [(one.tensor, one.roles) for one in manifest.inputs] == [
        ("a", ("pre",)),
        ("b", ("post 1",)),
    ]


OF_REGION = """(float[1,1,24,32,48] pre, float[1,1,24,32,48] early, float[1,1,24,32,48] late,
        float[1,1,24,32,48] Region) => (float[1,2,24,32,48] masks, float[1,1] ratio) {
    half = Constant<value_float = 0.5>()
    bright = Greater(early, half)
    breast = Greater(Region, half)
    both = And(bright, breast)
    first = Cast<to = 1>(both)
    second = Cast<to = 1>(breast)
    masks = Concat<axis = 1>(first, second)
    more = Sub(late, pre)
    row = Constant<value_ints = [1, -1]>()
    all = Reshape(more, row)
    ratio = ReduceMean<axes = [1]>(all)
}"""


def test_as_many_voxels_as_are_read_are_taken_for_solids_and_one_number_for_measured(
    tmp_path: Path,
) -> None:
    manifest = guessed(tmp_path, OF_REGION)
    solids, number = manifest.outputs
    assert isinstance(solids, SolidsOutput) and isinstance(number, NumberOutput)
    assert [part.label for part in solids.parts] == ["masks 1", "masks 2"]
    assert manifest.intended_use == "measurement"
    assert [(one.tensor, one.roles) for one in manifest.inputs] == [
        ("pre", ("pre",)),
        ("early", ("early",)),
        ("late", ("late",)),
        ("Region", ("region",)),
    ]
    assert manifest.unit.roles == ("pre", "early", "late"), "inputs called so are taken for it"
    assert manifest.input.expected_phases is None, "what is told by time has no number"
    found = findings(Model(tmp_path / "packages" / "own"))
    assert found["network"][0] and found["exam"][0], found


@pytest.mark.parametrize("parts", [1, 3])
def test_solids_of_one_phase_lie_on_that_before_contrast(parts: int, tmp_path: Path) -> None:
    many = ", ".join(["x"] * parts)
    graph = (
        f"""(float[1,1,D,H,W] x) => (float[1,{parts},D,H,W] y) {{ y = Concat<axis = 1>({many}) }}"""
    )
    manifest = guessed(tmp_path, graph)
    [solids] = manifest.outputs
    assert isinstance(solids, SolidsOutput) and len(solids.parts) == parts
    assert (manifest.unit.roles, manifest.inputs[0].roles) == (("pre", "post 1"), ("post 1",))


def test_two_numbers_of_volumes_may_be_one_of_each_breast(tmp_path: Path) -> None:
    graph = """(float[1,2,8,16,24] x) => (float[1,2] y) {
        y = ReduceMean<axes = [2, 3, 4], keepdims = 0>(x)
    }"""
    assert 'kind = "number", about = "R breast" and' in begun(tmp_path, graph)


def test_the_manifest_of_volumes_offers_roles_by_time_and_speaks_of_no_mammogram(
    tmp_path: Path,
) -> None:
    for number, graph in enumerate((of_joined("float[1,3,8,16,24]"), OF_REGION)):
        (tmp_path / str(number)).mkdir()
        text = begun(tmp_path / str(number), graph)
        for offered in ("early = { middle_s", "late = { middle_s", '"each post"', "# optional = ["):
            assert offered in text, offered
        for word in ("MLO", "CC", "ammogra", "density", "mass"):
            assert word not in re.sub("(?m)^sha256.*", "", text), word


def test_a_begun_package_of_volumes_runs_once_its_questions_are_answered(tmp_path: Path) -> None:
    guessed(tmp_path, of_joined("float[1,2,32,48,64]"))
    found = findings(Model(tmp_path / "packages" / "own"))
    assert found["network"][0] and found["exam"][0] and found["answers"][0], found


def test_a_network_of_another_size_than_the_manifest_is_told_what_to_correct(
    tmp_path: Path,
) -> None:
    model = rewritten(uptake_model(tmp_path), ("rows = 48", "rows = 40"))
    is_ok, said = findings(model)["network"]
    assert not is_ok
    assert '"size" of [[pixels]], which make 1 x 2 volumes of 32 x 40 x 96 now' in said
