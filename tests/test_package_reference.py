"""`reference/` of a package: what it said once is compared with what it says now."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from factories import exam
from package_answers import detector, scorer
from pydicom import dcmread
from several_images import breast_network
from small_models import NOT_A_NUMBER, declared, model
from test_package_beginning import call

from node.errors import NodeError
from node.manifest import Model
from node.packages.checking import check_package
from node.packages.reference import compare_reference, write_reference
from node.trial import phantom

pytestmark = pytest.mark.usefixtures("warm_inference")

THREADS = 2
WHERE = "https://example.org/mammograms, exam 12"
SAME = "of 1 in reference/reference.toml 1 compared, and the same"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an exam."""
    phantom.save(exam("named"), tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def package(tmp_path: Path, images: Path) -> Model:
    """A package that has written down what it says of that exam."""
    made = scorer(tmp_path, "score = Identity(mean)")
    write_reference(made, THREADS, images, WHERE)
    return made


def path_of(package: Model) -> Path:
    return package.folder / "reference" / "reference.toml"


def change(package: Model, present: str, replacement: str) -> None:
    """Change the first place in the written answers that has the form `present`."""
    path = path_of(package)
    text, count = re.subn(present, replacement, path.read_text("utf-8"), count=1)
    assert count, present
    path.write_text(text, "utf-8")


def refusal(package: Model, files: Path | None) -> str:
    """Return why the comparison fails."""
    with pytest.raises(NodeError) as caught:
        compare_reference(package, THREADS, files)
    return str(caught.value)


# A generated exam


@pytest.mark.slow
def test_what_is_written_of_a_generated_exam_is_found_again(tmp_path: Path) -> None:
    made = scorer(tmp_path, "score = Identity(mean)")
    code, said = call("models", "reference", made.folder)
    assert code == 0, said
    assert "studies: 1, inputs of the network: 4" in said
    text = path_of(made).read_text("utf-8")
    assert f'weights = "{made.manifest.weights.sha256}"' in text
    assert 'exam = "reference"\nrows = 1328\ncolumns = 1024\nspacing_mm = 0.18\n' in text
    assert [line.split('"')[1] for line in text.splitlines() if "tensor =" in line] == [
        *("R CC", "L CC", "R MLO", "L MLO")
    ]
    assert compare_reference(made, THREADS) == SAME


@pytest.mark.usefixtures("small_exam")
def test_a_package_without_a_reference_is_told_how_to_write_one(tmp_path: Path) -> None:
    made = scorer(tmp_path, "score = Identity(mean)")
    words = "there is none to compare with; `ai-node models reference "
    assert compare_reference(made, THREADS).startswith(words)
    manifest = made.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('"research"', '"product"'))
    product = Model(made.folder)
    assert 'missing, and status = "product" needs it' in refusal(product, None)
    found = {one.what: one for one in check_package(product)}
    assert not found["reference"].is_ok


# Files


def test_files_are_named_by_their_digest_and_not_copied(package: Model, images: Path) -> None:
    text = path_of(package).read_text("utf-8")
    for path in images.iterdir():
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f'{{ sha256 = "{sha256}", where = "{WHERE}" }}' in text
    assert [path.name for path in path_of(package).parent.iterdir()] == ["reference.toml"]
    assert compare_reference(package, THREADS, images) == SAME


def test_files_may_be_called_otherwise(package: Model, images: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(images.iterdir(), reverse=True)):
        path.rename(images / f"image {number}")
    assert compare_reference(package, THREADS, images) == SAME


def test_without_the_files_it_is_said_that_nothing_was_compared(package: Model) -> None:
    assert compare_reference(package, THREADS) == (
        "of 1 in reference/reference.toml none compared; could not be compared, give "
        f"them with --files: 4 of 4 files of {WHERE}"
    )


def test_of_a_product_something_must_be_compared(package: Model, images: Path) -> None:
    manifest = package.folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('"research"', '"product"'))
    product = Model(package.folder)
    assert f"needs it: give with --files 4 of 4 files of {WHERE}" in refusal(product, None)
    assert compare_reference(product, THREADS, images) == SAME


def test_what_comes_with_the_node_is_not_written_over_by_name() -> None:
    code, said = call("models", "reference", "breast-area")
    assert code == 1
    assert "breast-area comes with the node: copy " in " ".join(said.split())


def test_a_file_that_is_missing_or_was_changed_is_told(package: Model, images: Path) -> None:
    first, second, *_ = sorted(images.iterdir())
    first.unlink()
    dataset = dcmread(second)
    dataset.PatientComments = "changed"
    dataset.save_as(second)
    assert f"2 of 4 files of {WHERE}" in compare_reference(package, THREADS, images)


