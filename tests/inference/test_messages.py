"""What a child says is data: crafted answers run nothing, and whatever is no answer ends it."""

from __future__ import annotations

import os
import pickle
import struct
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lesion_models import MODELS, lesion_score
from mr_models import uptake_model
from packages import CLASSES
from small_images import instance, unit
from small_models import model

from node import config, score_json
from node.config import bundled_models_dir
from node.errors import ConfigError, ModelError
from node.inference import Inference
from node.inference.line import LONGEST_BYTES, Message
from node.inference.messages import (
    Failure,
    Package,
    PictureJob,
    PixelDigestJob,
    Question,
    ScoreJob,
    Setup,
    ShownFrame,
    ShownImage,
    SlicesPictureJob,
    answered,
    asked,
    digest_in,
    greeting_in,
    picture_in,
    question_in,
    reason_of,
    score_in,
)
from node.manifest import ClassesOutput, Model, load_model
from node.result import PERCENT, Code, HeatMap, Mark, Measurement, OutputScore, UnitScore
from node.study import LONGEST_SIDE_PX, Laterality, Picture, View

HOSTILE = """
import socket, struct, sys
line = socket.socket(fileno=int(sys.argv[1]))
def hear(length):
    content = b""
    while len(content) < length:
        content += line.recv(length - len(content)) or sys.exit()
    return content
def listen():
    hear(sum(struct.unpack("!II", hear(8))))
for answer, is_asked in {answers!r}:
    if is_asked:
        listen()
    line.sendall(answer)
hear(1 << 30)  # until it is killed, or hung up on
"""
"""A child that says these bytes, whatever it is asked; it knows nothing of the node."""

SOP_UID = "1.2.3.4"
AREA = Measurement(Code("42798000", "SCT", "Area"), 12.3, Code("cm2", "UCUM", "square centimeter"))
SQUARE = ((0.0, 0.0), (9.5, 0.0), (9.5, 9.5), (0.0, 9.5), (0.0, 0.0))
SAID = OutputScore(marks=(Mark(SQUARE, (AREA,)),))
SCORE = UnitScore(SOP_UID, (SAID,))
MASK = load_model("breast-area", bundled_models_dir()).manifest.outputs


def framed(message: Message) -> bytes:
    return struct.pack("!II", len(message.head), len(message.body)) + message.head + message.body


class Trap:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def as_multiprocessing_sends(content: bytes) -> bytes:
    return struct.pack("!i", len(content)) + content


@pytest.fixture
def hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[list[tuple[bytes, bool]]], Inference]]:
    """Start inference whose children say what they are told, each after being asked or at once."""
    started = []

    def start(answers: list[tuple[bytes, bool]], deadline_s: float = 120) -> Inference:
        monkeypatch.setattr("node.inference.COMMAND", HOSTILE.format(answers=answers))
        settings = config.InferenceSettings(deadline_s=deadline_s)
        started.append(Inference(settings, [model(tmp_path)]))
        return started[-1]

    yield start
    for inference in started:
        inference.close()


Start = Callable[..., Inference]
READY = (framed(answered(None)), True)


@pytest.mark.parametrize("frame", [as_multiprocessing_sends, lambda c: framed(Message(c))])
def test_a_pickle_for_a_greeting_runs_nothing(
    frame: Callable[[bytes], bytes], hostile: Start, tmp_path: Path
) -> None:
    trap = tmp_path / "made by the child"
    crafted = frame(pickle.dumps(Trap(trap)))
    with pytest.raises(ConfigError, match="inference cannot start: the inference process answered"):
        hostile([(crafted, False)]).start()
    assert not trap.exists()


@pytest.mark.parametrize("is_body", [False, True], ids=["head", "body"])
def test_a_pickle_for_a_score_runs_nothing(is_body: bool, hostile: Start, tmp_path: Path) -> None:
    trap = tmp_path / "made by the child"
    content = pickle.dumps(Trap(trap))
    crafted = Message(answered(SCORE).head, content) if is_body else Message(content)
    inference = hostile([READY, (framed(crafted), True)])
    inference.start()
    with pytest.raises(ModelError, match="answered with what is no answer"):
        inference.score(unit(tmp_path / "a.dcm"), inference._setup.packages[0].model)
    assert not trap.exists()


