"""`ai-node models new` makes of an ONNX file a package that lacks nothing but the answers."""

from __future__ import annotations

import pickle
from pathlib import Path

import onnx
import pytest
from factories import exam
from models_document import BOXES, CLASSES, SCORE, TWO, network, without_questions
from small_models import model_in_two_files
from typer.testing import CliRunner

from node.app import App
from node.cli import app
from node.config import load_config
from node.errors import ConfigError
from node.inference.onnx import OnnxSession
from node.inference.session import warm_up
from node.manifest import BoxesOutput, ClassesOutput, Combination, Manifest, Model, ScoreOutput
from node.trial import phantom

EXAM = ("R CC", "L CC", "R MLO", "L MLO")
QUESTION = "# OPEN QUESTION"


def of_several(*names: str, image: str = "float[1,1,64,48]") -> str:
    """Return a network that scores images which it gets as so many inputs."""
    inputs = ", ".join(f"{image} {name}" for name in names)
    return f"""({inputs}) => (float[1,1] y) {{
        all = Concat<axis = 1>({", ".join(names)})
        y = ReduceMean<axes = [1, 2, 3], keepdims = 0>(all)
        one = Constant<value_ints = [1, 1]>()
        score = Reshape(y, one)
    }}""".replace("(float[1,1] y)", "(float[1,1] score)")


def of_joined(shape: str) -> str:
    """Return a network that scores one tensor."""
    return f"""({shape} x) => (float[1,1] score) {{
        row = Constant<value_ints = [1, -1]>()
        all = Reshape(x, row)
        score = ReduceMean<axes = [1]>(all)
    }}"""


def of_image(output: str, body: str) -> str:
    return f"(float[1,1,64,48] x) => ({output}) {{ {body} }}"


MASK = of_image("float[1,1,64,48] mask", "mask = Identity(x)")
WARMTH = """
    heat = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(x)
    score = ReduceMax<axes = [2, 3], keepdims = 0>(heat)
    place = ArgMax<axis = 1>(score)
"""
SEVERAL = of_image("float[1,1] score, float[1,1,8,6] heat, int64[1,1] place", WARMTH)


