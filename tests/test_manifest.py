"""What a model package says about itself, and how mistakes in it are told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO
from packages import CLASSES, OUTPUT, WEIGHTS, package, write_package

from node.errors import ConfigError
from node.manifest import ClassesOutput, Model, load_model, open_model


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    path = write_package(folder, *changes) / "manifest.toml"
    with pytest.raises(ConfigError) as caught:
        Model(path.parent)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:").lstrip() for line in lines]


def test_a_package_opens_and_says_who_it_is(tmp_path: Path) -> None:
    write_package(tmp_path)
    model = load_model("breast-area", tmp_path)
    assert model.identity.title == "Breast Area"
    assert model.identity.is_research
    assert model.identity.weights_sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert model.manifest.input.expected == {R_CC, L_CC, R_MLO, L_MLO}


def test_a_product_is_not_research(tmp_path: Path) -> None:
    model = package(tmp_path, ('status = "research"', 'status = "product"'))
    assert not model.identity.is_research


@pytest.mark.parametrize(
    ("present", "replacement", "expected"),
    [
        ('grey = "voi"', 'gray = "voi"', '25: pixels.gray: unknown key, did you mean "grey"?'),
        ('"model.onnx"', '"model.pkl"', "15: weights.file: expected the name of an ONNX file"),
        ('"model.onnx"', '"../x.onnx"', "15: weights.file: expected the name of an ONNX file"),
        ('"2.25.1"', '"2.25.01"', '5: device_uid: expected a UID such as "1.2.840.10008.1.1"'),
        ('"2.25.1"', f'"2.25.{"1" * 60}"', "5: device_uid: expected a UID"),
        ('"1.0.0"', '"1.0"', '3: version: expected a version of three numbers such as "1.0.2"'),
        ('"1.0.0"', '"1.0.0\\n"', "3: version: expected a version of three numbers"),
        ('"R CC", ', '"R CC", "R ML", ', '22: input.expected_views: "R ML" is not of one of'),
        ('"R CC", ', '"RCC", ', "22: input.expected_views: expected a side and a projection"),
        ("height = 64", "height = 1", "27: pixels.height: expected a number not below 8, found 1"),
        (
            'kind = "mask"',
            'kind = "masc"',
            '33: output.kind: expected "mask", "classes", "boxes", "score", "heat map", found',
        ),
        ('value = "D1", ', "", "38: output.difference.value: missing, add value = ..."),
        (
            '["1.2.840.10008.5.1.4.1.1.1.2"]',
            "[]",
            "20: input.sop_classes: expected a list of at least 1, found []",
        ),
        ('modality = "MG"', 'modality = "MR"', '19: input.modality: expected "MG", found "MR"'),
        ('scale = "0..1"', 'scale = "0..1', "30: not valid TOML: "),
        (
            'name = "breast-area"',
            'name = "other"',
            'name: expected "breast-area", the name of its folder, found "other"; rename one',
        ),
    ],
)
def test_a_mistake_is_told_with_line_key_and_remedy(
    present: str, replacement: str, expected: str, tmp_path: Path
) -> None:
    (found,) = [
        line
        for line in problems(tmp_path, (present, replacement))
        if "pixels.grey: missing" not in line
    ]
    assert found.startswith(expected)


BOXES = """\
kind = "boxes"
tensor = "boxes"
boxes = 4
threshold = 0.5
label = "mass"
finding = { value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }
score = { value = "AISCORE", scheme = "99TEST", meaning = "AI score" }
same_lesion_within_mm = 10
"""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([('label = "outline"', 'label = "outline"\nregions = "all"')], "is of breasts"),
        ([('label = "outline"', 'label = "outline"\nmin_area_mm2 = 4')], 'add regions = "all"'),
        ([(OUTPUT, BOXES), ("chest wall left", "as stored")], "needs the side of the chest wall"),
    ],
)
def test_words_that_would_have_no_effect_are_mistakes(
    changes: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    (found,) = problems(tmp_path, *changes)
    assert expected in found


def test_a_model_may_sort_into_classes(tmp_path: Path) -> None:
    output = package(tmp_path, (OUTPUT, CLASSES)).manifest.outputs[0]
    assert isinstance(output, ClassesOutput)
    assert [one.grade.meaning for one in output.classes] == ["F: fatty", "D: dense"]


@pytest.mark.parametrize(
    ("present", "replacement", "expected"),
    [
        ('kind = "classes"\n', "", "32: output.kind: missing, add kind = ..."),
        (
            'label = "breast',
            'labl = "breast',
            'output.labl: unknown key, did you mean "label"?',
        ),
        ('value = "PD", ', "", "output.classes.probability.value: missing, add value = ..."),
    ],
)
def test_a_mistake_in_the_classes_is_told_as_any_other(
    present: str, replacement: str, expected: str, tmp_path: Path
) -> None:
    assert present in CLASSES
    told = problems(tmp_path, (OUTPUT, CLASSES.replace(present, replacement)))
    assert any(expected in line for line in told), told


def test_a_model_expects_only_views_that_it_reads_or_passes_over(tmp_path: Path) -> None:
    only_mlo = ('projections = ["CC", "MLO"]', 'projections = ["MLO"]\npassed_over = ["CC"]')
    wanted = package(tmp_path, only_mlo).manifest.input
    assert wanted.expected == {R_CC, L_CC, R_MLO, L_MLO}


def test_a_package_without_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.toml: cannot be read"):
        Model(tmp_path)


def test_a_wrong_model_name_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known are: none"):
        load_model("breast-area", tmp_path)
    write_package(tmp_path)
    with pytest.raises(ConfigError, match=r'"brest-area" in .*, did you mean "breast-area"'):
        load_model("brest-area", tmp_path)


def test_changed_or_missing_weights_are_refused(tmp_path: Path) -> None:
    model = package(tmp_path)
    model.verify_weights()
    model.weights_path.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"model\.onnx: SHA-256 is .*, the manifest says"):
        load_model("breast-area", tmp_path)
    model.weights_path.unlink()
    with pytest.raises(ConfigError, match=r"model\.onnx: cannot be read \(No such file"):
        model.verify_weights()


def test_the_preprocessing_digest_follows_pixels_and_output_only(tmp_path: Path) -> None:
    digest = package(tmp_path / "a").preprocessing_digest
    assert package(tmp_path / "b").preprocessing_digest == digest
    other_pixels = package(tmp_path / "c", ('grey = "voi"', 'grey = "stored"'))
    other_output = package(tmp_path / "d", ('label = "outline"', 'label = "outline"\ndecimals = 2'))
    other_words = package(tmp_path / "e", ("Breast Area", "Area of the Breast"))
    assert other_pixels.preprocessing_digest != digest
    assert other_output.preprocessing_digest != digest
    assert other_words.preprocessing_digest == digest


def test_a_folder_without_a_manifest_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path / "models")
    (tmp_path / "bad").mkdir()
    with pytest.raises(ConfigError, match=r"bad/manifest\.toml: missing"):
        open_model(str(tmp_path / "bad"), tmp_path / "models")
    with pytest.raises(ConfigError, match='no model is called "bad"'):
        open_model("bad", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^bad/manifest\.toml: missing"):
        open_model("bad", tmp_path / "models")
    (tmp_path / "breast-area").mkdir()  # of results, say: the name is that of a model
    assert open_model("breast-area", tmp_path / "models").folder.parent == tmp_path / "models"


# Domains

PLAIN = (
    ('status = "research"', 'status = "research"\ndomain = "plain"'),
    ('projections = ["CC", "MLO"]\n', ""),
    ('expected_views = ["R CC", "L CC", "R MLO", "L MLO"]\n', ""),
    ('modality = "MG"', 'modality = "DX"\nbody_parts = ["CHEST"]'),
    ('"chest wall left"', '"as stored"'),
    (
        'difference = { value = "D1", scheme = "99TEST", meaning = "Left-right difference" }\n',
        "",
    ),
)


def test_a_manifest_without_a_domain_is_of_mammograms_of_breasts(tmp_path: Path) -> None:
    manifest = package(tmp_path).manifest
    assert manifest.domain == "mammography"
    assert manifest.input.body_parts == ("BREAST", "AXILLA")


def test_a_domain_changes_what_a_score_depends_on_but_mammography_as_it_was(tmp_path: Path) -> None:
    written = (
        tmp_path / "a",
        ('status = "research"', 'status = "research"\ndomain = "mammography"'),
    )
    assert package(*written).preprocessing_digest == package(tmp_path / "b").preprocessing_digest
    plain = package(tmp_path / "c", *PLAIN)
    as_mammography = plain.manifest.model_copy(update={"domain": "mammography"})
    assert plain.preprocessing_digest != Model(plain.folder, as_mammography).preprocessing_digest


def test_a_model_of_other_images_names_modality_and_body_parts(tmp_path: Path) -> None:
    wanted = package(tmp_path, *PLAIN).manifest.input
    assert (wanted.modality, wanted.body_parts) == ("DX", ("CHEST",))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([('\nbody_parts = ["CHEST"]', "")], "input.body_parts: missing, add"),
        ([('["CHEST"]', "[]")], "input.body_parts: expected a list of at least 1"),
        ([('["CHEST"]', '["Chest"]')], "input.body_parts: expected a Body Part Examined"),
        ([('"DX"', '"dx"')], "input.modality: expected a Modality (0008,0060)"),
        ([('"plain"', '"plane"')], 'domain: expected "mammography" or "plain"'),
        (
            [('["CHEST"]', '["CHEST"]\nprojections = ["CC"]')],
            'input.projections: is of mammograms; a model of domain = "plain" has no such word',
        ),
        ([('["CHEST"]', '["CHEST"]\nimplants = "analyse"')], "input.implants: is of mammograms"),
        (
            [
                (
                    'label = "outline"',
                    'label = "outline"\n'
                    'difference = { value = "D", scheme = "99TEST", meaning = "D" }',
                )
            ],
            "output.difference: is of mammograms",
        ),
        ([('"as stored"', '"chest wall left"')], 'pixels.orientation: expected "as stored"'),
    ],
)
def test_what_is_amiss_in_a_manifest_of_other_images_is_told(
    changes: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    assert any(expected in line for line in problems(tmp_path, *PLAIN, *changes))


EXPECTED_NONE = ('expected_views = ["R CC", "L CC", "R MLO", "L MLO"]\n', "")


def test_what_mammography_needs_is_told(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "a", ('projections = ["CC", "MLO"]\n', ""), EXPECTED_NONE)
    assert "input.projections: missing, add projections = ..." in found
    (found,) = problems(tmp_path / "b", ('modality = "MG"', 'modality = "DX"'))
    assert 'input.modality: expected "MG", found "DX"; for others than mammograms add' in found