def scored(body: bytes) -> bytes:
    return framed(Message(answered(SCORE).head, body))


TEXT = score_json.dumped(SCORE)
DRAWN = answered(Picture(np.zeros((2, 3), np.uint8), 0.5))
CRAFTED = {
    "no JSON": (framed(Message(b"\x80\x05]")), "json_invalid"),
    "nothing": (framed(Message(b"")), "json_invalid"),
    "too long": (struct.pack("!II", LONGEST_BYTES, 1), "a message of more than"),
    "a number that is none": (scored(TEXT.replace(b"12.3", b"NaN")), "finite_number"),
    "an endless number": (scored(TEXT.replace(b"12.3", b"1e999")), "finite_number"),
    "a number in quotes": (scored(TEXT.replace(b"12.3", b'"12.3"')), "float_type"),
    "something more": (scored(TEXT.replace(b'"marks"', b'"x":1,"marks"')), "unexpected_keyword"),
    "two scores": (scored(TEXT + b"," + TEXT), "too_long"),
    "deep": (scored(b"[" * 10_000), "json_invalid"),
    "another image": (framed(answered(replace(SCORE, unit="1.2"))), "a score of another image"),
    "a picture": (framed(DRAWN), "union_tag_invalid"),
    "a greeting": (READY[0], "union_tag_invalid"),
    "an unknown error": (framed(answered(Failure("StudyError", "x"))).replace(b"S", b"X"), "lit"),
    "another line in the log": (
        framed(answered(Failure("StudyError", "x y"))).replace(b"x y", b"x\\n"),
        "value_error",
    ),
}


@pytest.mark.parametrize("crafted", CRAFTED)
def test_a_malformed_answer_is_a_model_error_and_ends_the_child(
    crafted: str, hostile: Start, tmp_path: Path
) -> None:
    content, words = CRAFTED[crafted]
    inference = hostile([READY, (content, True)])
    inference.start()
    (child,) = inference._children
    with pytest.raises(ModelError, match=f"answered with .*{words}.* and was killed"):
        inference.score(unit(tmp_path / "a.dcm"), inference._setup.packages[0].model)
    assert inference._children == set()
    assert child._process.returncode is not None


@pytest.mark.parametrize(
    "changed",
    [
        Message(DRAWN.head, DRAWN.body + b"\0"),
        Message(DRAWN.head, DRAWN.body[1:]),
        Message(DRAWN.head.replace(b'"rows":2', b'"rows":-2'), DRAWN.body),
        Message(DRAWN.head.replace(b'"rows":2', b'"rows":1%d' % LONGEST_SIDE_PX), DRAWN.body),
        Message(DRAWN.head.replace(b"0.5", b"1.5"), DRAWN.body),
        Message(DRAWN.head.replace(b"0.5", b"NaN"), DRAWN.body),
    ],
    ids=["more", "less", "negative", "large", "magnified", "scale"],
)
def test_a_picture_of_another_shape_than_its_bytes_is_no_answer(
    changed: Message, hostile: Start, tmp_path: Path
) -> None:
    inference = hostile([READY, (framed(changed), True)])
    inference.start()
    with pytest.raises(ModelError, match="answered with"):
        inference.picture(instance(tmp_path / "a.dcm"))


def test_an_answer_that_begins_and_never_ends_runs_into_the_deadline(
    hostile: Start, tmp_path: Path
) -> None:
    inference = hostile([READY, (framed(DRAWN)[:-1], True)], deadline_s=1)
    inference.start()
    with pytest.raises(ModelError, match="took longer than 1 s"):
        inference.picture(instance(tmp_path / "a.dcm"))


def test_what_a_child_says_unasked_is_no_answer_to_the_next_question(
    hostile: Start, tmp_path: Path
) -> None:
    one, other = framed(answered("a" * 64)), framed(answered("b" * 64))
    with hostile([READY, (one + other, True)]) as inference:
        assert inference.pixel_digest(tmp_path / "a.dcm") == "a" * 64
        assert inference.pixel_digest(tmp_path / "b.dcm") == "a" * 64, "of a new child"