def call(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.output


def begin(folder: Path, graph: str | bytes) -> tuple[int, str]:
    """Begin the package `own` of a network, or of what somebody took for one."""
    path = folder / "network.onnx"
    if isinstance(graph, str):
        onnx.save(network(graph), path)
    else:
        path.write_bytes(graph)
    return call("models", "new", "own", "--onnx", path, "--into", folder / "packages")


def begun(folder: Path, graph: str) -> str:
    """Begin a package; return its manifest as written."""
    code, said = begin(folder, graph)
    assert code == 0, said
    return (folder / "packages" / "own" / "manifest.toml").read_text("utf-8")


def guessed(folder: Path, graph: str) -> Manifest:
    """Begin a package, take all guesses for right, run its network, and return the manifest."""
    written = begun(folder, graph)
    package = folder / "packages" / "own"
    (package / "manifest.toml").write_text(without_questions(written), "utf-8")
    model = Model(package)
    warm_up(OnnxSession(model, threads=1))
    return model.manifest


# What is guessed


def test_a_score_of_an_image_is_taken_for_one(tmp_path: Path) -> None:
    manifest = guessed(tmp_path, SCORE)
    [output] = manifest.outputs
    assert isinstance(output, ScoreOutput)
    assert (output.kind, output.activation) == ("score", "sigmoid"), "it was negative on noise"
    assert output.combines == Combination(breast="highest", exam="highest")
    assert manifest.image_shape == (3, 512, 416)
    assert (manifest.unit.of, manifest.intended_use) == ("image", "detection")


def test_a_tensor_may_be_called_anything(tmp_path: Path) -> None:
    image, score = 'image "x"\\y', "s\u00f6re\U0001f600\x7f"
    made = network(SCORE)
    for one, name in ((made.graph.input[0], image), (made.graph.output[0], score)):
        for node in made.graph.node:
            for names in (node.input, node.output):
                for place, was in enumerate(names):
                    names[place] = name if was == one.name else was
        one.name = name
    code, said = begin(tmp_path, made.SerializeToString())
    assert code == 0, said
    package = tmp_path / "packages" / "own"
    written = (package / "manifest.toml").read_text("utf-8")
    (package / "manifest.toml").write_text(without_questions(written), "utf-8")
    model = Model(package)
    warm_up(OnnxSession(model, threads=1))
    [output] = model.manifest.outputs
    assert isinstance(output, ScoreOutput)
    assert output.tensor == score


def test_of_several_inputs_each_may_be_called_anything(tmp_path: Path) -> None:
    made = network(of_several("CC", "MLO"))
    for one in made.graph.input:
        for node in made.graph.node:
            for place, was in enumerate(node.input):
                node.input[place] = f'"{was}"' if was == one.name else was
        one.name = f'"{one.name}"'
    code, said = begin(tmp_path, made.SerializeToString())
    assert code == 0, said
    package = tmp_path / "packages" / "own"
    written = (package / "manifest.toml").read_text("utf-8")
    (package / "manifest.toml").write_text(without_questions(written), "utf-8")
    assert [one.tensor for one in Model(package).manifest.inputs] == ['"CC"', '"MLO"']


def test_several_numbers_are_taken_for_classes_and_softmax_is_asked_for(tmp_path: Path) -> None:
    manifest = guessed(tmp_path, CLASSES)
    [output] = manifest.outputs
    assert isinstance(output, ClassesOutput)
    assert (output.kind, output.activation) == ("classes", "softmax")
    assert manifest.tensor_shapes == {"logits": (1, 4)}
    assert manifest.intended_use == "density"


def test_of_two_numbers_the_second_is_taken_for_the_score(tmp_path: Path) -> None:
    assert "Is the second of two numbers the score (benign, malignant)" in begun(tmp_path, TWO)
    (tmp_path / "again").mkdir()
    [output] = guessed(tmp_path / "again", TWO).outputs
    assert isinstance(output, ScoreOutput)
    assert (output.element, output.activation) == (1, "softmax")


def test_the_size_of_a_network_that_takes_any_is_asked_for(tmp_path: Path) -> None:
    written = begun(tmp_path, CLASSES)
    assert f"{QUESTION}: The graph takes any size; which one has it learnt from?" in written
    assert "height = 1024\nwidth = 832\n" in written


def test_rows_of_six_numbers_are_taken_for_boxes_with_classes(tmp_path: Path) -> None:
    [output] = guessed(tmp_path, BOXES).outputs
    assert isinstance(output, BoxesOutput)
    assert (output.boxes, len(output.classes), output.activation) == (20, 1, "none")
    assert output.form == "left top right bottom score class"


def test_rows_whose_number_may_vary_are_asked_about(tmp_path: Path) -> None:
    question = "Are there always so many rows?"
    assert question not in begun(tmp_path, BOXES)
    (tmp_path / "varying").mkdir()
    varying = BOXES.replace("float[1,20,6] output0", "float[1,rows,6] output0").replace(
        "output0 = Pad(found, behind)",
        """none = Constant<value_float = 0.1>()
        is_bright = Greater(mean, none)
        output0 = Compress<axis = 1>(found, is_bright)""",
    )
    assert question in begun(tmp_path / "varying", varying)


def test_a_tensor_as_large_as_the_image_is_taken_for_a_mask(tmp_path: Path) -> None:
    manifest = guessed(tmp_path, MASK)
    assert [one.kind for one in manifest.outputs] == ["mask"]
    assert manifest.intended_use == "measurement"


def test_what_is_no_answer_is_named_and_left_out(tmp_path: Path) -> None:
    written = begun(tmp_path, SEVERAL)
    assert "# Not used: 'place', tensor(int64), 1 x 1: no output has this form." in written
    (tmp_path / "again").mkdir()
    manifest = guessed(tmp_path / "again", SEVERAL)
    assert [one.kind for one in manifest.outputs] == ["score", "heat map"]


@pytest.mark.parametrize(
    ("names", "unit", "roles", "is_asked"),
    [
        (("L_CC", "R_CC", "L_MLO", "R_MLO"), "exam", ("L CC", "R CC", "L MLO", "R MLO"), False),
        (("x0", "x1", "x2", "x3"), "exam", EXAM, True),
        (("view_mlo", "view_cc"), "breast", ("MLO", "CC"), False),
        (("first", "second"), "breast", ("CC", "MLO"), True),
    ],
)
def test_inputs_are_given_views_by_their_names_or_asked_about(
    names: tuple[str, ...], unit: str, roles: tuple[str, ...], is_asked: bool, tmp_path: Path
) -> None:
    assert ("Which image is this" in begun(tmp_path, of_several(*names))) == is_asked
    (tmp_path / "again").mkdir()
    manifest = guessed(tmp_path / "again", of_several(*names))
    assert manifest.unit.of == unit
    assert [(one.tensor, one.roles) for one in manifest.inputs] == [
        (name, (role,)) for name, role in zip(names, roles, strict=True)
    ]


@pytest.mark.parametrize(
    ("shape", "unit", "join"),
    [
        ("float[4,1,64,48]", "exam", "batch"),
        ("float[1,4,64,48]", "exam", "channels"),
        ("float[2,3,64,48]", "breast", "batch"),
    ],
)
def test_images_joined_in_one_tensor_are_seen_by_its_axes_and_asked_about(
    shape: str, unit: str, join: str, tmp_path: Path
) -> None:
    assert "in which order are these?" in begun(tmp_path, of_joined(shape))
    (tmp_path / "again").mkdir()
    manifest = guessed(tmp_path / "again", of_joined(shape))
    assert (manifest.unit.of, manifest.inputs[0].join) == (unit, join)


def test_a_vector_is_taken_for_a_histogram(tmp_path: Path) -> None:
    assert guessed(tmp_path, of_joined("float[1,50]")).image_shape == (50,)


def test_three_channels_may_be_normalised_by_a_number_each(tmp_path: Path) -> None:
    written = begun(tmp_path, SCORE)
    assert f"{QUESTION}: Which numbers are subtracted and divided by" in written
    manifest = tmp_path / "packages" / "own" / "manifest.toml"
    text = without_questions(written).replace("[0.0]", "[0.485, 0.456, 0.406]")
    manifest.write_text(text.replace("[1.0]", "[0.229, 0.224, 0.225]"), "utf-8")
    Model(manifest.parent)


# What no package can hold


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (
            "(float16[1,1,64,48] x) => (float[1,1,64,48] y) { y = Cast<to = 1>(x) }",
            "input 'x' is tensor(float16) 1 x 1 x 64 x 48: export it in float32 (model.float()",
        ),
        (
            "(uint8[1,1,64,48] x) => (float[1,1,64,48] y) { y = Cast<to = 1>(x) }",
            "input 'x' is tensor(uint8) 1 x 1 x 64 x 48: begin the graph with a Cast",
        ),
        (
            "(float[N,64,48,3] x) => (float[N,64,48,3] y) { y = Identity(x) }",
            "input 'x' is tensor(float) any x 64 x 48 x 3: export it with channels first (NCHW)",
        ),
        (
            "(float[1,1,8,64,48] x) => (float[1,1,64,48] y) "
            "{ y = ReduceMean<axes = [2], keepdims = 0>(x) }",
            "of volumes [1, parts, slices, rows, columns] of solids, as large as what it reads "
            "(8 x 64 x 48) and of 32 parts at most, [1, 1] of a number, [1, n] of scores or",
        ),
        (of_joined("float[1,64,48,48,1]"), "with channels last begin the graph with a Transpose"),
        (
            of_joined("float[1,1,8,64,48]").replace(" x)", " region)").replace("(x,", "(region,"),
            "a phase is missing",
        ),
        (of_joined("float[2,3,8,64,48]"), "expected [1, phases, slices, rows, columns] or"),
        (of_joined("float[1,1,1,8,64,48]"), "or of volumes [1, phases, slices, rows, columns]"),
        (
            "(float[1,1,8,64,48] x, float[1,1,64,48] z) => (float[1,1,64,48] y) "
            "{ y = Identity(z) }",
            "it has inputs 'x' of 1 x 1 x 8 x 64 x 48 and 'z' of 1 x 1 x 64 x 48: volumes of one",
        ),
        (
            of_several("a", "b", image="float[1,2,8,64,48]"),
            "it has 2 inputs of several volumes each: give each phase an input, or join all of",
        ),
        (
            "(float[N,5] x, float[1,1,64,48] z) => (float[1,1,64,48] y) { y = Identity(z) }",
            "it has 2 inputs, 'x' of any x 5 and 'z' of 1 x 1 x 64 x 48: two images of one size",
        ),
        (of_several("a", "b", "c"), "make it a constant of the graph. Of others write the manif"),
        (of_joined("float[8,1,64,48]"), "input 'x' takes 8 images at once: export it for one, or"),
        (
            "(float[1,3,64,64] x) => (float[1,84,8400] y) "
            "{ y = ConstantOfShape<value = float[1] {0.0}>(s) }".replace(
                "{ y", "{ s = Constant<value_ints = [1, 84, 8400]>() y"
            ),
            "of a detector keep at most 1000 boxes, without those that overlap, in the graph",
        ),
        (
            of_image("int64[1,1,48] y", "y = ArgMax<axis = 2, keepdims = 0>(x)"),
            "no output has a form that a manifest has a word for: [1, n] of scores or classes",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "is a pointer of Git LFS, not the network: fetch that with `git lfs pull`",
        ),
        (b"PK\x03\x04\0\0\0\0archive/data.pkl", "is a PyTorch file, in pickles"),
        (pickle.dumps({"weights": 1}), "is a PyTorch file, in pickles, which are never loaded"),
        (b"", "is empty; export it again, or fetch it again"),
        (b"nothing of the kind", "is no ONNX file, or a damaged one"),
    ],
)
def test_what_no_package_can_hold_is_told_and_nothing_is_written(
    graph: str | bytes, words: str, tmp_path: Path
) -> None:
    code, said = begin(tmp_path, graph)
    assert code == 1
    assert words in " ".join(said.split())
    assert "network.onnx: " in said
    assert not (tmp_path / "packages").exists()


