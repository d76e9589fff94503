"""A site lets the levels of a model begin at other operating points than its package says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import factories
import pytest
from ledgers import MODEL, Desk
from outputs.drafts import items
from packages import OUTPUT, POINT, SCORE, package
from peers import modality
from pydicom import Dataset
from typer import testing

from node import cli
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.app import App
from node.config import (
    Config,
    InferenceSettings,
    ListenerSettings,
    Node,
    TriageSettings,
    bundled_models_dir,
    load_config,
)
from node.dicom.header import read_header
from node.doctor.parts import check_models
from node.domains.description import describe
from node.errors import ConfigError
from node.identity import identity_of
from node.inference import Inference
from node.ledger import Role
from node.manifest import Model, is_copy, other_with_device_uid
from node.result import Priority, Result
from node.site import levels_in_words, load_models
from node.store import dataset_digest
from node.study import StudyVersion
from node.trial import phantom

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
models_dir = "models"

[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
sends = true
receives = "default"

[[models]]
name = "NAME"
mode = "shadow"
"""
HIGH_AND_LOW = "\n[[outputs]]" + SCORE + POINT + POINT.replace("high", "low").replace("0.7", "0.3")
TRIAGE = '\n[triage]\noutput = "malignancy"\nurgent = "high"\n'


def triaging(folder: Path, more: str = "") -> Model:
    """Write a package with the points high (0.7) and low (0.3), urgent from high on."""
    low = HIGH_AND_LOW.replace("[0.93, 0.96]", "[0.9, 0.96]")
    use = ('"measurement"', '"triage"')
    return package(folder, ("[output]\n" + OUTPUT, low + TRIAGE + more), use)


def configured(folder: Path, name: str, words: str = "") -> Config:
    path = folder / "node.toml"
    path.write_text(SETTINGS.replace("NAME", name) + words, "utf-8")
    return load_config(path)


@pytest.fixture
def two(tmp_path: Path) -> Model:
    return triaging(tmp_path / "models")


@pytest.fixture
def three(tmp_path: Path) -> Model:
    return triaging(tmp_path / "models", 'soon = "low"\n')


def chosen(folder: Path, words: str) -> tuple[str, str | None]:
    """Return the points of urgent and soon, as a node has them."""
    manifest = load_models(configured(folder, "breast-area", words))["breast-area"].manifest
    assert manifest.triage is not None
    return manifest.triage.urgent, manifest.triage.soon


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("words", "points"),
    [
        ("", ("high", None)),
        ('urgent = "low"', ("low", None)),
        ('soon = "low"', ("high", "low")),
        ('urgent = "low"\nsoon = ""', ("low", None)),
        ('urgent = "high"\nsoon = "low"', ("high", "low")),
    ],
)
def test_the_words_of_the_site_count_and_without_them_those_of_the_package(
    words: str, points: tuple[str, str | None], tmp_path: Path
) -> None:
    assert chosen(tmp_path, words) == points


@pytest.mark.usefixtures("three")
def test_a_site_may_do_without_soon(tmp_path: Path) -> None:
    assert chosen(tmp_path, "") == ("high", "low")
    assert chosen(tmp_path, 'soon = ""') == ("high", None)
    assert chosen(tmp_path, 'urgent = "low"\nsoon = ""') == ("low", None)


def check(folder: Path, words: str = "", name: str = "breast-area") -> testing.Result:
    configured(folder, name, words)
    return testing.CliRunner().invoke(cli.app, ["check", "--config", str(folder / "node.toml")])


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            'urgent = "lo"\nsoon = ""',
            'urgent: expected an operating point of "malignancy" ("high", "low"), found "lo"',
        ),
        ('soon = "lo"', 'soon: expected an operating point of "malignancy" ("high", "low"), found'),
        ('urgent = "low"', "soon: its threshold (0.3) must be below that of urgent (0.3)"),
        ('urgent = "low"', 'soon = "low" is its package\'s: name a lower one, or "" for none'),
        ('urgent = "low"\nsoon = "high"', "soon: its threshold (0.7) must be below that of urgent"),
    ],
)
def test_points_that_are_not_there_or_contradict_one_another_are_errors_of_check(
    words: str, expected: str, tmp_path: Path
) -> None:
    result = check(tmp_path, words)
    assert result.exit_code == 1
    assert f"[[models]] breast-area: {expected}" in " ".join(result.stderr.split())