def test_a_digest_is_a_digest() -> None:
    assert digest_in(answered("")) == ""
    for text in ("A" * 64, "a" * 65, "a" * 64 + "\n"):
        with pytest.raises(ValueError, match="pattern"):
            digest_in(answered(text))
    with pytest.raises(ValueError, match="belong to nothing"):
        digest_in(answered("a" * 64)._replace(body=b"x"))


# Scores that do not fit the model


CLASS_OUTPUT = ClassesOutput.model_validate(tomllib.loads(f"[output]\n{CLASSES}")["output"])
HEAT: dict[str, Any] = {
    "sop_uid": SOP_UID,
    "rows": 1,
    "columns": 3,
    "values": "AAAA",
    "box": (0.0, 0.0, 9.0, 9.0),
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"measurements": (AREA,)}, "other numbers"),
        ({"marks": (Mark(SQUARE, ()),)}, "other numbers"),
        ({"marks": (Mark(SQUARE, (AREA, AREA)),)}, "other numbers"),
        ({"marks": (Mark(SQUARE[:-1], (AREA,)),)}, "an outline that is not closed"),
        ({"marks": (Mark((), (AREA,)),)}, "an outline that is not closed"),
        ({"marks": (Mark(SQUARE, (AREA,), of_class=0),)}, "a mark of no class"),
        ({"heat_map": HeatMap(concept=AREA.concept, **HEAT)}, "a heat map too many"),
    ],
)
def test_a_score_must_fit_the_manifest(changed: dict[str, Any], words: str) -> None:
    assert score_in(answered(SCORE), SOP_UID, MASK) == SCORE
    with pytest.raises(ValueError, match=words):
        score_in(answered(of_one(replace(SAID, **changed))), SOP_UID, MASK)


def slices_of(roles: tuple[str, ...]) -> dict[str, int]:
    return dict.fromkeys(roles, 24)


def test_a_body_does_not_move_farther_than_a_magnet_is_long() -> None:
    roles = ("post 1", "pre", "post 2")
    possible = replace(SCORE, displaced=(("post 1", 3.1), ("post 2", None)))
    assert score_in(answered(possible), SOP_UID, MASK, slices_of(roles)) == possible
    for mm in (-0.1, 1e300):
        with pytest.raises(ValueError, match="a displacement that cannot be"):
            score_in(
                answered(replace(SCORE, displaced=(("post 1", mm),))),
                SOP_UID,
                MASK,
                slices_of(roles),
            )


@pytest.mark.parametrize(
    ("roles", "said", "is_one"),
    [
        (("pre", "post 1"), ("post 1",), True),
        (("pre", "post 1"), (), False),
        (("pre", "post 1"), ("post 1", "post 1"), False),
        (("pre", "post 1"), ("pre", "post 1"), False),
        (("pre", "post 1"), ("post 1", "post 9"), False),
        (("pre", "post 1", "post 2"), ("post 2",), False),
        (("pre",), (), True),
        (("post 1", "post 2"), (), True),
        (("post 1", "post 2"), ("post 2",), False),
        ((), (), True),
        ((), ("post 1",), False),
    ],
)
def test_each_phase_after_that_before_contrast_is_displaced_and_nothing_else(
    roles: tuple[str, ...], said: tuple[str, ...], is_one: bool
) -> None:
    score = replace(SCORE, displaced=tuple((role, 1.0) for role in said))
    if is_one:
        assert score_in(answered(score), SOP_UID, MASK, slices_of(roles)) == score
        return
    with pytest.raises(ValueError, match="displacements of other phases than were read"):
        score_in(answered(score), SOP_UID, MASK, slices_of(roles))


def test_breasts_are_seen_in_a_phase_before_contrast_alone() -> None:
    seen = replace(SCORE, breasts=Laterality.BOTH)
    assert score_in(answered(seen), SOP_UID, MASK, slices_of(("pre",))) == seen
    for roles in ((), ("post 1",)):
        with pytest.raises(ValueError, match="breasts that nobody looked for"):
            score_in(answered(seen), SOP_UID, MASK, slices_of(roles))


@pytest.mark.parametrize("outputs", [(), (SAID, SAID)])
def test_a_score_has_what_each_output_says_and_nothing_more(
    outputs: tuple[OutputScore, ...],
) -> None:
    with pytest.raises(ValueError, match="other outputs"):
        score_in(answered(UnitScore(SOP_UID, outputs)), SOP_UID, MASK)


