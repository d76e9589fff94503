"""Every kind of object, in every case, from every source, before every validator that knows it.

A finding fails the test unless `allowed_findings` gives a reason for it; a validator that is not
installed fails it, too. Any two of case, source and kind are tried together; with CONFORMANCE=all
in the environment, any three.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import combinations, cycle
from pathlib import Path

import pytest
import radiographs
from outputs import mr_drafts
from outputs.drafts import as_version_2, report_set
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from radiographs import ALL, BOXES, CLASSES, LARGEST, SCORE

from node.kinds import KINDS, sop_classes
from node.outputs import verbatim
from node.outputs.case import Draft
from node.outputs.report_set import build_report_set, to_bytes
from node.trial.breast_mr.body import THREE_LESIONS, WITHOUT_LESION
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.styles import STYLES

from . import pixelmed as pixelmed_process
from . import validators
from .allowed_findings import unexpected
from .cases import CASES, NUMBERS
from .conftest import CHECKED, Checked
from .sources import SOURCES
from .validators import REPORTS, PixelMed, Validator, validators_of

pytestmark = [
    pytest.mark.interop,
    # As in a running node: where pydicom warns of a source, it goes on, and we copy what it read.
    pytest.mark.filterwarnings("ignore::UserWarning:pydicom"),
]

Choice = tuple[str, str, str]
"""A case, a source and a kind of object."""


def every_choice() -> list[Choice]:
    return [
        (case, source, kind)
        for source in SOURCES
        for case, what in CASES.items()
        for kind in what.kinds
    ]


def pairwise() -> list[Choice]:
    """Return choices so that any two that can go together do so in one of them.

    Each step takes the choice that adds most pairs; of equals, the kind that has cost least:
    PixelMed takes seconds for a content tree, the other validators a fraction of one.
    """
    chosen: list[Choice] = []
    seen: set[tuple[str, str]] = set()
    spent: Counter[str] = Counter()
    remaining = every_choice()
    while remaining:
        best = min(remaining, key=lambda choice: (-len(pairs(choice) - seen), spent[choice[2]]))
        chosen.append(best)
        seen |= pairs(best)
        spent[best[2]] += 3 if best[2] in REPORTS else 1
        remaining = [choice for choice in remaining if pairs(choice) - seen]
    return sorted(chosen)


def pairs(choice: Choice) -> set[tuple[str, str]]:
    return set(combinations(choice, 2))


CHOSEN = every_choice() if os.environ.get("CONFORMANCE") == "all" else pairwise()


@pytest.fixture(scope="session")
def pixelmed() -> Iterator[PixelMed]:
    warm = PixelMed()
    yield warm
    warm.stop()


def saved(made: Draft, kinds: Iterable[str], folder: Path) -> list[Path]:
    paths = []
    for number, dataset in enumerate(report_set(made, kinds)):
        paths.append(folder / f"{number}-{dataset.Modality}.dcm")
        paths[-1].write_bytes(to_bytes(dataset))
    return paths


# What the validators say


@pytest.mark.parametrize(("case", "source", "kind"), CHOSEN)
def test_no_validator_finds_anything_unexpected(
    case: str,
    source: str,
    kind: str,
    tmp_path: Path,
    pixelmed: PixelMed,
    record_property: Callable[[str, object], None],
) -> None:
    paths = saved(CASES[case].made(SOURCES[source]), [kind], tmp_path)
    assert paths, "the case has something to say in this kind of object"
    found: dict[str, list[str]] = {}
    for name, look in validators_of(kind, pixelmed).items():
        lines = [line for path in paths for line in look(path)]
        found[name] = unexpected(name, kind, source, lines)
        checked = Checked(kind, name, len(paths), len(lines), len(found[name]))
        record_property(CHECKED, list(checked))
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("output", [SCORE, CLASSES, LARGEST, ALL, BOXES], ids=lambda o: o[8:12])
def test_no_validator_finds_anything_unexpected_in_what_is_said_of_other_images(
    output: str, tmp_path: Path, pixelmed: PixelMed
) -> None:
    model = radiographs.chest_model(tmp_path / "models", output)
    images = [radiographs.radiograph(number=n) for n in (1, 2)]
    _, built = radiographs.answered(model, tmp_path / "study", *images)
    found: dict[str, list[str]] = {}
    for number, one in enumerate(built):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(to_bytes(one.dataset))
        for name, look in validators_of(one.kind, pixelmed).items():
            found[f"{name} {one.kind}"] = unexpected(name, one.kind, "generated", look(path))
    assert not {name: lines for name, lines in found.items() if lines}


VOLUMES = {
    "classic": mr_drafts.small_plan(body=THREE_LESIONS),
    "classic of Siemens, sagittal": mr_drafts.small_plan(
        style=STYLES["Siemens"], orientation=Orientation.SAGITTAL
    ),
    "enhanced": mr_drafts.small_plan(body=THREE_LESIONS, style=STYLES["enhanced"]),
    "enhanced of Philips, reversed": mr_drafts.small_plan(
        style=STYLES["Philips enhanced"], backwards=True, turned=True
    ),
    "legacy converted": mr_drafts.small_plan(style=STYLES["legacy converted"]),
    "nothing enhances": mr_drafts.small_plan(body=WITHOUT_LESION),
}
OF_VOLUMES = ("segmentation", *NUMBERS)


@pytest.mark.parametrize("name", VOLUMES)
def test_no_validator_finds_anything_unexpected_in_what_is_said_of_volumes(
    name: str, tmp_path: Path, pixelmed: PixelMed
) -> None:
    plan = VOLUMES[name]
    draft = mr_drafts.mr_draft(plan, has_left_out=name != "nothing enhances")
    draft = mr_drafts.with_volumes(draft, plan)
    found: dict[str, list[str]] = {}
    paths = [*mr_drafts.exam(plan).paths.values()]
    made = build_report_set(draft, OF_VOLUMES)
    # Without a segmentation beside it, a report says the same otherwise.
    made += build_report_set(draft, ["measurement-report"])
    assert {one.kind for one in made} >= set(NUMBERS)
    for number, one in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(to_bytes(one.dataset))
        paths += [path] if number < len(made) - 1 else []
        for validator, look in validators_of(one.kind, pixelmed).items():
            lines = unexpected(validator, one.kind, "generated", look(path))
            found.setdefault(f"{validator} {one.kind}", []).extend(lines)
    found["dcentvfy"] = unexpected("dcentvfy", None, "generated", validators.dcentvfy(paths))
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(("source", "case"), [*zip(SOURCES, cycle(CASES), strict=False)])
def test_all_that_is_sent_of_a_study_agrees_with_it_and_among_itself(
    source: str, case: str, tmp_path: Path
) -> None:
    made = CASES[case].made(SOURCES[source])
    paths = []
    for number, header in enumerate(made.headers.values()):
        paths.append(tmp_path / f"{number}.dcm")
        verbatim.keep(header)
        header.save_as(paths[-1])
    first = replace(made, version=replace(made.version, number=1, replaces=None))
    for name, version in (("first", first), ("second", as_version_2(first))):
        (tmp_path / name).mkdir()
        paths += saved(version, KINDS, tmp_path / name)
    sent = {dcmread(path).SOPClassUID for path in paths[len(made.headers) :]}
    assert sent == sop_classes(CASES[case].kinds)
    assert not unexpected("dcentvfy", None, source, validators.dcentvfy(paths))


def test_the_choice_has_every_case_with_every_source_and_every_kind_with_every_source() -> None:
    chosen = {pair for choice in pairwise() for pair in pairs(choice)}
    assert chosen == {pair for choice in every_choice() for pair in pairs(choice)}
    assert {(case, source) for case in CASES for source in SOURCES} <= chosen
    assert {(source, kind) for kind in KINDS for source in SOURCES} <= chosen


# That the validators look: each finds what was damaged on purpose


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[str, Callable[[Dataset], object]], Path]:
    """Return a sound object of a kind, and damage it."""

    def make(kind: str, damage: Callable[[Dataset], object]) -> Path:
        path, *_ = saved(CASES["segmented"].made(SOURCES["well-run"]), [kind], tmp_path)
        dataset = dcmread(path)
        damage(dataset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, of what is damaged here
            dataset.save_as(path)
        return path

    return make


Damaged = Callable[[str, Callable[[Dataset], object]], Path]


def drop(keyword: str) -> Callable[[Dataset], object]:
    return lambda dataset: delattr(dataset, keyword)


def give(keyword: str, value: object) -> Callable[[Dataset], object]:
    return lambda dataset: setattr(dataset, keyword, value)


def new(name: str, kind: str, lines: list[str]) -> list[str]:
    return unexpected(name, kind, "well-run", lines)


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [
        ("measurement-report", "CompletionFlag"),
        ("measurement-report-3d", "VerificationFlag"),
        ("mammography-cad", "ReferencedPerformedProcedureStepSequence"),
        ("capture", "ConversionType"),
        ("segmentation", "SegmentationType"),
        ("presentation-state", "PresentationLUTShape"),
        ("key-images", "CurrentRequestedProcedureEvidenceSequence"),
        ("encapsulated-pdf", "MIMETypeOfEncapsulatedDocument"),
    ],
)
def test_two_validators_miss_what_every_object_of_a_kind_must_have(
    damaged: Damaged, kind: str, keyword: str
) -> None:
    path = damaged(kind, drop(keyword))
    assert any(keyword in line for line in new("dciodvfy", kind, validators.dciodvfy(path)))
    checked = validators.dicom_validator(path)
    is_conditional = keyword == "PresentationLUTShape"
    assert is_conditional or any(keyword in line for line in new("dicom-validator", kind, checked))


def test_dicom3tools_finds_a_second_value_where_one_may_be(damaged: Damaged) -> None:
    path = damaged("capture", give("Modality", ["OT", "MG"]))
    lines = new("dciodvfy", "capture", validators.dciodvfy(path))
    assert any("Modality" in line and "Multiplicity" in line for line in lines)


def test_dicom_validator_finds_what_does_not_belong_in_an_object(damaged: Damaged) -> None:
    path = damaged("encapsulated-pdf", give("KVP", "28"))
    lines = new("dicom-validator", "encapsulated-pdf", validators.dicom_validator(path))
    assert lines == ["General: KVP TagUnexpected"]


def test_dcmtk_and_pixelmed_find_a_reference_to_no_item(
    damaged: Damaged, pixelmed: PixelMed
) -> None:
    def misdirect(content: Dataset) -> None:
        for item in content.get("ContentSequence", []):
            if "ReferencedContentItemIdentifier" in item:
                item.ReferencedContentItemIdentifier = [1, 2, 99]
            misdirect(item)

    path = damaged("mammography-cad", misdirect)
    for name, look in (
        ("dsrdump", validators.dsrdump),
        ("dsr2html", validators.dsr2html),
        ("PixelMed", pixelmed),
    ):
        assert new(name, "mammography-cad", look(path)), name


def test_dcmtk_prints_no_page_of_an_item_without_a_value_type(damaged: Damaged) -> None:
    path = damaged("measurement-report", lambda tree: delattr(tree.ContentSequence[0], "ValueType"))
    lines = validators.dsr2html(path)
    assert "prints nothing" in new("dsr2html", "measurement-report", lines)


def test_dcmpschk_finds_a_second_window(damaged: Damaged) -> None:
    def widen(state: Dataset) -> None:
        window = Dataset()
        window.WindowCenter, window.WindowWidth = ["2048", "1024"], ["4096", "512"]
        state.SoftcopyVOILUTSequence = [window]

    path = damaged("presentation-state", widen)
    assert new("dcmpschk", "presentation-state", validators.dcmpschk(path))


def leave_out(code: Code) -> Callable[[Dataset], object]:
    """Return a damage: the items below the root that have this concept name are gone."""

    def damage(tree: Dataset) -> None:
        tree.ContentSequence = [
            item
            for item in tree.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue != code.value
        ]

    return damage


def give_a_title_that_is_none(tree: Dataset) -> None:
    title = tree.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodeMeaning = "121070", "Findings"


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("measurement-report", leave_out(codes.DCM.DeviceObserverUID)),
        ("mammography-cad", leave_out(codes.DCM.SummaryOfDetections)),
        ("key-images", give_a_title_that_is_none),
    ],
)
def test_pixelmed_finds_a_row_of_a_template_that_is_missing_or_wrong(
    damaged: Damaged,
    pixelmed: PixelMed,
    kind: str,
    damage: Callable[[Dataset], object],
) -> None:
    assert new("PixelMed", kind, pixelmed(damaged(kind, damage)))


def test_dcentvfy_finds_another_patient(damaged: Damaged, tmp_path: Path) -> None:
    one = damaged("capture", give("PatientName", "Another^Patient"))
    (other,) = saved(CASES["segmented"].made(SOURCES["well-run"]), ["encapsulated-pdf"], tmp_path)

    lines = unexpected("dcentvfy", None, "well-run", validators.dcentvfy([one, other]))
    assert any("PatientName" in line for line in lines)


@pytest.mark.parametrize(
    "look",
    [
        validators.dciodvfy,
        validators.dsrdump,
        validators.dsr2html,
        validators.dcmpschk,
        lambda path: validators.dcentvfy([path]),
    ],
)
def test_a_validator_that_is_not_installed_fails(
    look: Validator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validators, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="not installed: apt-get install"):
        look(tmp_path)


def test_dicom_validator_that_is_not_installed_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dicom_validator.validator.iod_validator", None)
    with pytest.raises(pytest.fail.Exception, match="not installed: pip install"):
        validators.dicom_validator(tmp_path)


def test_pixelmed_that_is_not_installed_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixelmed_process, "JAR", str(tmp_path / "pixelmed.jar"))
    with pytest.raises(pytest.fail.Exception, match="not installed: apt-get install"):
        PixelMed()(tmp_path)
