"""What a model package says about itself, and how mistakes in it are told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO
from packages import CLASSES, OUTPUT, POINT, SCORE, WEIGHTS, package, write_package

from node.config import bundled_models_dir
from node.errors import ConfigError
from node.manifest import ClassesOutput, Manifest, Model, ScoreOutput, load_model, open_model


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
            '33: output.kind: expected "mask", "classes", "boxes", "score", "heat map", "number", '
            '"solids", found',
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
        ([('"plain"', '"plane"')], 'domain: expected "mammography", "plain" or "breast_mr"'),
        (
            [('["CHEST"]', '["CHEST"]\nprojections = ["CC"]')],
            'input.projections: is of mammograms; a model of domain = "plain" has no such word',
        ),
        ([('["CHEST"]', '["CHEST"]\nimplants = "analyse"')], "input.implants: is of mammograms"),
        (
            [('["CHEST"]', '["CHEST"]\nexpected_phases = 4')],
            'input.expected_phases: is of breast MRI; a model of domain = "plain" has no such word',
        ),
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


# Several images, several answers, triage

LOW = POINT.replace('"high"', '"low"').replace("0.7\n", "0.3\n")
TRIAGE = '\n[triage]\noutput = "malignancy"\nurgent = "high"\nsoon = "low"\n'
TRIAGES = ('intended_use = "measurement"', 'intended_use = "triage"')
DETECTS = ('intended_use = "measurement"', 'intended_use = "detection"')
SEVERAL = ("[output]", "[[outputs]]")
WHOLE = SCORE + POINT + LOW + TRIAGE
EXAM = (
    "[pixels]",
    """[unit]
of = "exam"
roles = ["R CC", "L CC", "R MLO", "L MLO"]

[[inputs]]
tensor = "cc"
roles = ["R CC", "L CC"]
join = "batch"

[[inputs]]
tensor = "mlo"
roles = ["R MLO", "L MLO"]
join = "batch"