def test_points_of_a_model_that_does_not_triage_are_an_error_of_check(tmp_path: Path) -> None:
    package(tmp_path / "models")
    expected = "breast-area: urgent and soon have no effect: this model does not triage"
    assert expected in " ".join(check(tmp_path, 'urgent = "high"').stderr.split())


def test_an_empty_name_for_urgent_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"node\.toml:18: models\.urgent: expected at least 1"):
        configured(tmp_path, "breast-area", 'urgent = ""')


@pytest.mark.usefixtures("three")
def test_the_doctor_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    (found,) = check_models(configured(tmp_path, "breast-area", 'urgent = "lo"'))
    assert found.state == "failed"
    assert 'found "lo"' in found.words
    assert "urgent and soon of this model in the configuration" in found.remedy


def test_a_model_at_other_points_is_the_same_package_and_its_copies_are_copies(
    tmp_path: Path,
) -> None:
    one, other = triaging(tmp_path / "one"), triaging(tmp_path / "other")
    here = one.at_points("low", None)
    assert here.identity == one.identity
    assert is_copy(here, other)
    assert is_copy(here.at_points("high", "low"), other)
    assert other_with_device_uid(here, [tmp_path / "one", tmp_path / "other"]) is None
    assert not is_copy(here, triaging(tmp_path / "third", 'soon = "low"\n'))


def test_other_points_change_what_results_depend_on_and_the_same_ones_do_not(two: Model) -> None:
    digests = [
        two.at_points(*points).preprocessing_digest
        for points in (("low", None), ("high", "low"), ("high", None), (None, ""))
    ]
    assert len({*digests}) == 3
    assert digests[2] == digests[3] == two.preprocessing_digest


def test_where_levels_begin_is_said_if_it_is_not_where_the_package_says(two: Model) -> None:
    assert levels_in_words(two) == ""
    assert levels_in_words(two.at_points("high", None)) == ""
    assert levels_in_words(two.at_points("low", None)) == (
        'urgent from its operating point "low" on '
        '(its package says urgent from its operating point "high" on)'
    )


# A whole exam


@pytest.fixture
def disc(tmp_path: Path) -> Model:
    """The package of the demonstration, with a point that an exam without a disc reaches, too."""
    folder = tmp_path / "models" / "planted-disc"
    shutil.copytree(bundled_models_dir() / "planted-disc", folder)
    manifest = folder / "manifest.toml"
    text = manifest.read_text("utf-8")
    point = re.search(r"\[\[outputs\.operating_points\]\]\n(?:.+\n)+", text)
    assert point is not None
    more = point[0].replace('"urgent"', '"specificity 1"').replace("0.5\n", "0.000001\n")
    for word, figure in (("sensitivity", "0.992"), ("specificity", "0.01")):
        more = re.sub(rf"(?m)^{word} = .*$", f"{word} = {figure}", more)
        more = re.sub(rf"(?m)^{word}_interval = .*$", f"{word}_interval = [0.0, 1.0]", more)
    text = re.sub(r"(?m)^device_uid = .*$", 'device_uid = "2.25.2"', text)
    manifest.write_text(text.replace(point[0], f"{point[0]}\n{more}"), "utf-8")
    return Model(folder)


@pytest.mark.usefixtures("disc")
def test_check_says_where_levels_begin(tmp_path: Path) -> None:
    assert "urgent" not in check(tmp_path, name="planted-disc").output
    result = check(tmp_path, 'urgent = "specificity 1"', "planted-disc")
    assert result.exit_code == 0, result.output
    words = 'Model planted-disc: urgent from its operating point "specificity 1" on (its package'
    assert words in " ".join(result.output.split())


