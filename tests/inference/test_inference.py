import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packages import CLASSES
from pydicom import Dataset, uid
from small_images import PATIENT, compressed, encoded, instance, mammogram, saved, unit
from small_models import ENDLESS, NAN_WHEN_BRIGHT, NOT_A_NUMBER, SHARE_OF_WHITE, model

from node import config
from node.config import bundled_models_dir
from node.errors import ConfigError, InferenceUnavailable, ModelError, StudyError, Unreadable
from node.imaging.grid import PlaneGrid
from node.imaging.outlines import TOLERANCE_PX, signed_area
from node.inference import Inference
from node.inference.classes import score_classes
from node.inference.mask import score_mask
from node.manifest import ClassesOutput, MaskOutput, Model, Pixels, load_model
from node.study import Unit

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 300, 200


def half_disc(radius: int = 90) -> NDArray[np.uint16]:
    """Return a white half disc on the right edge, as a right breast lies there."""
    y, x = np.indices((ROWS, COLUMNS)) + 0.5
    inside = (COLUMNS - x) ** 2 + (y - ROWS / 2) ** 2 < radius**2
    return np.where(inside, 4095, 0).astype(np.uint16)


@pytest.fixture
def breast(tmp_path: Path) -> Unit:
    return unit(saved(mammogram(half_disc()), tmp_path))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    with running(model(tmp_path_factory.mktemp("models"))) as inference:
        yield inference


def running(*models: Any, **settings: Any) -> Inference:
    return Inference(config.InferenceSettings.model_validate({"threads": 1} | settings), models)


def children_of(pid: int) -> set[int]:
    """Return the processes whose parent is this one, as /proc shows them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def wait_until(is_so: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_mask_is_measured_in_the_breast_and_outlined_in_the_stored_matrix(
    small: Inference, breast: Unit
) -> None:
    answer = small.score(breast, small_model(small))
    (score,) = answer.outputs
    true_cm2 = np.count_nonzero(half_disc()) * 0.1 * 0.1 / 100
    (area,) = score.marks[0].measurements
    assert area.value == pytest.approx(true_cm2, rel=0.02)
    assert (area.concept.value, area.unit.value) == ("42798000", "cm2")
    assert answer.unit == breast.key
    outline = np.array(score.marks[0].outline)
    assert score.marks[0].outline[0] == score.marks[0].outline[-1]
    assert 8 < len(outline) < 150
    assert outline.min() >= 0
    assert outline[:, 0].max() == COLUMNS
    assert outline[:, 0].min() == pytest.approx(COLUMNS - 90, abs=3)
    assert outline[:, 1].min() == pytest.approx(ROWS / 2 - 90, abs=3)
    x, y = outline.T
    enclosed = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2
    assert enclosed == pytest.approx(np.count_nonzero(half_disc()), rel=0.03)  # > 0: clockwise
    assert small.score(breast, small_model(small)) == answer


def small_model(inference: Inference) -> Any:
    return inference._setup.packages[0].model


BY_PIXELS = """[[pixels]]
op = "grey"
values = "voi"
scale = "range of voi"

[[pixels]]
op = "mirror"
chest_wall = "left"
without_orientation = "pixels"

[[pixels]]
op = "resize"
height = 64
width = 64
fit = "pad"
filter = "bilinear"
antialias = true

