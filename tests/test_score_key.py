"""A score is found again only while the code that read and judged its image is the same."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import source_digests
from lesion_models import lesion_detector, lesion_score
from mr_models import uptake_model
from packages import triaging_package
from source_digests import Recorded, digests, recorded, source_of

from node import score_key
from node.analysis.pipeline import model_digest_of
from node.config import bundled_models_dir
from node.domains.table import DOMAINS
from node.manifest import Model, Output, load_model
from node.score_key import FORM, JUDGES, READERS, VOLUME_MAKERS, numbers_for, parts

RENEW = "renew the digests: python tests/source_digests.py"


def found_wrong(name: str, number: int, digest: str, known: Recorded) -> str:
    """Say what is to be done about a part, "" if nothing."""
    if name not in known:
        return f'"{name}" is new in node/score_key.py: {RENEW}'
    before = int(known[name]["number"])
    if number < before:
        return (
            f'the number of "{name}" in node/score_key.py is {number} and was {before}: raise it '
            "above that, or scores of code that is gone will be found again"
        )
    if number > before:
        return f'the number of "{name}" was raised to {number}: {RENEW}'
    if digest != known[name]["digest"]:
        return (
            f'the source of "{name}" has changed. If it may give another score, or refuse another '
            f"image, for any image at all, raise its number in node/score_key.py, now {number}. "
            f"Then, or if it only moved or says the same in other words, {RENEW}"
        )
    return ""


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return digests()


@pytest.mark.parametrize("name", parts())
def test_each_number_stands_for_the_source_it_was_recorded_with(
    name: str, now: dict[str, str]
) -> None:
    wrong = found_wrong(name, parts()[name].number, now[name], recorded())
    assert not wrong, wrong


def test_nothing_is_recorded_that_is_gone() -> None:
    assert recorded().keys() == parts().keys(), RENEW


def test_the_words_say_what_to_do() -> None:
    known: Recorded = {"grey": {"number": 3, "digest": "a"}}
    assert found_wrong("grey", 3, "a", known) == ""
    assert "raise its number in node/score_key.py, now 3" in found_wrong("grey", 3, "b", known)
    assert "python tests/source_digests.py" in found_wrong("grey", 3, "b", known)
    assert "was raised to 4" in found_wrong("grey", 4, "b", known)
    assert "is 2 and was 3: raise it" in found_wrong("grey", 2, "a", known)
    assert "is new" in found_wrong("noise", 1, "a", known)


@pytest.mark.parametrize(
    ("module", "before", "after", "noticed_by"),
    [
        (
            "domains.mammography.plausibility",
            "MOST_OF_ROWS = 0.8",
            "MOST_OF_ROWS = 0.9",
            {"plausibility"},
        ),
        (
            "domains.mammography.plausibility",
            'output.regions == "largest"',
            "False",
            {"plausibility"},
        ),
        ("domains.plain", "np.ptp(seen) == 0", "False", {"plausibility"}),
        (
            "inference.answers",
            "values = answers[output.tensor][0]",
            "values = answers[output.tensor][1]",
            {"steps"},
        ),
        ("imaging.outlines", "next_y - next_x * y", "next_y", {"mask", "plausibility"}),
        ("inference.boxes", ".round(2)", ".round(1)", {"boxes"}),
        ("imaging.resampling", "CUBIC = -0.75", "CUBIC = -0.5", {"preparation"}),
        ("imaging.operations", "free // 2", "free // 3", {"preparation"}),
        ("imaging.components", "steps + 1", "steps + 2", {"preparation"}),
        ("imaging.grid", "self.columns - shown.right", "shown.right", {"preparation"}),
        ("manifest.pixels", 'filter="bilinear"', 'filter="box"', {"preparation"}),
        ("imaging.source", "float(part)", "round(float(part))", {"grey", "spacing", "volumes"}),
        ("imaging.stack", "SHIFTED_MM = 0.1", "SHIFTED_MM = 0.2", {"volumes"}),
        ("imaging.signal_scale", "_ALIKE = 1e-5", "_ALIKE = 1e-4", {"volumes"}),
        ("imaging.volume_resampling", "max(1.0, ratio)", "ratio", {"voxels"}),
        ("imaging.voxel_steps", "(there - length) // 2", "(there - length) // 3", {"voxels"}),
        ("imaging.breast_region", "SKIN_MM = 3.0", "SKIN_MM = 2.0", {"voxels"}),
        ("inference.solids", "> output.threshold", ">= output.threshold", {"solids"}),
        ("inference.number", "output.element or 0", "output.element or 1", {"number"}),
        ("imaging.motion", "_BLUR = 1.2", "_BLUR = 1.3", {"motion"}),
        ("domains.breast_mr.plausibility", "== 0", "== 1", {"plausibility"}),
        ("dicom.untrusted", '.strip(" \\0")', ".strip()", {"decoding", "volumes"}),
        ("inference.onnx", "use_deterministic_compute = True", "log_id = 1", {"network"}),
        ("result", "depth_mm: float", "depth_px: float", {"form"}),
        ("imaging.preparation", "max_side / max", "max_side // max", set()),
        ("domains.evaluation", "fmean(", "max(", set()),
        ("domains.mammography.views", '"MLO"', '"ML"', set()),
        ("toml_file", "cutoff=0.5", "cutoff=0.6", set()),
    ],
)
def test_a_change_is_noticed_by_the_part_that_it_is_in(
    module: str, before: str, after: str, noticed_by: set[str], now: dict[str, str]
) -> None:
    def changed(name: str) -> str:
        source = source_of(name)
        return source.replace(before, after) if name == f"node.{module}" else source

    assert before in source_of(f"node.{module}"), "it moved: correct this test, not the code"
    found = digests(changed)
    assert {name for name in now if found[name] != now[name]} == noticed_by


def test_layout_comments_and_words_for_readers_are_not_noticed(now: dict[str, str]) -> None:
    def rewritten(name: str) -> str:
        tree = ast.parse(source_of(name))
        for part in ast.walk(tree):
            if source_digests._is_docstring(part):
                assert isinstance(part, ast.Expr)
                part.value = ast.Constant("other words")
        return "# by hand\n" + ast.unparse(tree).replace("\n\n", "\n\n\n# more\n")

    assert rewritten("node.imaging.operations") != source_of("node.imaging.operations")
    assert digests(rewritten) == now


def test_a_move_is_not_noticed_nor_that_others_may_use_it_now(now: dict[str, str]) -> None:
    def moved(name: str) -> str:
        if name == "node.imaging.elsewhere":
            return source_of("node.imaging.operations").replace("_fitted", "fitted")
        if name == "node.imaging.operations":
            return "from node.imaging.elsewhere import Prepared, prepare"
        return source_of(name)

    assert digests(moved) == now


def test_a_name_that_is_gone_is_told_with_what_to_correct() -> None:
    def without(name: str) -> str:
        return source_of(name).replace("def spacing_of", "def spacing_in_mm_of")

    with pytest.raises(
        LookupError, match=r"node\.imaging\.spacing has no spacing_of; correct the name in"
    ):
        digests(without)


def test_recording_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_digests, "RECORD", tmp_path / "score_key.json")
    source_digests.record()
    assert recorded().keys() == parts().keys()
    assert all(recorded()[name]["number"] == part.number for name, part in parts().items())


# The key


def test_every_kind_of_output_has_a_reader() -> None:
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(Output)}
    assert kinds == READERS.keys()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Model, set[str]]:
    """Models, and what is there for some alone: what reads the answers, what makes volumes."""
    folder = tmp_path_factory.mktemp("models")
    return {
        load_model("breast-area", bundled_models_dir()): {"mask"},
        lesion_score(folder): {"score", "heat map"},
        lesion_detector(folder): {"boxes"},
        triaging_package(folder / "of a score"): {"score"},
        uptake_model(folder / "of volumes"): {"score", *VOLUME_MAKERS},
    }


@pytest.mark.parametrize("name", parts())
def test_a_number_that_was_raised_makes_another_key_of_the_models_it_bears_on(
    name: str, models: dict[Model, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {model: model_digest_of(model, "cpu") for model in models}
    raised = replace(parts()[name], number=parts()[name].number + 1)
    if name in JUDGES:
        monkeypatch.setitem(JUDGES, name, raised)
    elif name in VOLUME_MAKERS:
        monkeypatch.setitem(VOLUME_MAKERS, name, raised)
    elif name in READERS:
        monkeypatch.setitem(READERS, name, raised)
    else:
        assert parts()[name] == FORM
        monkeypatch.setattr(score_key, "FORM", raised)
    for model, readers in models.items():
        is_other = model_digest_of(model, "cpu") != before[model]
        assert is_other == (name in readers or name not in {**READERS, **VOLUME_MAKERS}), (
            model.manifest.name
        )


def test_numbers_of_volumes_stand_in_keys_of_models_that_read_volumes() -> None:
    of_images, of_volumes = (numbers_for(["score"], of_volumes=of) for of in (False, True))
    assert VOLUME_MAKERS.keys() == {"volumes", "voxels", "motion", "midline"}
    assert not any(f"{name}=" in of_images for name in VOLUME_MAKERS)
    assert all(f"{name}=" in of_volumes for name in VOLUME_MAKERS)


def test_what_each_domain_judges_by_is_part_of_the_key() -> None:
    for domain in DOMAINS.values():
        for judge in (
            domain.require_visible,
            domain.require_plausible,
            domain.require_plausible_outline,
        ):
            assert f"{judge.__module__}:{judge.__name__}" in JUDGES["plausibility"].sources