def test_it_must_be_said_where_others_get_the_files(
    package: Model, images: Path, tmp_path: Path
) -> None:
    code, said = call("models", "reference", package.folder, "--files", images)
    assert code == 1
    assert "--from is missing: where does who has the package get these files?" in said
    code, said = call("models", "reference", package.folder, "--files", images, "--from", WHERE)
    assert code == 0, said


def test_each_study_among_the_files_is_a_case_of_its_own(tmp_path: Path, images: Path) -> None:
    phantom.save(exam("another", phantom.EXAM[:2]), images / "another")
    (images / "labels.csv").write_text("path,label\n")
    made = scorer(tmp_path, "score = Identity(mean)")
    assert (
        write_reference(made, THREADS, images, WHERE).words
        == "studies: 2, inputs of the network: 6"
    )
    said = compare_reference(made, THREADS, images)
    assert said == SAME.replace("of 1", "of 2").replace(" 1 compared", " 2 compared")


def test_a_view_that_was_repeated_is_compared_image_by_image(tmp_path: Path) -> None:
    twice = exam("twice", [*phantom.EXAM, phantom.EXAM[0]])
    darker = np.asarray(twice[-1].pixel_array) // 2
    twice[-1].PixelData = darker.astype("<u2").tobytes()
    twice[-1]["PixelData"].VR = "OW"
    images = tmp_path / "images"
    phantom.save(twice, images)
    made = scorer(tmp_path, "score = Identity(mean)")
    write_reference(made, THREADS, images, WHERE)
    text = path_of(made).read_text("utf-8")
    assert len(set(re.findall(r'unit = "R CC".* values = \[([0-9.]+)\]', text))) == 2
    assert compare_reference(made, THREADS, images) == SAME
    numbers = re.findall(r'about = "R CC AI score", what = "Score", value = ([0-9.]+)', text)
    assert len(set(numbers)) == 2
    change(
        made,
        f'about = "R CC AI score", what = "Score", value = {numbers[0]}',
        'about = "R CC AI score", what = "Score", value = 91.0',
    )
    said = refusal(made, images)
    assert f"R CC AI score Score was 91.0 and is {numbers[0]}" in said


def test_a_damaged_file_is_named(package: Model, images: Path) -> None:
    (images / "damaged.dcm").write_bytes(bytes(128) + b"DICM" + bytes(9))
    code, said = call("models", "reference", package.folder, "--files", images, "--from", WHERE)
    assert code == 1
    assert "damaged.dcm: " in said


# Other answers


@pytest.mark.parametrize(
    ("present", "replacement", "words"),
    [
        (
            r"mean = [0-9.]+, values = \[[0-9.]+\]",
            "mean = 0.9, values = [0.9]",
            r"'score' of R CC is another: mean is 0\.\d+, expected 0\.9",
        ),
        (
            r'about = "R CC AI score", what = "Score", value = [0-9.]+',
            'about = "R CC AI score", what = "Score", value = 91.0',
            r"R CC AI score Score was 91\.0 and is \d+",
        ),
        (
            r'\n  \{ about = "Exam AI score".*',
            "",
            r"Exam AI score Score was not there and is \d+",
        ),
        (
            r'unit = "R CC"',
            'unit = "R XCCL"',
            r"'score' of R XCCL is not there any more",
        ),
        (r"shape = \[1, 1\]", "shape = [1, 2]", r"'score' of R CC was of shape \(1, 2\) and is of"),
    ],
)
def test_another_answer_than_before_is_told_with_both(
    present: str, replacement: str, words: str, package: Model, images: Path
) -> None:
    change(package, present, replacement)
    said = refusal(package, images)
    assert re.search(words, said), said
    assert said.endswith(
        "if it is right now, give it a new version and a new device_uid first (docs/models.md, "
        f"section 7), then `ai-node models reference {package.folder}` writes it"
    )


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ((), "give it a new version and a new device_uid first (docs/models.md, section 7), then "),
        (("version",), "give it a new device_uid first (docs/models.md, section 7), then "),
        (("device_uid",), "give it a new version first (docs/models.md, section 7), then "),
        (("version", "device_uid"), ""),
    ],
)
def test_who_answers_differently_is_told_to_be_another_version(
    words: tuple[str, ...], advice: str, package: Model, images: Path
) -> None:
    change(package, r"mean = [0-9.]+", "mean = 0.9")
    others = {"version": '"0.0.1"', "device_uid": '"2.25.1"'}
    for word in words:
        change(package, rf"\n{word} = .*", f"\n{word} = {others[word]}")
    assert f"if it is right now, {advice}`ai-node" in refusal(package, images)