"""


def test_an_image_that_lies_mirrored_against_its_side_is_outlined_where_it_lies_and_told(
    tmp_path: Path,
) -> None:
    package = model(tmp_path, size=64)
    path = package.folder / "manifest.toml"
    before, _, after = path.read_text("utf-8").partition("[pixels]\n")
    path.write_text(before + BY_PIXELS + after[after.index("[output]") :], "utf-8")
    turned = np.ascontiguousarray(half_disc()[:, ::-1])
    with running(Model(package.folder)) as inference:
        of = small_model(inference)
        for values, is_turned in ((half_disc(), False), (turned, True)):
            image = unit(saved(mammogram(values, PatientOrientation=None), tmp_path))
            answer = inference.score(image, of)
            assert answer.mirrored == (("image",) if is_turned else ())
            across = np.array(answer.outputs[0].marks[0].outline)[:, 0]
            at_wall, at_nipple = (across.min(), across.max())[:: 1 if is_turned else -1]
            assert at_wall == (0 if is_turned else COLUMNS)
            assert at_nipple == pytest.approx(90 if is_turned else COLUMNS - 90, abs=5)
        said = unit(saved(mammogram(turned, PatientOrientation=["P", "L"]), tmp_path))
        with pytest.raises(StudyError, match="opposite the chest wall"):
            inference.score(said, of)


def test_probabilities_are_passed_on_as_percent(tmp_path: Path, breast: Unit) -> None:
    share = 100 * np.count_nonzero(half_disc()) / 300**2  # the input is padded to a square
    package = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    with running(package) as inference:
        fatty, dense = inference.score(breast, package).outputs[0].measurements
        assert dense.value == pytest.approx(share, rel=0.02)
        assert fatty.value + dense.value == pytest.approx(100)
        assert (dense.concept.meaning, dense.unit.value) == ("Probability of D", "%")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    package = model(
        tmp_path_factory.mktemp("models"),
        SHARE_OF_WHITE,
        output="float[1,2] density",
        described=CLASSES,
    )
    with running(package) as inference:
        yield inference


def tissue() -> NDArray[np.uint16]:
    """Return what a view cropped to the breast shows: tissue from edge to edge."""
    y, x = np.indices((ROWS, COLUMNS))
    values: NDArray[np.float64] = 2500 + 300 * np.sin(x / 20) + 300 * np.cos(y / 30)
    return values.astype(np.uint16)


def noise() -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)


NO_AIR = "no breast found in this image: no dark air"
WRONG_SIDE = "no breast found in this image where its laterality and Patient Orientation say"
INVERTED = "no breast found in this image: the side opposite the chest wall is bright"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((ROWS, COLUMNS), 4095, np.uint16), NO_AIR),  # the input is padded with black
        (np.full((ROWS, COLUMNS), 410, np.uint16), NO_AIR),
        (np.zeros((ROWS, COLUMNS), np.uint16), NO_AIR),
        (noise(), NO_AIR),
        (tissue(), NO_AIR),
        (4095 - half_disc(), INVERTED),
        (np.ascontiguousarray(half_disc()[:, ::-1]), WRONG_SIDE),
        (np.ascontiguousarray(half_disc()[:, -3:]), "no breast found in this image: it is a strip"),
    ],
    ids=["white", "grey", "black", "noise", "tissue", "inverted", "turned over", "strip"],
)
def test_what_can_be_no_breast_is_not_given_a_grade(
    values: NDArray[np.uint16], words: str, classes: Inference, tmp_path: Path
) -> None:
    image = unit(saved(mammogram(values), tmp_path))
    with pytest.raises(StudyError, match=words):
        classes.score(image, small_model(classes))


def small_beside_a_bright_edge() -> NDArray[np.uint16]:
    """Return a breast in less than half of the rows, on a film whose far edge is white."""
    values = np.full((ROWS, COLUMNS), 200, np.uint16)
    values[ROWS // 3 : ROWS // 3 + ROWS * 2 // 5, COLUMNS // 2 :] = 2500
    values[:, : COLUMNS // 20] = 4095
    return values


def close_up() -> NDArray[np.uint16]:
    """Return a breast that reaches the upper and lower edge, and a label beside it."""
    values = np.where(np.arange(COLUMNS) > 60, 2000, 100) * np.ones((ROWS, 1))
    values[20:50, 10:50] = 4095
    return values.astype(np.uint16)


@pytest.mark.parametrize(
    "image",
    [
        mammogram(half_disc(30)),
        mammogram(close_up()),
        mammogram(small_beside_a_bright_edge()),
        mammogram(half_disc() // 8 + noise() // 8),
        mammogram(4095 - half_disc(), PhotometricInterpretation="MONOCHROME1"),
    ],
    ids=["small", "close up", "bright edge", "faint and noisy", "MONOCHROME1"],
)
def test_a_breast_that_is_hard_to_see_is_given_a_grade(
    image: Dataset, classes: Inference, tmp_path: Path
) -> None:
    found = classes.score(unit(saved(image, tmp_path)), small_model(classes))
    assert len(found.outputs[0].measurements) == 2


@pytest.mark.parametrize("values", [(0.5, 0.6), (-0.1, 1.1), (0.0, 0.0)])
def test_what_does_not_add_up_to_one_is_no_probability(values: tuple[float, float]) -> None:
    output = ClassesOutput.model_validate(tomllib.loads(f"[output]\n{CLASSES}")["output"])
    with pytest.raises(ModelError, match="no probabilities that add up to 1"):
        score_classes(np.array(values, np.float32), output)


def test_magnification_makes_the_breast_smaller(small: Inference, tmp_path: Path) -> None:
    def area(**changes: Any) -> float:
        path = saved(mammogram(half_disc(), **changes), tmp_path)
        (score,) = small.score(unit(path), small_model(small)).outputs
        return score.marks[0].measurements[0].value

    plain = area()
    assert area(EstimatedRadiographicMagnificationFactor=2) == pytest.approx(plain / 4)
    distances = {"DistanceSourceToDetector": 700, "DistanceSourceToPatient": 350}
    assert area(**distances) == pytest.approx(plain / 4)
    with pytest.raises(StudyError, match="contradict each other, so no area can be measured"):
        area(**distances, EstimatedRadiographicMagnificationFactor=1)
    assert area(ImagerPixelSpacing=[0.1, 0.3]) == pytest.approx(plain * 3)


MANIFEST = load_model("breast-area", bundled_models_dir()).manifest


def discs(*places: tuple[float, float, float], size: int = 200) -> NDArray[np.float32]:
    """Return a mask of discs, each given by column, row and radius."""
    y, x = np.indices((size, size)) + 0.5
    inside = [(x - column) ** 2 + (y - row) ** 2 < radius**2 for column, row, radius in places]
    mask: NDArray[np.float32] = np.any(inside, axis=0).astype(np.float32)
    return mask


def measured(mask: NDArray[np.float32], **changes: Any) -> tuple[float, float]:
    """Return the reported area in cm2, and that within the outline, at 10 mm a pixel."""
    rows, columns = mask.shape
    grid = PlaneGrid.whole(rows, columns, rows, columns, is_mirrored=False)
    (output,) = MANIFEST.outputs
    assert isinstance(output, MaskOutput)
    score = score_mask(mask, output, MANIFEST.model_copy(update=changes), grid, (10, 10))
    return score.marks[0].measurements[0].value, signed_area(np.array(score.marks[0].outline))


def test_of_two_regions_the_larger_alone_is_measured_and_outlined() -> None:
    both = discs((0, 60, 50), (60, 160, 25))
    area, enclosed = measured(both)
    assert area == pytest.approx(enclosed, rel=0.01)
    assert area == pytest.approx(np.count_nonzero(discs((0, 60, 50))), rel=0.01)


def test_a_hole_counts_as_part_of_the_region() -> None:
    area, enclosed = measured(discs((0, 100, 80)) - discs((30, 100, 20)))
    assert area == pytest.approx(np.count_nonzero(discs((0, 100, 80))), rel=0.01)
    assert area == pytest.approx(enclosed, rel=0.01)


places = st.tuples(st.floats(0, 140), st.floats(0, 200), st.floats(12, 40))


@given(st.lists(places, min_size=1, max_size=4))
@settings(max_examples=examples(40))
def test_the_number_is_the_area_within_the_outline(found: list[tuple[float, float, float]]) -> None:
    area, enclosed = measured(discs(*found))
    perimeter = 2 * np.pi * sum(radius for _, _, radius in found)
    assert area == pytest.approx(enclosed, abs=TOLERANCE_PX * perimeter)


def test_a_region_that_covers_the_whole_image_is_no_breast() -> None:
    with pytest.raises(StudyError, match=r"no breast outline found: .* whole image"):
        measured(np.ones((200, 200), np.float32))


def test_a_region_along_the_edge_opposite_the_chest_wall_is_no_breast() -> None:
    mask = discs((200, 100, 80))
    with pytest.raises(StudyError, match=r"no breast outline found: .* opposite the chest wall"):
        measured(mask)
    assert isinstance(MANIFEST.pixels, Pixels)
    as_stored = MANIFEST.pixels.model_copy(update={"orientation": "as stored"})
    assert measured(mask, pixels=as_stored)[0] > 0
    assert measured(discs((120, 100, 80)))[0] > 0, "a large breast may reach that edge"


def test_a_picture_comes_from_the_child(small: Inference, breast: Unit) -> None:
    shown = small.picture(breast.instance)
    assert shown.grey.shape == (ROWS, COLUMNS)
    assert shown.grey[ROWS // 2, -1] == 255
    assert shown.scale == 1


def always(model: Model) -> bool:
    """Whatever is scored is shown."""
    return True


def test_only_what_will_be_shown_is_drawn_when_it_is_scored(tmp_path: Path, breast: Unit) -> None:
    package = model(tmp_path)
    shown = [package]
    settings = config.InferenceSettings(threads=1)
    with Inference(settings, (package,), draws_for=lambda one: one in shown) as running:
        running.score(breast, package)
        assert running._pictures.has(breast.instance.path)
        running.picture(breast.instance)
        shown.clear()
        running.score(breast, package)
        assert not running._pictures.has(breast.instance.path)


def test_the_picture_of_a_scored_image_is_the_one_that_is_drawn_when_asked(
    small: Inference, tmp_path: Path, breast: Unit
) -> None:
    package = model(tmp_path)
    with Inference(config.InferenceSettings(threads=1), (package,), draws_for=always) as running:
        running.score(breast, package)
        asked_for_it = running.picture(breast.instance)
        once_more = running.picture(breast.instance)
    shown = small.picture(breast.instance)
    for picture in (asked_for_it, once_more):
        assert np.array_equal(picture.grey, shown.grey)
        assert picture.scale == shown.scale


def test_a_file_that_another_took_the_place_of_is_drawn_as_it_is_now(tmp_path: Path) -> None:
    package = model(tmp_path)
    path = saved(mammogram(half_disc()), tmp_path, "image.dcm")
    seen = unit(path)
    with Inference(config.InferenceSettings(threads=1), (package,), draws_for=always) as running:
        running.score(seen, package)
        saved(mammogram(half_disc() // 4), tmp_path, "other.dcm").replace(path)
        assert running.picture(seen.instance).grey.max() < 255


def test_pixels_are_compared_without_any_model(tmp_path: Path) -> None:
    plain = saved(mammogram(half_disc()), tmp_path, "plain.dcm")
    packed = saved(compressed(half_disc(), uid.JPEGLosslessSV1), tmp_path, "packed.dcm")
    other = saved(mammogram(half_disc(80)), tmp_path, "other.dcm")
    video = compressed(half_disc(), uid.JPEGLosslessSV1)
    video.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    with running() as inference:
        assert inference.pixel_digest(plain) == inference.pixel_digest(packed) != ""
        assert inference.pixel_digest(other) != inference.pixel_digest(plain)
        with pytest.raises(Unreadable, match="which this node does not decode"):
            inference.pixel_digest(saved(video, tmp_path))
        with pytest.raises(ModelError, match="cannot be read"):
            inference.pixel_digest(tmp_path / "later.dcm")


def test_a_damaged_file_is_unreadable_and_the_words_name_no_patient(
    small: Inference, tmp_path: Path
) -> None:
    frame = encoded(half_disc(), uid.JPEGLosslessSV1)
    path = saved(compressed(half_disc(), uid.JPEGLosslessSV1, frame[:500]), tmp_path)
    with pytest.raises(Unreadable, match="ends early") as caught:
        small.score(unit(path), small_model(small))
    assert PATIENT not in str(caught.value)
    with pytest.raises(Unreadable):
        small.picture(instance(path))


def test_what_a_child_logs_has_the_form_of_the_log_and_names_the_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = b"\xff\xd8\xff\xd9"  # ends at once
    path = saved(compressed(half_disc(), uid.JPEGLosslessSV1, code), tmp_path)
    form = r"[0-9-]+ [0-9:,]+ WARNING node\.dicom\.untrusted: pixel data cannot be decoded: \w+"
    with running(package := model(tmp_path)) as inference:
        asked: list[Callable[[], object]] = [
            lambda: inference.score(unit(path), package),
            lambda: inference.picture(instance(path)),
            lambda: inference.pixel_digest(path, unit(path).sop_uid),
        ]
        for ask in asked:
            with pytest.raises(Unreadable):
                ask()
            (line,) = capfd.readouterr().err.splitlines()  # written before the answer
            assert re.fullmatch(rf"{form} \({re.escape(unit(path).sop_uid)}\)", line)


def test_an_image_without_spacing_or_without_breast_is_the_studys_own_fault(
    small: Inference, tmp_path: Path
) -> None:
    no_spacing = saved(mammogram(half_disc(), ImagerPixelSpacing=None), tmp_path, "a.dcm")
    with pytest.raises(StudyError, match="has no usable detector pixel spacing"):
        small.score(unit(no_spacing), small_model(small))
    black = saved(mammogram(half_disc(0)), tmp_path, "b.dcm")
    with pytest.raises(StudyError, match="no breast outline"):
        small.score(unit(black), small_model(small))


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        (2000, ""),
        (6500, "padding makes 100% of what it shows black"),
        (-1000, "padding makes [0-9]+% of what it shows white"),
    ],
)
def test_a_mammogram_that_its_window_hides_is_not_measured(
    centre: int, words: str, small: Inference, tmp_path: Path
) -> None:
    values = np.where(half_disc(40), 4000, half_disc() // 2)  # a bright disc in a dim one
    hidden = saved(mammogram(values, WindowCenter=centre, WindowWidth=4000), tmp_path)
    if not words:
        small.score(unit(hidden), small_model(small))
        return
    with pytest.raises(StudyError, match=words):
        small.score(unit(hidden), small_model(small))


def test_a_missing_file_is_tried_again(small: Inference, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        small.picture(instance(tmp_path / "not-yet.dcm"))


def test_nan_is_a_model_error_and_the_child_lives_on(tmp_path: Path, breast: Unit) -> None:
    package = model(tmp_path, NAN_WHEN_BRIGHT)
    before = children_of(os.getpid())
    with running(package) as inference:
        started = children_of(os.getpid()) - before
        with pytest.raises(ModelError, match="NaN"):
            inference.score(breast, package)
        assert inference.picture(breast.instance).scale == 1
        assert children_of(os.getpid()) - before == started


def test_a_network_that_cannot_answer_the_warm_up_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NaN"):
        running(model(tmp_path, NOT_A_NUMBER)).start()


def test_the_deadline_kills_the_child_and_the_next_call_finds_another(
    tmp_path: Path, breast: Unit
) -> None:
    package = model(tmp_path, ENDLESS)
    with running(package, deadline_s=3) as inference:
        before = children_of(os.getpid())
        with pytest.raises(ModelError, match=r"took longer than 3 s"):
            inference.score(breast, package)
        assert inference.picture(breast.instance).scale == 1
        assert len(children_of(os.getpid()) - before) == 1


def test_a_child_killed_at_work_is_a_model_error_and_one_killed_while_idle_is_none(
    tmp_path: Path, breast: Unit
) -> None:
    package = model(tmp_path, ENDLESS)
    before = children_of(os.getpid())
    with running(package) as inference, ThreadPoolExecutor(1) as caller:
        (child,) = children_of(os.getpid()) - before
        (asked,) = inference._children
        answer = caller.submit(inference.score, breast, package)
        wait_until(lambda: asked.is_broken)  # as it is until it has answered
        time.sleep(0.3)
        os.kill(child, signal.SIGSEGV)
        with pytest.raises(ModelError, match=r"signal 11 \(SIGSEGV\)"):
            answer.result()
        assert inference.picture(breast.instance).scale == 1
        (child,) = children_of(os.getpid()) - before
        os.kill(child, signal.SIGKILL)  # while idle: nobody notices
        wait_until(lambda: not _is_alive(child))
        assert inference.picture(breast.instance).scale == 1


def test_a_child_that_cannot_be_replaced_says_nothing_about_the_image(
    tmp_path: Path, breast: Unit
) -> None:
    package = model(tmp_path)
    weights = package.weights_path.read_bytes()
    with running(package) as inference:
        (child,) = inference._children
        child.kill()
        package.weights_path.write_bytes(b"not ONNX")
        for _ in range(2):
            with pytest.raises(InferenceUnavailable, match="SHA-256"):
                inference.score(breast, package)
        package.weights_path.write_bytes(weights)
        assert inference.score(breast, package).unit == breast.key


def test_a_process_that_the_system_refuses_says_nothing_about_the_image(
    tmp_path: Path, breast: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = model(tmp_path)
    with running(package) as inference:
        (child,) = inference._children
        child.kill()
        monkeypatch.setattr("node.inference.sys.executable", str(tmp_path / "nowhere"))
        with pytest.raises(InferenceUnavailable, match="no inference process can be started"):
            inference.score(breast, package)


def test_a_process_that_cannot_be_started_is_told_until_it_can(
    tmp_path: Path, breast: Unit
) -> None:
    package = model(tmp_path)
    weights = package.weights_path.read_bytes()
    with running(package) as inference:
        inference.mend()
        assert inference.trouble == ""
        (child,) = inference._children
        child.kill()
        package.weights_path.write_bytes(b"not ONNX")
        inference.mend()  # nobody has asked for anything
        assert inference.trouble.startswith("no inference process can be started: ")
        package.weights_path.write_bytes(weights)
        inference.mend()
        assert inference.trouble == ""
        assert inference.score(breast, package).unit == breast.key


def test_one_of_two_processes_that_cannot_be_started_is_told_as_one_of_two(
    tmp_path: Path,
) -> None:
    package = model(tmp_path)
    weights = package.weights_path.read_bytes()
    with running(package, processes=2) as inference:
        package.weights_path.write_bytes(b"not ONNX")
        first, second = inference._children
        first.kill()
        for _ in range(4):  # each is looked at twice
            inference.mend()
        assert inference.trouble == ""
        said = inference.lesser_trouble
        assert said.startswith("1 of 2 inference processes cannot be started: ")
        second.kill()
        for _ in range(4):
            inference.mend()
        assert inference.trouble.startswith("no inference process can be started: ")
        assert inference.lesser_trouble == ""
        package.weights_path.write_bytes(weights)
        inference.mend()
        assert inference.lesser_trouble.startswith("1 of 2")
        inference.mend()
        assert (inference.trouble, inference.lesser_trouble) == ("", "")


def test_mending_waits_for_nobody_who_is_at_work(tmp_path: Path, breast: Unit) -> None:
    package = model(tmp_path, ENDLESS)
    with running(package) as inference, ThreadPoolExecutor(1) as callers:
        (asked,) = inference._children
        answer = callers.submit(inference.score, breast, package)
        wait_until(lambda: asked.is_broken)  # as it is until it has answered
        inference.mend()
        assert not answer.done()
        inference.close()
        with pytest.raises(InferenceUnavailable, match="shutting down"):
            answer.result()
    inference.mend()  # after the end it starts nothing
    assert not inference._children


def test_an_image_too_large_for_the_memory_limit_is_a_model_error(tmp_path: Path) -> None:
    values = np.zeros((6000, 6000), np.uint16)
    path = saved(mammogram(values), tmp_path)
    with (
        running(model(tmp_path), memory_mb=512) as inference,
        pytest.raises(ModelError, match="memory_mb"),
    ):
        inference.score(unit(path), small_model(inference))


def test_a_model_that_cannot_be_loaded_refuses_to_start(tmp_path: Path) -> None:
    package = model(tmp_path)
    package.weights_path.write_bytes(b"not ONNX")
    before = children_of(os.getpid())
    with pytest.raises(ConfigError, match="SHA-256"):
        running(package).start()
    assert children_of(os.getpid()) <= before


def test_many_threads_share_the_children(tmp_path: Path, breast: Unit) -> None:
    package = model(tmp_path)
    with running(package, processes=2) as inference, ThreadPoolExecutor(6) as callers:
        scores = list(callers.map(lambda _: inference.score(breast, package), range(12)))
    assert all(score == scores[0] for score in scores)


def test_children_outlive_the_thread_that_started_them(tmp_path: Path, breast: Unit) -> None:
    inference = running(model(tmp_path))
    thread = Thread(target=inference.start)
    thread.start()
    thread.join()
    before = children_of(os.getpid())
    time.sleep(0.2)
    assert inference.picture(breast.instance).scale == 1
    assert children_of(os.getpid()) == before
    inference.close()


def test_closing_ends_a_call_under_way_and_refuses_later_ones(tmp_path: Path, breast: Unit) -> None:
    package = model(tmp_path, ENDLESS)
    inference = running(package)
    inference.start()
    with ThreadPoolExecutor(2) as callers:
        answers = [callers.submit(inference.score, breast, package) for _ in range(2)]
        time.sleep(0.3)
        inference.close()
        for answer in answers:
            with pytest.raises(InferenceUnavailable, match="shutting down"):
                answer.result()
    with pytest.raises(InferenceUnavailable, match="shutting down"):
        inference.picture(breast.instance)
    inference.close()


PARENT = """
import sys, time
from pathlib import Path
from node import config
from node.inference import Inference
from node.manifest import Model
inference = Inference(config.InferenceSettings(processes=2, threads=1), [Model(Path({folder!r}))])
inference.start()
print("started", flush=True)
time.sleep(60)
"""


def test_children_die_with_a_parent_that_is_killed_even_while_they_work(tmp_path: Path) -> None:
    package = model(tmp_path)
    parent = subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None and parent.stdout is not None
    with parent:
        parent.stdin.write(PARENT.format(folder=str(package.folder)))
        parent.stdin.close()
        assert parent.stdout.readline() == "started\n"
        children = children_of(parent.pid)
        assert len(children) == 2
        for child in children:
            os.kill(child, signal.SIGSTOP)  # a child that cannot notice anything by itself
        parent.kill()
        wait_until(lambda: not any(_is_alive(child) for child in children))


def _is_alive(pid: int) -> bool:
    """Return whether any thread of a process is left."""
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return False
    return any(stat.rpartition(")")[2].split()[0] != "Z" for stat in tasks)


def test_a_child_imports_neither_network_nor_queue_nor_database() -> None:
    code = """
import sys, node.inference.child
print(*sorted({"pynetdicom", "dbos", "sqlalchemy"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_the_runtime_tells_nobody_about_the_machine(tmp_path: Path) -> None:
    """Its telemetry, on by default, begins with a folder in the home of the user."""
    code = (
        "from node.config import bundled_models_dir; from node.manifest import load_model;"
        "from node.inference.onnx import OnnxSession; from node.inference.session import warm_up;"
        "warm_up(OnnxSession(load_model('breast-area', bundled_models_dir()), 1))"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