def of_one(said: OutputScore) -> UnitScore:
    return UnitScore(SOP_UID, (said,))


def test_a_model_that_grades_makes_no_marks_and_names_every_class() -> None:
    numbers = tuple(
        Measurement(one.probability.as_code(), 50.0, PERCENT) for one in CLASS_OUTPUT.classes
    )
    outputs = (CLASS_OUTPUT,)
    graded = OutputScore(numbers)
    assert score_in(answered(of_one(graded)), SOP_UID, outputs) == of_one(graded)
    with pytest.raises(ValueError, match="makes none"):
        score_in(answered(of_one(replace(graded, marks=SAID.marks))), SOP_UID, outputs)
    with pytest.raises(ValueError, match="other numbers"):
        score_in(answered(of_one(OutputScore(numbers[::-1]))), SOP_UID, outputs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": "AAA="}, "another size"),
        ({"values": "AAA"}, "padding"),
        ({"values": "A*AA"}, "base64|Only"),
        ({"rows": 0, "values": ""}, "another size"),
        ({"rows": -1, "columns": -3}, "another size"),
        ({"sop_uid": "1.2"}, "a heat map of another image"),
        ({"concept": PERCENT}, "another heat map"),
    ],
)
def test_a_heat_map_must_fit_its_values_and_the_manifest(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    output = lesion_score(tmp_path).manifest.outputs[0]
    assert output.kind == "score" and output.heat_map is not None
    heat_map = HeatMap(concept=output.heat_map.concept.as_code(), **HEAT)
    number = Measurement(output.score.as_code(), 3.0, PERCENT, is_score=True)
    score = OutputScore((number,), heat_map=heat_map)
    assert score_in(answered(of_one(score)), SOP_UID, (output,)) == of_one(score)
    with pytest.raises(ValueError, match=words):
        bad = replace(score, heat_map=replace(heat_map, **changes))
        score_in(answered(of_one(bad)), SOP_UID, (output,))
    with pytest.raises(ValueError, match="or none"):
        score_in(answered(of_one(replace(score, heat_map=None))), SOP_UID, (output,))


# Round trips


numbers = st.floats(allow_nan=False, allow_infinity=False)
codes = st.builds(Code, st.text(), st.text(), st.text())
measurements = st.builds(Measurement, codes, numbers, codes, st.integers(0, 4), st.booleans())
points = st.lists(st.tuples(numbers, numbers)).map(tuple)
marks = st.builds(
    Mark,
    points,
    st.lists(measurements, max_size=2).map(tuple),
    st.booleans(),
    st.none() | numbers,
    st.none() | st.integers(0, 9),
)
heat_maps = st.builds(
    HeatMap,
    st.text(),
    codes,
    st.integers(0, 128),
    st.integers(0, 128),
    st.text(),
    st.tuples(numbers, numbers, numbers, numbers),
)
outputs = st.builds(
    OutputScore,
    st.lists(measurements).map(tuple),
    st.lists(marks, max_size=3).map(tuple),
    st.none() | heat_maps,
)
scores = st.builds(
    UnitScore,
    st.text(),
    st.lists(outputs, max_size=2).map(tuple),
    st.lists(st.text(), max_size=2).map(tuple),
    st.lists(st.tuples(st.text(), st.none() | numbers), max_size=2).map(tuple),
)


@given(scores)
@example(UnitScore("", (OutputScore((Measurement(PERCENT, -0.0, PERCENT),)),)))
@example(UnitScore("", (OutputScore((Measurement(PERCENT, 5e-324, PERCENT),)),)))
def test_every_score_comes_back_as_it_was(score: UnitScore) -> None:
    found = score_json.loaded(score_json.dumped(score))
    assert repr(found) == repr(score)


def test_a_score_of_an_earlier_ledger_is_read_and_written_with_the_word_that_came_since() -> None:
    text = (
        '{"unit":"1.2.3.4","outputs":[{"measurements":[],"marks":[{"outline":[[0.0,0.0],[9.5,0.0],'
        '[9.5,9.5],[0.0,9.5],[0.0,0.0]],"measurements":[{"concept":{"value":"42798000",'
        '"scheme":"SCT","meaning":"Area"},"value":12.3,"unit":{"value":"cm2","scheme":"UCUM",'
        '"meaning":"square centimeter"},"decimals":1,"is_score":false}],"is_box":false,'
        '"depth_mm":null,"of_class":null}],"heat_map":null}]}'
    )
    assert score_json.loaded(text) == SCORE
    since = ',"mirrored":[],"displaced":[],"stack":null,"remarks":[],"breasts":null,"unread":[]}'
    of_output = '"heat_map":null,"solids":[],"deciding":null}'
    expected = f"{text[:-1]}{since}".replace('"heat_map":null}', of_output)
    assert score_json.dumped(SCORE).decode() == expected


sides = st.integers(1, 40)


@given(arrays(np.uint8, st.tuples(sides, sides)), st.floats(0, 1, exclude_min=True))
def test_every_picture_comes_back_as_it_was(grey: Any, scale: float) -> None:
    found = picture_in(answered(Picture(grey, scale)))
    assert isinstance(found, Picture)
    assert found.scale == scale
    assert found.grey.dtype == np.uint8
    assert np.array_equal(found.grey, grey)


# Names of files are bytes: these are what Python makes of them.
paths = st.binary(min_size=1).map(lambda name: Path(os.fsdecode(name.replace(b"\0", b"0"))))


views = st.builds(View, st.sampled_from(Laterality), st.text())
images = st.dictionaries(st.text(), st.builds(ShownImage, paths, st.none() | views))
frames = st.builds(ShownFrame, paths, st.none() | st.integers(1, 9))
volumes = st.dictionaries(st.text(), st.lists(frames, max_size=3).map(tuple))


@given(
    st.builds(ScoreJob, images, st.text(), st.text(), volumes)
    | st.builds(PictureJob, paths, st.text())
    | st.builds(SlicesPictureJob, st.lists(frames, max_size=3).map(tuple), st.text())
    | st.builds(PixelDigestJob, paths, st.text())
)
def test_every_question_comes_back_as_it_was(question: Question) -> None:
    assert question_in(asked(question)) == question


def test_the_slices_of_the_largest_study_are_one_question() -> None:
    folder = Path("/" + "a long name of a folder/" * 10)
    volumes = {
        f"post {phase}": tuple(ShownFrame(folder / f"2.25.{n:039}", n) for n in range(1, 2001))
        for phase in range(1, 11)
    }
    job = ScoreJob({}, "volumes", "uptake", volumes)
    message = asked(job)
    assert len(message.head) < LONGEST_BYTES / 2
    assert question_in(message) == job


def test_a_setup_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = bundled_models_dir()
    models = [Model(path.parent) for path in sorted(folder.glob("*/manifest.toml"))]
    models += [write(tmp_path) for write in MODELS]
    models.append(uptake_model(tmp_path, expected_phases=3))
    assert {one.manifest.outputs[0].kind for one in models} == {
        "mask",
        "classes",
        "boxes",
        "score",
        "solids",
    }
    setup = Setup(
        config.InferenceSettings(deadline_s=0.1, scores_early=False),
        tuple(Package(one.folder, one.manifest) for one in models),
    )
    found = question_in(asked(setup))
    assert found == setup
    assert isinstance(found, Setup)
    assert [one.model.preprocessing_digest for one in found.packages] == [
        one.preprocessing_digest for one in models
    ]


@given(st.text(st.characters()))
def test_the_words_of_any_error_can_be_said(words: str) -> None:
    said = reason_of(ValueError(words))
    assert digest_in(answered(Failure("ModelError", said))) == Failure("ModelError", said)
    if words.isprintable() and len(words) <= 4000:
        assert said == words


@given(st.binary(), st.binary(max_size=100))
@example(answered(SCORE).head, TEXT[:-1])
@example(answered(SCORE).head, TEXT.replace(b"Area", b"\xff"))
@example(b'{"kind":"picture","rows":1,"columns":1,"scale":1}', b"")
def test_whatever_bytes_come_nothing_but_a_value_error_is_raised(head: bytes, body: bytes) -> None:
    message = Message(head, body)
    read_score = partial(score_in, unit=SOP_UID, outputs=MASK)
    for read in (greeting_in, digest_in, picture_in, read_score):
        with pytest.raises(ValueError):
            read(message)
