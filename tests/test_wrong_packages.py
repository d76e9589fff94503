"""Every wrong package that people have brought is told, by `models check`, what to do about it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from packages import CLASSES
from small_models import COPY, SHARE_OF_WHITE, SIZE, declared, model, model_in_two_files
from test_package_beginning import call

from node.manifest import Model

pytestmark = pytest.mark.usefixtures("warm_inference", "small_exam")

IMAGE = f"float[1,1,{SIZE},{SIZE}]"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
Make = Callable[[Path], Model]


def taking(inputs: str, body: str) -> Make:
    """Return who makes a package whose network takes something else than its manifest says."""
    return lambda folder: model(folder, body, inputs=inputs)


def holding(content: bytes) -> Make:
    """Return who puts something else in place of the network, and its hash into the manifest."""

    def make(folder: Path) -> Model:
        package = model(folder)
        package.weights_path.write_bytes(content)
        return declared(package.folder)

    return make


def of_opset(number: int) -> Make:
    def make(folder: Path) -> Model:
        package = model(folder)
        network = onnx.load(package.weights_path)
        network.opset_import[0].version = number
        onnx.save(network, package.weights_path)
        return declared(package.folder)

    return make


def saying(present: str, replacement: str) -> Make:
    """Return who makes a package of classes with a mistake in its manifest."""

    def make(folder: Path) -> Model:
        made = model(folder, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
        manifest = made.folder / "manifest.toml"
        text = manifest.read_text("utf-8")
        assert present in text
        manifest.write_text(text.replace(present, replacement, 1), "utf-8")
        return made

    return make


def of_card(measured: str, status: str = "research") -> Make:
    def make(folder: Path) -> Model:
        made = saying('status = "research"', f'status = "{status}"')(folder)
        (made.folder / "README.md").write_text(f"## Measured\n\n{measured}\n", "utf-8")
        return made

    return make


POINT = """
[[outputs.operating_points]]
name = "high"
threshold = 0.7
about = "exam"
sensitivity = "0.91 (95% CI 0.87-0.94)"
"""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(
            taking(f"float16[1,1,{SIZE},{SIZE}] image", "mask = Cast<to = 1>(image)"),
            "export it in float32 (model.float() before the export), or begin and end the graph",
            id="float16",
        ),
        pytest.param(
            taking(f"uint8[1,1,{SIZE},{SIZE}] image", "mask = Cast<to = 1>(image)"),
            "begin the graph with a Cast: it gets float32, and [pixels] says of which range",
            id="uint8",
        ),
        pytest.param(
            taking(f"float[1,{SIZE},{SIZE},1] image", "mask = Transpose<perm=[0,3,1,2]>(image)"),
            "export it with channels first (NCHW), or begin it with a Transpose",
            id="channels last",
        ),
        pytest.param(
            taking(
                f"float[1,1,1,{SIZE},{SIZE}] image",
                "axis = Constant<value_ints = [2]>() mask = Squeeze(image, axis)",
            ),
            "five axes are a volume, or several images: of images give each as a role",
            id="five axes",
        ),
        pytest.param(
            taking(f"{IMAGE} before, {IMAGE} after", "mask = Sub(after, before)"),
            'say which image each is for: [unit] of = "exam" or "breast" with roles, and one [[inp',
            id="several inputs without roles",
        ),
        pytest.param(holding(LFS), "fetch that with `git lfs pull`", id="pointer of Git LFS"),
        pytest.param(
            holding(pickle.dumps({"weights": 1})),
            "is a PyTorch file, in pickles, which are never loaded: they can run any code; export",
            id="pickle",
        ),
        pytest.param(
            holding(b"PK\x03\x04\0\0\0\0archive/data.pkl"),
            "is a PyTorch file, in pickles, which are never loaded",
            id="checkpoint",
        ),
        pytest.param(
            of_opset(99),
            "export it again with an older opset, as torch.onnx.export(..., opset_version=17) does",
            id="too new",
        ),
        pytest.param(model_in_two_files, "external_data=False", id="in two files"),
        pytest.param(
            saying("[output]\n", "[[output]]\n"),
            "output: expected one table, found a list of them: write [output]",
            id="list for a table",
        ),
        pytest.param(
            saying("[output]\n", "[outputs]\n"),
            "outputs: expected a list of tables, found one: write [[outputs]] for each",
            id="table for a list",
        ),
        pytest.param(
            saying('value = "PF"', 'value = "PROBABILITY-OF-FATTY"'),
            'expected 1 to 16 characters, as DICOM\'s codes have (SH), found "PROBABILITY-OF-FATTY"'
            " of 20; write a shorter one",
            id="long code",
        ),
        pytest.param(
            of_card("It is excellent."),
            'states no figure with its interval ("0.91 (0.87 to 0.94)") or number of cases',
            id="nothing measured",
        ),
        pytest.param(
            of_card("AUC 0.91 (95% CI 0.87-0.94)", "product"),
            '"Measured" of status = "product" states no number of cases: a product needs figures',
            id="product without cases",
        ),
        pytest.param(
            of_card("n = 322", "product"),
            '"Measured" of status = "product" states no figure with its interval',
            id="product without figure",
        ),
    ],
)
def test_a_wrong_package_gets_words_that_help(make: Make, words: str, tmp_path: Path) -> None:
    code, said = call("models", "check", make(tmp_path).folder)
    assert code == 1
    assert words in " ".join(said.split()), said


def test_a_figure_in_the_manifest_is_a_number_and_its_interval_two(tmp_path: Path) -> None:
    folder = model(tmp_path, COPY).folder
    manifest = folder / "manifest.toml"
    score = '\n[[outputs]]\nkind = "score"\ntensor = "mask"\nlabel = "score"\n'
    head = manifest.read_text("utf-8").partition("[output]")[0]
    manifest.write_text(head + score + POINT, "utf-8")
    code, said = call("models", "check", folder)
    assert code == 1
    assert (
        "sensitivity: expected a number without quotes such as 0.91, found "
        '"0.91 (95% CI 0.87-0.94)"; its interval goes beside it, as ..._interval = [0.87, 0.94]'
    ) in " ".join(said.split())


def test_a_figure_as_papers_write_it_is_right_in_a_card(tmp_path: Path) -> None:
    folder = of_card("AUC 0.91 (95% CI 0.87-0.94), n = 322")(tmp_path).folder
    code, said = call("models", "check", folder)
    assert code == 0, said