def test_a_network_in_two_files_is_told_how_to_become_one(tmp_path: Path) -> None:
    weights = model_in_two_files(tmp_path).weights_path
    code, said = call("models", "new", "own", "--onnx", weights, "--into", tmp_path)
    assert code == 1
    assert "external_data=False" in said


def test_a_network_that_is_too_new_is_told_how_to_be_exported(tmp_path: Path) -> None:
    made = network(SCORE)
    made.opset_import[0].version = 99
    code, said = begin(tmp_path, made.SerializeToString())
    assert code == 1
    assert "export it again with an older opset" in " ".join(said.split())


def test_a_name_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    onnx.save(network(MASK), tmp_path / "network.onnx")
    code, said = call("models", "new", "My Model", "--onnx", tmp_path / "network.onnx")
    assert code == 1
    assert "the package's name: expected at most 48 small letters, digits and hyphens" in said


def test_a_package_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    written = begun(tmp_path, MASK)
    code, said = begin(tmp_path, MASK)
    assert (code, "is there already; give another name" in said) == (1, True)
    assert (tmp_path / "packages" / "own" / "manifest.toml").read_text("utf-8") == written


# Open questions


def test_while_a_question_is_open_the_package_is_not_used(tmp_path: Path) -> None:
    written = begun(tmp_path, MASK)
    package = tmp_path / "packages" / "own"
    images = phantom.save(exam("own", phantom.EXAM[:1]), tmp_path / "exam")
    settings = tmp_path / "node.toml"
    settings.write_text(
        '[node]\nae_title = "AINODE"\nstate_dir = "state"\nmodels_dir = "packages"\n'
        '[listener]\nhost = "127.0.0.1"\nport = 11112\n'
        '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
        'sends = true\n[[models]]\nname = "own"\nmode = "shadow"\n'
    )
    commands: list[tuple[str | Path, ...]] = [
        ("models", "check", package),
        ("models", "tensor", package, *images),
        ("models", "reference", package),
        ("analyse", tmp_path / "exam", "--out", tmp_path / "results", "--model", package),
        ("check", "--config", settings),
    ]
    for command in commands:
        code, said = call(*command)
        assert code == 1, command
        assert "manifest.toml:4: open question: Who makes it? It stands in every result." in said
        assert said.count("open question") == written.count(QUESTION), command
        assert "Answer each below its line, then delete that line." in said
    with pytest.raises(ConfigError, match="open question"):  # as `ai-node run` begins
        App(load_config(settings))
    assert "own cannot be used: " in call("models", "list", "--config", settings)[1]
    *others, last = [line for line in written.splitlines() if line.startswith(QUESTION)]
    manifest = package / "manifest.toml"
    manifest.write_text(without_questions(written) + f"{last}\n", "utf-8")
    assert others
    assert call("models", "check", package)[0] == 1, "one is left"
    manifest.write_text(without_questions(written), "utf-8")
    assert "own 0.1.0, research" in call("models", "list", "--config", settings)[1]
    assert call("models", "tensor", package, *images)[0] == 0


@pytest.mark.usefixtures("warm_inference")
def test_while_a_question_of_the_card_is_open_the_model_does_not_deliver(tmp_path: Path) -> None:
    written = begun(tmp_path, MASK)
    package = tmp_path / "packages" / "own"
    (package / "manifest.toml").write_text(without_questions(written), "utf-8")
    settings = tmp_path / "node.toml"
    text = (
        '[node]\nae_title = "AINODE"\nstate_dir = "state"\nmodels_dir = "packages"\n'
        '[listener]\nhost = "127.0.0.1"\nport = 11112\n'
        '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
        'sends = true\nreceives = "default"\n[[models]]\nname = "own"\nmode = "{}"\n'
    )
    settings.write_text(text.format("shadow"))
    assert call("check", "--config", settings)[0] == 0
    settings.write_text(text.format("deliver"))
    code, said = call("check", "--config", settings)
    assert code == 1
    assert "Model own delivers and its model card has open questions" in " ".join(said.split())
    (package / "README.md").write_text("## Measured\n\nn = 322\n", "utf-8")
    assert call("check", "--config", settings)[0] == 0