def analysed(model: Model, version: StudyVersion) -> tuple[Result, list[Dataset]]:
    """Return what a model says of a study whose level it gives, and the objects made of that."""
    with Inference(InferenceSettings(threads=1), (model,)) as inference:
        pipeline = Pipeline(
            inference,
            ScoresInMemory(),
            UTC,
            ("measurement-report", "capture"),
            demonstration_may_rank=True,
            has_level_in_lists=True,
        )
        name = model.manifest.name
        (result,), made = analyse(pipeline, Task(version, (model,), frozenset({name})))
    return result, [one.dataset for one in made]


def text_of(made: list[Dataset]) -> str:
    (report,) = (one for one in made if one.Modality == "SR")
    return " ".join(str(one.TextValue) for one in items(report, "TEXT"))


def code_of_level(made: list[Dataset]) -> str:
    (report,) = (one for one in made if one.Modality == "SR")
    (level,) = items(report, "CODE", "AILEVEL")
    return str(level.ConceptCodeSequence[0].CodeValue)


@pytest.mark.usefixtures("disc")
def test_level_and_words_of_the_report_follow_the_site_and_no_uid_is_used_for_both(
    tmp_path: Path,
) -> None:
    version = study_version(phantom.save(factories.exam("plain"), tmp_path / "exam"))

    def said(words: str) -> tuple[Result, list[Dataset]]:
        model = load_models(configured(tmp_path, "planted-disc", words))["planted-disc"]
        return analysed(model, version)

    by_package, made_by_package = said("")
    by_site, made_by_site = said('urgent = "specificity 1"')
    assert by_package.triage is not None
    assert by_site.triage is not None
    assert (by_package.triage.level, by_site.triage.level) == (Priority.ROUTINE, Priority.URGENT)
    assert by_package.triage.score == by_site.triage.score
    assert code_of_level(made_by_package) == "AIROUTINE"
    assert code_of_level(made_by_site) == "AIURGENT"
    of_package, of_site = text_of(made_by_package), text_of(made_by_site)
    assert "below the operating point urgent (50 %)" in of_package
    assert "Operating point urgent (at least 50 %): sensitivity 63.3 %" in of_package
    assert "at or above the operating point specificity 1 (0.0001 %)" in of_site
    assert "Operating point specificity 1 (at least 0.0001 %): sensitivity 99.2 %" in of_site
    assert "specificity 1 %" in of_site
    assert "operating point urgent" not in of_site
    assert {one.SeriesDescription[:9] for one in made_by_site} == {"AI URGENT"}
    assert not any("URGENT" in one.SeriesDescription for one in made_by_package)
    uids = [{str(one.SOPInstanceUID) for one in made} for made in (made_by_package, made_by_site)]
    assert not uids[0] & uids[1]
    again = {str(one.SOPInstanceUID) for one in said('urgent = "urgent"')[1]}
    assert again == uids[0], "the same words as the package's are no change"


def study_version(paths: list[Path]) -> StudyVersion:
    """Return the first version of the study in these files."""
    headers = [read_header(path) for path in paths]
    instances = [
        replace(describe(header, path, dataset_digest(path)), identity=identity_of(header))
        for header, path in zip(headers, paths, strict=True)
    ]
    return StudyVersion(
        study_uid=instances[0].study_uid,
        number=1,
        reason="4/4 views",
        instances=tuple(instances),
        decided_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        installation="of a test",
    )


@pytest.mark.slow
@pytest.mark.parametrize("may_rank", [True, False])
def test_a_node_starts_by_dropping_the_levels_of_demonstrations_if_none_may_rank(
    tmp_path: Path, may_rank: bool
) -> None:
    config = Config(
        node=Node(ae_title="AINODE", state_dir=tmp_path / "state", min_free_mb=0),
        listener=ListenerSettings(host="127.0.0.1", port=0),
        peers=(modality(),),
        models=(),
        triage=TriageSettings(demonstration_may_rank=may_rank),
    )
    node = App(config, Role.LISTENER)
    desk = Desk(node.ledger, node.store)
    desk.analysed(level=Priority.URGENT, model=replace(MODEL, is_demonstration=True))
    node.start()
    try:
        assert desk.study()["level"] is (Priority.URGENT if may_rank else None)
    finally:
        node.stop()