def test_a_reference_that_does_not_say_of_which_version_it_is_is_compared(
    package: Model, images: Path
) -> None:
    for word in ("version", "device_uid"):
        change(package, rf"\n{word} = .*", "")
    assert compare_reference(package, THREADS, images) == SAME
    change(package, r"mean = [0-9.]+", "mean = 0.9")
    assert "give it a new version and a new device_uid first" in refusal(package, images)


@pytest.mark.usefixtures("small_exam")
def test_models_check_fails_where_the_answers_are_others(package: Model, images: Path) -> None:
    found = {one.what: one for one in check_package(package, images)}
    assert found["reference"].words == SAME
    change(package, r"mean = [0-9.]+", "mean = 0.9")
    found = {one.what: one for one in check_package(package, images)}
    assert [what for what, one in found.items() if not one.is_ok] == ["reference", "card"]


def test_the_last_digit_may_be_another_and_the_third_may_not(package: Model, images: Path) -> None:
    text = path_of(package).read_text("utf-8")
    [before] = re.findall(r'unit = "L MLO".* values = \[([0-9.]+)\]', text)
    for apart, is_same in ((0.0009, True), (0.0011, False)):
        other = f"{float(before) + apart:.6g}"
        path_of(package).write_text(text.replace(f"values = [{before}]", f"values = [{other}]"))
        if is_same:
            assert compare_reference(package, THREADS, images) == SAME
        else:
            assert "'score' of L MLO is another" in refusal(package, images)


def test_answers_of_other_weights_are_not_compared(package: Model, images: Path) -> None:
    network = package.weights_path.read_bytes()
    package.weights_path.write_bytes(network + b"\x32\x01x")  # a comment
    assert "is of other weights than the manifest's" in refusal(declared(package.folder), images)


def test_a_mistake_in_the_file_is_told_with_its_line(package: Model, images: Path) -> None:
    change(package, r"tolerance = [0-9.]+", "tolerance = 0.5")
    assert "reference.toml:6: tolerance: expected a number not above 0.1" in refusal(
        package, images
    )


def test_of_a_network_that_reads_several_images_each_unit_is_compared(
    tmp_path: Path, images: Path
) -> None:
    made = breast_network(tmp_path / "both")
    write_reference(made, THREADS, images, WHERE)
    text = path_of(made).read_text("utf-8")
    assert re.findall(r'unit = "([^"]+)"', text) == ["R breast", "L breast"]
    assert compare_reference(made, THREADS, images) == SAME


def test_where_a_box_is_that_is_no_finding_does_not_count(tmp_path: Path, images: Path) -> None:
    sure, unsure = (4, 30, 12, 42, 0.5), (2, 28, 10, 38, 0.1)
    before = detector(tmp_path, sure, unsure)
    write_reference(before, THREADS, images, WHERE)
    text = path_of(before).read_text("utf-8")
    for name, rows, is_same in (
        ("moved", (sure, (20, 28, 40, 38, 0.1)), True),
        ("other", ((6, 30, 14, 42, 0.5), unsure), False),
    ):
        (tmp_path / name).mkdir()
        now = detector(tmp_path / name, *rows)
        path_of(now).parent.mkdir()
        was, weights = (one.manifest.weights.sha256 for one in (before, now))
        path_of(now).write_text(text.replace(was, weights), "utf-8")
        if is_same:
            assert compare_reference(now, THREADS, images) == SAME
        else:
            assert "'boxes' of R CC is another: " in refusal(now, images)


# What has no answers


def test_of_a_network_that_fails_nothing_is_written(tmp_path: Path, images: Path) -> None:
    made = model(tmp_path, NOT_A_NUMBER)
    with pytest.raises(NodeError):
        write_reference(made, THREADS, images, WHERE)
    assert not path_of(made).exists()


def test_of_images_that_the_network_does_not_read_nothing_is_written(
    tmp_path: Path, images: Path
) -> None:
    for path in images.iterdir():
        dataset = dcmread(path)
        dataset.ViewPosition = "FB"
        del dataset.ViewCodeSequence
        dataset.save_as(path)
    made = scorer(tmp_path, "score = Identity(mean)")
    with pytest.raises(NodeError, match="the network reads none of the images"):
        write_reference(made, THREADS, images, WHERE)
    assert not path_of(made).exists()
