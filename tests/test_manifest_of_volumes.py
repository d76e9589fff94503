"""A manifest of a model that reads phases: what it says, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from mr_models import PIXELS, uptake_model
from packages import write_package

from node.domains.naming import class_words
from node.errors import ConfigError
from node.imaging.planes import SLICED
from node.manifest import Model, load_model
from node.manifest.inputs import OF_SLICES

SIZE = PIXELS[PIXELS.index('[[pixels]]\nop = "size"') : PIXELS.index('[[pixels]]\nop = "perc')]
ORIENT = '[[pixels]]\nop = "orient"\naxes = "HPL"\n'
PERCENTILES = PIXELS[PIXELS.index('[[pixels]]\nop = "percentiles"') :].strip()
SUBTRACT = '[[pixels]]\nop = "subtract"\n'
RELATIVE = '[[pixels]]\nop = "relative enhancement"\nleast = 0.1\n'
MIP = '[[pixels]]\nop = "mip"\nalong = "slices"\n'
SLICES = '[[pixels]]\nop = "slices"\nalong = "slices"\ncount = 8\n'
OF_EACH = ('of = "pre"', 'of = "each"')
SPACING = '[[pixels]]\nop = "spacing"\nmm = [4, 4, 4]\n'


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """Return what is told of a package whose manifest was changed, without file and line."""
    model = uptake_model(folder)
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8")
    for present, other in changes:
        assert present in text, present
        text = text.replace(present, other)
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_model(model.manifest.name, folder)
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


def test_a_model_of_volumes_says_what_it_reads(tmp_path: Path) -> None:
    manifest = uptake_model(tmp_path, expected_phases=4).manifest
    assert manifest.domain == "breast_mr"
    assert manifest.unit.is_of_volumes
    assert manifest.image_shape == (1, 32, 48, 96)
    assert manifest.input.body_parts == ("BREAST",)
    assert manifest.input.expected_phases == 4


def test_what_was_not_said_is_not_part_of_what_a_score_depends_on(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    again = type(model.manifest).model_validate(model.manifest.model_dump(mode="json"))
    assert Model(model.folder, again).preprocessing_digest == model.preprocessing_digest


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(SIZE, "")], 'missing: the input has no fixed size: op = "size", with slices, rows'),
        ([(ORIENT, "")], "missing: which way slices, rows and columns run: op = "),
        ([(ORIENT, ""), (SPACING, SPACING + ORIENT)], '"orient" must stand before "spacing"'),
        ([(SPACING, ""), (SIZE, SIZE + SPACING)], '"spacing" must stand before "size"'),
        ([(ORIENT, ""), (SIZE, SIZE + ORIENT)], '"orient" must stand before "size"'),
        ([(SIZE, SIZE + SIZE)], '"size" is there before; once is enough'),
        ([('axes = "HPL"', 'axes = "HPA"')], "expected one each of L or R, P or A, H or F"),
        ([('axes = "HPL"', 'axes = "XYZ"')], 'found "XYZ"'),
        ([("mm = [4, 4, 4]", "mm = [4, 4]")], "pixels.mm: expected a list of at least 3"),
        ([("mm = [4, 4, 4]", "mm = [4, 4, 0]")], "pixels.mm: expected a number above 0.05"),
        ([("slices = 32", "slices = 2")], "expected a number not below 4, found 2"),
        (
            [("slices = 32", "slices = 1024"), ("rows = 48", "rows = 1024"), ("= 96", "= 1024")],
            "1024 x 1024 x 1024 voxels are more than 512 MiB",
        ),
        ([("low = 1\n", "low = 99.5\n")], "expected less than high = 99"),
        ([('of = "pre"', 'of = "post 1"')], 'expected "pre" or "each", found "post 1"'),
        ([('["pre", "post 1"]', '["post 1", "post 2"]')], 'of "pre", which is no role of [unit]'),
        (
            [(SIZE, SIZE + '[[pixels]]\nop = "rank"\nwithin = "above threshold"\nthreshold = 0\n')],
            '"rank" is of images, and "signal" begins those of volumes',
        ),
        (
            [(SIZE, SIZE + '[[pixels]]\nop = "channels"\ncount = 3\n')],
            '"channels" is of images, and "signal" begins those of volumes',
        ),
        (
            [('op = "signal"', 'op = "grey"\nvalues = "stored"\nscale = "none"')],
            '"orient" is of volumes',
        ),
        ([('modality = "MR"', 'modality = "CT"')], 'input.modality: expected "MR", found "CT"'),
        ([('modality = "MR"', 'modality = "MR"\nbody_parts = ["KNEE"]')], 'expected ["BREAST"]'),
        ([('modality = "MR"', 'modality = "MR"\nimplants = "analyse"')], "is of mammograms"),
        ([('of = "exam"', 'of = "breast"')], 'expected "exam": a breast MRI shows both breasts'),
        ([('missing = "refuse"', 'repeated = "last"')], "unit.repeated: is of mammograms"),
        ([('["pre", "post 1"]', '["pre", "late"]')], "unit.late: missing: when? {"),
        ([('["pre", "post 1"]', '["pre", "pre"]')], '"pre" is there twice'),
        ([('["pre", "post 1"]', '["pre", "R CC"]')], '"R CC" is no phase'),
        ([('join = "channels"', 'join = "concatenate"')], "only vectors are concatenated"),
        ([('roles = ["pre", "post 1"]\nm', 'roles = ["pre", "region"]\nm')], "[[inputs]] name it"),
        ([(SIZE, SIZE + SUBTRACT + SUBTRACT)], '"subtract" is there before; once is enough'),
        ([(SIZE, SIZE + SUBTRACT + RELATIVE)], '"subtract" is there before; once is enough'),
        (
            [(SIZE, RELATIVE.replace("0.1", "2") + SIZE)],
            "pixels.least: expected a number not above 1.0, found 2",
        ),
        ([(SIZE, MIP + SIZE)], '"mip" must stand behind "size"'),
        ([(SIZE, SIZE + MIP + SUBTRACT)], '"subtract" must stand before "mip"'),
        ([(SIZE, SIZE + MIP + SLICES)], '"mip" is there before; once is enough'),
        (
            [(SIZE, SIZE + SLICES), (PERCENTILES, ""), ('"channels"', '"batch"')],
            'expected "channels": slices are the batch already',
        ),
        ([(SIZE, SIZE + SLICES.replace("8", "40"))], 'there are only 32 slices after "size"'),
        ([(SIZE, SIZE.replace("96", '96\nabout = "lungs"'))], 'expected "volume" or "breasts"'),
        (
            [(SIZE, SIZE + MIP), (PERCENTILES, '[[pixels]]\nop = "z-score"\nover = "breasts"\n')],
            "breasts are voxels: write it before they are gone",
        ),
        (
            [('roles = ["pre", "post 1"]', 'roles = ["post 1"]'), (PERCENTILES, SUBTRACT)],
            'of "pre", which is no role of [unit]',
        ),
        (
            [
                ('roles = ["pre", "post 1"]\nm', 'roles = ["post 1", "post 2"]\nm'),
                ('roles = ["pre", "post 1"]\nj', 'roles = ["post 1", "post 2", "region"]\nj'),
                (PERCENTILES, ""),
            ],
            '"region" needs "pre" among the roles of [unit]',
        ),
        (
            [
                ('roles = ["pre", "post 1"]\nj', 'roles = ["pre", "post 1", "region"]\nj'),
                (PERCENTILES, MIP),
            ],
            '"region" is of voxels, and "mip" leaves none',
        ),
        (
            [('roles = ["pre", "post 1"]\njoin = "channels"', 'roles = ["post 1"]'), OF_EACH],
            'no input takes "pre" of [unit]',
        ),
        (
            [('"breast_mr"', '"plain"'), ('"MR"', '"MR"\nbody_parts = ["BREAST"]')],
            '"signal" is of volumes: domain =',
        ),
        ([('intended_use = "detection"', 'intended_use = "triage"')], "triage"),
    ],
)
def test_what_is_amiss_is_told(
    changes: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, *changes)
    assert any(expected in line for line in found), found


def test_a_phase_that_others_are_compared_with_need_not_be_given_to_the_network(
    tmp_path: Path,
) -> None:
    model = uptake_model(tmp_path)
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8").replace(
        'roles = ["pre", "post 1"]\njoin = "channels"',
        'roles = ["region", "post 1"]\njoin = "channels"',
    )
    for operation in (SUBTRACT, RELATIVE, '[[pixels]]\nop = "z-score"\nover = "breasts"\n'):
        path.write_text(text.replace(PERCENTILES, operation), "utf-8")
        assert load_model(model.manifest.name, tmp_path).manifest.inputs[0].roles[0] == "region"


def test_images_of_volumes_have_the_shape_that_is_left(tmp_path: Path) -> None:
    model = uptake_model(tmp_path)
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8")
    channels = '[[pixels]]\nop = "channels"\ncount = 3\n'
    for images, expected in (
        (MIP, (1, 6, 48, 96)),
        (MIP.replace('along = "slices"', 'along = "columns"'), (1, 6, 32, 48)),
        (SLICES, (8, 6, 48, 96)),
    ):
        path.write_text(text.replace(PERCENTILES, images + channels), "utf-8")
        manifest = load_model(model.manifest.name, tmp_path).manifest
        (phases,) = manifest.inputs
        assert phases.shape(manifest.image_shape, manifest.image_batch) == expected


SIGNAL = '[[pixels]]\nop = "signal"\n'
GREY = '[[pixels]]\nop = "grey"\nvalues = "stored"\nscale = "none"\n'
NORMALISE = '[[pixels]]\nop = "normalise"\nsubtract = [1]\ndivide = [1]\n'
UNIT = '[unit]\nof = "exam"\nroles = ["pre", "post 1"]\nmissing = "refuse"\n'


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [(SIGNAL, "")],
            ['pixels: expected op = "signal" first: "orient" is of volumes, which begin so'],
        ),
        ([(SIGNAL, NORMALISE)], ['expected op = "signal" first']),
        ([(SIGNAL, NORMALISE + SIGNAL)], ['expected op = "signal" first']),
        ([(SIGNAL, GREY)], ['expected op = "signal" first']),
        (
            [('"1.2.840.10008.5.1.4.1.1.4",', '"1.2.840.10008.5.1.4.1.1.1.2",')],
            ['no volume is made of "1.2.840.10008.5.1.4.1.1.1.2"; expected MR Image 1.2.840.10008'],
        ),
        (
            [("columns = 96", "columns = 96\nfill = 1e39")],
            ["fill: expected a number not above 3.4"],
        ),
        (
            [("columns = 96", "columns = 96\nfill = -1e39")],
            ["fill: expected a number not below -3"],
        ),
        ([(UNIT, "")], ["unit: missing: of a breast MRI phases are read at once"]),
    ],
)
def test_one_mistake_is_told_once(
    changes: list[tuple[str, str]], expected: list[str], tmp_path: Path
) -> None:
    found = problems(tmp_path, *changes)
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        assert words in line


def test_volumes_are_made_of_the_classes_that_may_be_named() -> None:
    assert tuple(OF_SLICES) == SLICED
    assert list(OF_SLICES.values()) == [class_words(uid) for uid in SLICED]


def test_a_phase_that_is_read_is_one_that_is_waited_for(tmp_path: Path) -> None:
    assert uptake_model(tmp_path / "two", expected_phases=2).manifest.input.expected_phases == 2
    with pytest.raises(ConfigError) as caught:
        uptake_model(tmp_path, expected_phases=2, roles=("pre", "post 1", "post 5"))
    (line,) = str(caught.value).splitlines()
    words = "expected at least 6, as post 5 is read: a study of 2 phases is complete without it"
    assert line.endswith(f"input.expected_phases: {words}")


def test_places_cannot_be_said_of_volumes(tmp_path: Path) -> None:
    mask = (
        'kind = "mask"\ntensor = "score"\nlabel = "outline"\n'
        'finding = { value = "F", scheme = "99TEST", meaning = "Finding" }\n'
        'area = { value = "A", scheme = "99TEST", meaning = "Area" }\n'
    )
    model = uptake_model(tmp_path)
    text = (model.folder / "manifest.toml").read_text("utf-8")
    head, _, _ = text.partition("[[outputs]]")
    (model.folder / "manifest.toml").write_text(f"{head}[[outputs]]\n{mask}", "utf-8")
    with pytest.raises(ConfigError, match="image"):
        load_model(model.manifest.name, tmp_path)


def test_words_of_phases_are_no_words_of_mammograms(tmp_path: Path) -> None:
    for number, (change, expected) in enumerate(
        (
            (
                ('modality = "MG"', 'modality = "MG"\nexpected_phases = 4'),
                "input.expected_phases: is of breast MRI; a model of domain = "
                '"mammography" has no such word',
            ),
            (
                ("[output]", '[unit]\nof = "exam"\nroles = ["pre", "post 1"]\n\n[output]'),
                '"pre" is none of the images of an exam',
            ),
        )
    ):
        path = write_package(tmp_path / str(number), change) / "manifest.toml"
        with pytest.raises(ConfigError) as caught:
            Model(path.parent)
        assert expected in str(caught.value)