[pixels]""",
)
BLANK_IMAGE = '[unit]\nof = "image"\nmissing = "blank"\n\n[pixels]'
SCORE_BEFORE = SCORE.replace('name = "malignancy"\n', "").replace(
    'combine = { breast = "highest", exam = "highest" }\n', ""
)
COMBINED = ('label = "malignancy"\n', 'label = "malignancy"\ncombine = { exam = "highest" }\n')
SCORE_BESIDE = "\n[[outputs]]" + SCORE
CLASSES_OF_Y = "\n" + CLASSES.replace("[[output.", "[[outputs.").replace(
    'tensor = "density"', 'tensor = "y"\ncombine = { breast = "mean", exam = "mean" }'
)
NO_INPUTS = "inputs: missing: several images at once need [[inputs]] with tensor, roles and join"
SWAPPED = '\n[triage]\noutput = "malignancy"\nurgent = "low"\nsoon = "high"\n'


def of_exam(present: str, replacement: str) -> list[tuple[str, str]]:
    """Return what makes a manifest of an exam, one thing in it changed."""
    assert present in EXAM[1]
    return [SEVERAL, (OUTPUT, OF_EXAM), (EXAM[0], EXAM[1].replace(present, replacement, 1))]


PLATT = (
    '[outputs.calibration]\nkind = "platt"\nslope = 1.0\nintercept = {}\ndata = "Screening exams"\n'
)
COMBINE = 'combine = { breast = "highest", exam = "highest" }\n'
OF_EXAM = SCORE.replace(COMBINE, "")
OF_R_BREAST = OF_EXAM + 'about = "R breast"\ncombine = { exam = "highest" }\n'
FOUR_VIEWS = '["R CC", "L CC", "R MLO", "L MLO"]'
CC_IS_PASSED_OVER = (
    ('["CC", "MLO"]', '["MLO"]\npassed_over = ["CC"]'),
    (f"expected_views = {FOUR_VIEWS}", 'expected_views = ["R CC", "L CC"]'),
)


def test_a_manifest_of_one_output_is_read_into_the_form_of_several(tmp_path: Path) -> None:
    former = package(tmp_path / "a", (OUTPUT, CLASSES)).manifest
    (output,) = former.outputs
    assert (output.name, output.about) == ("classes", "image")
    assert output.combines is not None
    assert output.combines.model_dump() == {"breast": "mean", "exam": "mean"}
    assert (former.unit.of, former.inputs, former.triage) == ("image", (), None)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("breast-area", "bc62527b4ff2c41917250ab1ea95676a431f89b28bbdff71607315f81b4b16b9"),
        ("breast-density", "cfeed2e462d1af416ba3a7688bb46c82878a7bff7dafce19e98aeec034215b7a"),
    ],
)
def test_what_uids_of_results_depend_on_is_for_manifests_of_before_what_it_was(
    name: str, digest: str
) -> None:
    assert load_model(name, bundled_models_dir()).preprocessing_digest == digest


def test_every_word_that_bears_on_results_changes_what_they_depend_on(tmp_path: Path) -> None:
    texts = {
        "whole": WHOLE,
        "threshold": WHOLE.replace("0.7\n", "0.8\n"),
        "urgent only": WHOLE.replace('soon = "low"\n', ""),
        "combination": WHOLE.replace('breast = "highest"', 'breast = "mean"'),
    }
    digests = {
        package(tmp_path / name, SEVERAL, (OUTPUT, text), TRIAGES).preprocessing_digest
        for name, text in texts.items()
    }
    of_exam = (SEVERAL, (OUTPUT, OF_EXAM), EXAM)
    digests.add(package(tmp_path / "exam", *of_exam).preprocessing_digest)
    blank = (EXAM[0], EXAM[1].replace('"exam"', '"exam"\nmissing = "blank"'))
    digests.add(package(tmp_path / "blank", *of_exam[:2], blank).preprocessing_digest)
    assert len(digests) == 6


@pytest.mark.parametrize("changes", [[TRIAGES, (OUTPUT, WHOLE)], [EXAM, (OUTPUT, OF_EXAM)]])
def test_a_manifest_of_the_new_words_crosses_to_the_child_as_it_is(
    changes: list[tuple[str, str]], tmp_path: Path
) -> None:
    model = package(tmp_path, SEVERAL, *changes)
    again = Manifest.model_validate_json(model.manifest.model_dump_json())
    assert again == model.manifest
    assert Model(model.folder, again).preprocessing_digest == model.preprocessing_digest


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # one table, or a list of them
        ([("[output]", "[[output]]")], "output: expected one table, found a list of them: write"),
        ([("[output]", "[outputs]")], "outputs: expected a list of tables, found one: write [[o"),
        ([("[input]", "[[input]]")], "input: expected one table, found a list of them"),
        ([(OUTPUT, OUTPUT + SCORE_BESIDE)], "outputs: is beside [output]"),
        ([("[output]\n" + OUTPUT, "")], "outputs: missing, add [[outputs]]"),
        # combination
        ([SEVERAL, (OUTPUT, OF_EXAM)], "outputs.combine.breast: missing: what is said of the br"),
        ([SEVERAL, (OUTPUT, OF_EXAM)], "outputs.combine.exam: missing: what is said of the exam"),
        ([(OUTPUT, SCORE)], "output.combine: is a word of [[outputs]]"),
        (
            [SEVERAL, (OUTPUT, SCORE.replace('exam = "highest"', 'exam = "mean"')), DETECTS],
            "outputs.combine.exam: a mean over breasts hides the one that is ill",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('exam = "highest"', 'exam = "mean"')), TRIAGES],
            "outputs.combine.exam: a mean over breasts hides the one that is ill",
        ),
        ([SEVERAL, (OUTPUT, SCORE), EXAM], "outputs.combine.breast: of what it is about nothing"),
        (
            [SEVERAL, (OUTPUT, SCORE.replace('exam = "highest"', 'exam = "mean of views"'))],
            'outputs.combine.exam: expected "highest", "mean" or "none", found "mean of views"',
        ),
        # numbers and codes
        (
            [(OUTPUT, SCORE_BEFORE.replace('"M"', '"A-CODE-THAT-IS-TOO-LONG"'))],
            "output.score.value: expected 1 to 16 characters, as DICOM's codes have (SH), found",
        ),
        (
            [(OUTPUT, SCORE_BEFORE.replace('"M", scheme = "99TEST"', '"111047", scheme = "DCM"'))],
            "output.score: 111047 (DCM) is the probability of cancer: say [outputs.calibration]",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace("0.62", '"0.62 (95% CI 0.55-0.69)"')), TRIAGES],
            "outputs.operating_points.sensitivity: expected a number without quotes such as 0.62, "
            'found "0.62 (95% CI 0.55-0.69)"; its interval goes beside it, as ..._interval = [0.55'
            ", 0.69]",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace("[0.55, 0.69]", "[0.65, 0.69]")), TRIAGES],
            "outputs.operating_points.sensitivity_interval: expected [lower, upper] around 0.62",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace("0.95\n", "95\n")), TRIAGES],
            "outputs.operating_points.specificity: expected a number not above 1, found 95",
        ),
        (
            [SEVERAL, (OUTPUT, f"{SCORE}{PLATT.format('nan')}")],
            "outputs.calibration.intercept: expected a finite number, found NaN",
        ),
        (
            [SEVERAL, (OUTPUT, f"{SCORE}{PLATT.format('-inf')}")],
            "outputs.calibration.intercept: expected a finite number, found -Infinity",
        ),
        # operating points and levels
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('"low"\nthreshold = 0.3', '"low"\nthreshold = 0.7'))],
            'outputs.operating_points.threshold: is that of "high", too',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace("0.62", "0.61", 1).replace("0.95", "0.94", 1))],
            'the higher threshold ("high", 0.7) must have the lower sensitivity and the higher',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('"low"\nthr', '"high"\nthr')), TRIAGES],
            'outputs.operating_points.name: "high" is there twice',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('exam = "highest"', 'exam = "none"')), TRIAGES],
            "outputs.operating_points.about: there is no score of that, only of: breast, image",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('urgent = "high"', 'urgent = "hihg"')), TRIAGES],
            'triage.urgent: expected an operating point of "malignancy" ("high", "low"), found "hi',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE.replace('output = "mal', 'output = "ma')), TRIAGES],
            'triage.output: expected the name of a score ("malignancy"), found "maignancy"',
        ),
        (
            [SEVERAL, (OUTPUT, SCORE + POINT + LOW + SWAPPED), TRIAGES],
            "triage.soon: its threshold (0.7) must be below that of urgent (0.3)",
        ),
        ([SEVERAL, (OUTPUT, WHOLE)], 'triage: has no effect: write intended_use = "triage"'),
        (
            [SEVERAL, (OUTPUT, SCORE + POINT), TRIAGES],
            'triage: missing: intended_use = "triage" needs [triage] output and urgent',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE), TRIAGES, EXPECTED_NONE],
            "input.expected_views: missing: without them nobody knows that a view is missing",
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE), TRIAGES, (FOUR_VIEWS, '["R CC"]')],
            'input.expected_views: without "L CC", which nobody would miss: an exam of which only',
        ),
        (
            [SEVERAL, (OUTPUT, WHOLE), TRIAGES, *CC_IS_PASSED_OVER],
            "input.expected_views: missing: without them nobody knows that a view is missing",
        ),
        (
            [
                *of_exam("[unit]", "[unit]"),
                (OF_EXAM, OF_EXAM + POINT + LOW + TRIAGE),
                TRIAGES,
                (f"expected_views = {FOUR_VIEWS}", 'expected_views = ["R MLO", "L MLO"]'),
            ],
            'input.expected_views: without "L CC", "R CC", which nobody would miss',
        ),
        (
            [*of_exam("[unit]", "[unit]"), (OF_EXAM, OF_R_BREAST + POINT + LOW + TRIAGE), TRIAGES],
            'triage.output: "malignancy" is about the R breast alone: add that of the L breast',
        ),
        # what is read at once
        ([SEVERAL, (OUTPUT, OF_EXAM), (EXAM[0], EXAM[1].partition("[[")[0] + EXAM[0])], NO_INPUTS),
        (
            of_exam('join = "batch"\n', ""),
            "inputs.join: missing: how are the images joined?",
        ),
        (
            of_exam('"batch"', '"concatenate"'),
            'inputs.join: expected "batch" or "channels": only vectors are concatenated',
        ),
        (
            of_exam('["R CC", "L CC"]\njoin', '["R CC", "R C"]\njoin'),
            'inputs.roles: "R C" is no role of [unit], which has "R CC", "L CC", "R MLO", "L MLO"',
        ),
        (
            of_exam('["R CC", "L CC"]\njoin = "batch"', '["R CC"]'),
            'inputs.roles: no input takes "L CC" of [unit]',
        ),
        (
            of_exam('"R CC", "L CC", ', ""),
            "unit.roles: CC of input.projections has no role: add it, or pass it over",
        ),
        (
            [*of_exam('of = "exam"', 'of = "breast"'), COMBINED],
            'unit.roles: "R CC" is none of the images of a breast, such as ["CC", "MLO"]',
        ),
        (
            [SEVERAL, (OUTPUT, SCORE), ("[pixels]", BLANK_IMAGE)],
            'unit.missing: is of several images: of = "breast" or "exam"',
        ),
        ([EXAM], "output.kind: a place is on one image, and the network reads several at once"),
        # several outputs
        (
            [SEVERAL, (OUTPUT, SCORE + "[[outputs]]" + SCORE)],
            'outputs.name: "malignancy" is there twice, and not about "R breast" and "L breast"',
        ),
        (
            [SEVERAL, (OUTPUT, SCORE + "[[outputs]]" + SCORE.replace('name = "m', 'name = "n'))],
            'outputs.label: is that of the output "malignancy", too',
        ),
        (
            [SEVERAL, (OUTPUT, SCORE + "[[outputs]]" + CLASSES_OF_Y)],
            'outputs.tensor: "y" is of (1, 2) here, and of (1, 1) for another output',
        ),
        ([SEVERAL, (OUTPUT, SCORE + 'about = "exam"\n')], 'outputs.about: expected "image", which'),
        (
            [SEVERAL, (OUTPUT, SCORE + 'about = "R breast"\n')],
            'outputs.about: a side is of what reads the whole exam: [unit] of = "exam"',
        ),
        (
            [SEVERAL, (OUTPUT, SCORE + 'activation = "softmax"\n')],
            "outputs.element: missing: softmax is over several, which is meant?",
        ),
    ],
)
def test_what_is_amiss_in_the_new_words_is_told_with_what_to_write(
    changes: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    told = problems(tmp_path, *changes)
    assert any(expected in line for line in told), told


def test_a_model_of_other_images_than_mammograms_gives_no_level(tmp_path: Path) -> None:
    of_image = WHOLE.replace(COMBINE, "").replace('"exam"', '"image"')
    changes = (*PLAIN[:-1], SEVERAL, (OUTPUT, of_image), TRIAGES)
    (found,) = problems(tmp_path, *changes)
    assert 'triage: is of mammograms; a model of domain = "plain" has no such word' in found


def test_the_two_sides_of_a_thing_share_what_is_said_once(tmp_path: Path) -> None:
    of_sides = [
        OF_EXAM + f'element = {n}\nabout = "{side} breast"\ncombine = {{ exam = "highest" }}\n'
        for n, side in enumerate("RL")
    ]
    calibrated = '[outputs.calibration]\nkind = "temperature"\ntemperature = 2.0\ndata = "x"\n'
    text = f"{of_sides[0]}{calibrated}[[outputs]]\n{of_sides[1]}"
    right, left = package(tmp_path / "a", SEVERAL, (OUTPUT, text), EXAM).manifest.outputs
    assert isinstance(right, ScoreOutput) and isinstance(left, ScoreOutput)
    assert right.calibration == left.calibration is not None
    other = text.replace('about = "L', 'decimals = 1\nabout = "L')
    (found,) = problems(tmp_path / "b", SEVERAL, (OUTPUT, other), EXAM)
    assert 'outputs.decimals: differs from that of the other side of "malignancy"' in found
